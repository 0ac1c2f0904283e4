"""From logits to the output that datamodels are fitted to."""

from collections.abc import Callable
from typing import Final

from torch import Tensor


def over_largest(logits: Tensor, labels: Tensor) -> Tensor:
    """Correct logit minus the largest other, (n, classes) and (n,) to (n,): above 0 where the
    network is right."""
    correct, others = _split(logits, labels)
    return correct - others.amax(-1)


def over_logsumexp(logits: Tensor, labels: Tensor) -> Tensor:
    """Correct logit minus the logsumexp of the others: the log odds of the correct class."""
    correct, others = _split(logits, labels)
    return correct - others.logsumexp(-1)


MARGINS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "largest": over_largest,
    "logsumexp": over_logsumexp,
}


def _split(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    chosen = labels[:, None]
    return logits.gather(-1, chosen)[:, 0], logits.scatter(-1, chosen, -float("inf"))
