"""``python -m datamodels.training.grow DIR --grow.num_models=N``: give a store more rows."""

from datamodels.cli.catalogue import GROW
from datamodels.cli.runner import Values, run
from datamodels.training.store import Store
from datamodels.training.store_growth import grow_store


def main() -> int:
    """The command; returns its exit status."""
    return run(GROW, _grow)


def _grow(values: Values) -> None:
    logdir = values["grow.logdir"]
    before = Store.open(logdir)
    unfinished = before.layout.growing.exists()
    store = grow_store(logdir, values["grow.num_models"], reserve=values["grow.reserve"])
    if store.num_models == before.num_models and not unfinished:
        print(f"{logdir} has {store.num_models} rows already: nothing to do")
        return
    print(f"{logdir} has {store.num_models} rows now; {len(store.missing())} are not complete")


if __name__ == "__main__":
    raise SystemExit(main())
