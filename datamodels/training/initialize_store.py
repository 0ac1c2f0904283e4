"""``python -m datamodels.training.initialize_store``: make an empty store from a JSON spec."""

from datamodels.cli.catalogue import INITIALIZE_STORE
from datamodels.cli.runner import Values, run
from datamodels.training.spec import Spec
from datamodels.training.store import Store


def main() -> int:
    """The command; returns its exit status."""
    return run(INITIALIZE_STORE, _initialize)


def _initialize(values: Values) -> None:
    logdir = values["logging.logdir"]
    spec = Spec.read(values["logging.spec"])
    existed = Store.exists(logdir)
    store = Store.create(logdir, spec, reserve=values["logging.reserve"])
    if existed:
        complete = int(store.completed.sum())
        print(
            f"{logdir} is a store of this spec already: {complete} of {store.num_models} rows "
            "are complete; nothing was changed"
        )
        return
    print(f"made the store {logdir} for {store.num_models} models")
    for key, field in spec.schema.items():
        print(f"  {key}.npy  {(store.num_models, *field.shape)} {field.dtype}")


if __name__ == "__main__":
    raise SystemExit(main())
