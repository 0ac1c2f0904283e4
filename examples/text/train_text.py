"""Train text classifiers on random halves of the letters: a ``main`` for the worker.

    python -m datamodels.training.launch --launch.logdir=STORE \
        --launch.main_import=examples.text.train_text

A letter is a bag of words, weighted by TF-IDF; the classifier is a logistic regression. Nothing in
it is random but the subset, so that row ``index`` is a function of (``text.seed``, ``index``).
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from fastargs import Param, Section
from fastargs.decorators import param, section
from numpy.typing import NDArray

from datamodels.errors import MissingPackageError
from datamodels.training import subset_for
from datamodels.training.utils import make_config
from examples.text.tickets import load_tickets

Section("text", "how the classifiers are trained").params(
    alpha=Param(float, "share of the training letters in each subset", default=0.5),
    seed=Param(int, "seed of the subsets", default=0),
    c=Param(float, "inverse strength of the penalty", default=10.0),
)


class Counts(NamedTuple):
    """How often each word stands in each letter, and the letters' departments."""

    train: Any  # sparse (n_train, n_words) float32
    train_labels: NDArray[np.int64]  # (n_train,)
    test: Any  # sparse (n_test, n_words) float32
    test_labels: NDArray[np.int64]  # (n_test,)


@cache  # once a process, whatever the number of models
def counts() -> Counts:
    """The letters as numbers. Which column a word has is all that is common to the models: what is
    estimated (how rare a word is, the classifier) is estimated on each model's own letters."""
    try:
        from sklearn.feature_extraction.text import CountVectorizer
    except ImportError:
        raise MissingPackageError(
            "the classifier is scikit-learn's: pip install 'datamodels[digits]'"
        ) from None
    tickets = load_tickets()
    vectorizer = CountVectorizer(token_pattern=r"[a-z0-9]+", dtype=np.float32)
    train = vectorizer.fit_transform(tickets.train_texts)
    return Counts(
        train, tickets.train_labels, vectorizer.transform(tickets.test_texts), tickets.test_labels
    )


@section("text")
@param("alpha")
@param("seed")
@param("c")
def train_row(index: int, logdir: str, alpha: float, seed: int, c: float) -> dict[str, Any]:
    """Everything the store keeps of model ``index``."""
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.linear_model import LogisticRegression

    letters = counts()
    mask = subset_for(index, len(letters.train_labels), logdir=logdir, alpha=alpha, seed=seed)
    weighting = TfidfTransformer(sublinear_tf=True).fit(letters.train[mask])
    train, test = weighting.transform(letters.train), weighting.transform(letters.test)
    model = LogisticRegression(C=c, max_iter=1000).fit(train[mask], letters.train_labels[mask])
    test_logits = model.decision_function(test)
    return {
        "masks": mask,
        "margins": margins(test_logits, letters.test_labels),
        "train_margins": margins(model.decision_function(train), letters.train_labels),
        "accuracy": (test_logits.argmax(1) == letters.test_labels).mean(),
    }


def margins(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """Correct logit minus the logsumexp of the others: the log odds of the correct class.

    Logits (n, classes) and labels (n,) give (n,).
    """
    rows = np.arange(len(labels))
    others = logits.copy()
    others[rows, labels] = -np.inf
    margin: NDArray[np.float64] = logits[rows, labels] - np.logaddexp.reduce(others, axis=1)
    return margin


def main(*_: Any, index: int, logdir: str) -> dict[str, Any]:
    """What the worker calls."""
    make_config(quiet=True)
    return train_row(index, logdir)
