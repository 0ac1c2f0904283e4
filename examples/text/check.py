"""What the datamodels say of the letters, against what is known of them.

    python -m examples.text.check --checking.test=datamodels.pt --checking.own=own/datamodels.pt

No model was told the intents, which labels are wrong or which letters are copies.
"""

import numpy as np
from fastargs import Param, Section
from fastargs.decorators import param, section
from numpy.typing import NDArray

from datamodels import Datamodels
from datamodels.analysis import rank_leaks, rank_mislabelled
from datamodels.errors import DatamodelsError
from datamodels.training.utils import make_config
from examples.text.tickets import DEPARTMENTS, INTENT_NAMES, N_COPIES, SHARES, load_tickets

Section("checking", "datamodels of the letters").params(
    test=Param(str, "datamodels.pt of the test letters", required=True),
    own=Param(str, "datamodels.pt of the training letters", required=True),
)

K = 5  # helpful letters of each target
N_RARE = 2  # intents of each department that are called rare


@section("checking")
@param("test")
@param("own")
def check(test: str, own: str) -> None:
    """Print shares of what is known that was found."""
    of_test, of_train = Datamodels.load(test), Datamodels.load(own)
    tickets = load_tickets()
    same = same_intent(of_test, tickets.train_intents, tickets.test_intents)
    by_chance = (tickets.train_intents[:, None] == tickets.test_intents).mean(axis=0)
    rare = tickets.test_intents % len(SHARES) >= len(SHARES) - N_RARE
    print(f"of the {K} most helpful training letters of a test letter, of its own intent:")
    for name, which in (("all test letters", rare | True), ("those of rare intents", rare)):
        print(f"  {name:24}{same[which].mean():.2f}  (by chance {by_chance[which].mean():.2f})")
    print_one(of_test, int(np.flatnonzero(rare)[same[rare].argmax()]))

    suspects = rank_mislabelled(of_train, of_test).order[: len(tickets.wrong)]
    found = np.isin(suspects, tickets.wrong).sum()
    print(f"wrong labels: {found} of {len(tickets.wrong)} are among the first "
          f"{len(tickets.wrong)} suspects")  # fmt: skip
    most = of_test.weight[:, tickets.originals].argmax(axis=0) == tickets.copies
    leaks = rank_leaks(of_test)
    first = zip(leaks.examples[:N_COPIES].tolist(), leaks.targets[:N_COPIES].tolist(), strict=True)
    true = set(zip(tickets.copies.tolist(), tickets.originals.tolist(), strict=True))
    print(f"copies of test letters: {most.sum()} of {N_COPIES} help their original most of all; "
          f"{len(true & set(first))} are among the first {N_COPIES} pairs of leakage")  # fmt: skip


def same_intent(
    datamodels: Datamodels, train_intents: NDArray[np.int64], test_intents: NDArray[np.int64]
) -> NDArray[np.float64]:
    """For each target the share of its K most helpful letters that are of its own intent.

    Fewer letters have a positive weight where few of them matter; what is missing does not count.
    """
    shares = np.zeros(datamodels.n_targets)
    for target, intent in enumerate(test_intents):
        helpful = datamodels.top(target, K)[0].examples
        shares[target] = (train_intents[helpful] == intent).mean() if len(helpful) else 0
    return shares


def print_one(datamodels: Datamodels, target: int) -> None:
    """A test letter and those that help it."""
    tickets = load_tickets()
    helpful, _ = datamodels.top(target, K)
    print(f"for example test letter {target}, {DEPARTMENTS[tickets.test_labels[target]]}, "
          f"{INTENT_NAMES[tickets.test_intents[target]]}:\n"
          f"         {tickets.test_texts[target]}\n  is helped most by")  # fmt: skip
    for example, weight in zip(helpful.examples.tolist(), helpful.weights.tolist(), strict=True):
        print(f"  {weight:+.2f}  {tickets.train_texts[example]}")


if __name__ == "__main__":
    try:
        make_config(quiet=True)
        check()
    except DatamodelsError as error:
        raise SystemExit(f"check: error: {error}") from None
