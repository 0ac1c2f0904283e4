"""Check that every complete row of the store holds what ``train_minimal`` was told to write."""

import sys

from fastargs import Param, Section
from fastargs.decorators import param, section

import examples.minimal.train_minimal  # noqa: F401 (declares trainer.multiple)
from datamodels.errors import DatamodelsError
from datamodels.training.store import Store
from datamodels.training.utils import make_config

Section("checking", "what to check").params(
    logdir=Param(str, "the store's folder", required=True),
)


@section("checking")
@param("logdir")
@section("trainer")
@param("multiple")
def check(logdir: str, multiple: int) -> int:
    """Compare the complete rows with ``multiple``; the exit status."""
    store = Store.open(logdir)
    done = store.completed
    rows = store["random_numbers"][done]
    wrong = (rows != multiple).any(axis=1).sum()
    if not len(rows) or wrong:
        print(f"{wrong} of {len(rows)} complete rows are wrong", file=sys.stderr)
        return 1
    print(f"{len(rows)} of {store.num_models} rows are complete, and hold {multiple} throughout")
    return 0


if __name__ == "__main__":
    make_config(quiet=True)
    try:
        raise SystemExit(check())
    except DatamodelsError as error:
        raise SystemExit(str(error)) from None
