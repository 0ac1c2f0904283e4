"""``python -m datamodels.training.merge --merge.inputs=A,B --merge.out=C``: stores as one."""

from pathlib import Path

from datamodels.cli.catalogue import MERGE_STORES
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run
from datamodels.training.store import Store
from datamodels.training.store_merge import merge_stores


def main() -> int:
    """The command; returns its exit status."""
    return run(MERGE_STORES, _merge)


def _merge(values: Values) -> None:
    named = [name.strip() for name in values["merge.inputs"].split(",")]
    inputs = [Path(name).expanduser() for name in named if name]
    out = values["merge.out"]
    with ProgressLine() as progress:
        contributions = merge_stores(inputs, out, progress=progress)
    store = Store.open(out)
    print(f"wrote {out}: {int(store.completed.sum())} of {store.num_models} rows complete")
    for path, given in zip(inputs, contributions, strict=True):
        same = f", and {given.same} that others before it had alike" if given.same else ""
        print(f"  {given.taken} rows from {path}{same}")


if __name__ == "__main__":
    raise SystemExit(main())
