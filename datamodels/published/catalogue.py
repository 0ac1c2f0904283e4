"""What was published with the paper, as data: https://github.com/MadryLab/datamodels-data.

Two data sets; for each fraction alpha of the training set, the training subsets ("masks") of many
models, what these models said of the examples of a split (margins; for CIFAR-10 logits too), and
the datamodels fitted to them. Shapes come from the published numbers of models and examples, sizes
from shapes: the published table of sizes scales that of one alpha for the others. What is found in
a bucket or on a disk rules where it differs.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from datamodels.errors import UsageError
from datamodels.near_miss import nearest
from datamodels.npy_file import header_bytes
from datamodels.published.layout import key_of

Kind = Literal["masks", "margins", "logits", "datamodels"]
Split = Literal["train", "test"]

KINDS: tuple[Kind, ...] = ("masks", "margins", "logits", "datamodels")
SPLITS: tuple[Split, ...] = ("train", "test")
N_EVALUATION = 10_000  # models of each setting that no published datamodel was fitted to
GIB = 2**30  # bytes of a "GB" of the published tables
USD_PER_GIB = 0.09  # transfer from Amazon S3 to the internet, paid by who downloads
_N_CLASSES = 10  # of CIFAR-10, the only one with logits
_PT_EXTRA = 1600  # bytes about the arrays in a file of torch.save
_DTYPES = {"masks": np.bool_, "margins": np.float16, "logits": np.float16, "datamodels": np.float32}


@dataclass(frozen=True)
class _Dataset:
    n_train: int
    n_test: int
    n_models: dict[float, int]  # alpha -> published number of models, evaluation models aside
    has_logits: bool
    train_datamodels: tuple[float, ...]  # alphas whose train-set datamodels seem to be there

    def n_targets(self, split: str) -> int:
        return self.n_train if split == "train" else self.n_test


# n_test of FMoW: Table 1 of the paper. It also gives the published 0.75 GB of FMoW's datamodels
# exactly, as three times 21,404 x 3,138 float32: the test split's alone. CIFAR-10's 16.9 GB are
# those of the test split at four alphas and of one train split, and the paper shows that at 50%.
_DATASETS = {
    "cifar": _Dataset(
        50_000, 10_000, {0.1: 1_500_000, 0.2: 750_000, 0.5: 300_000, 0.75: 600_000}, True, (0.5,)
    ),
    "fmow": _Dataset(21_404, 3_138, {0.2: 375_000, 0.5: 150_000, 0.75: 300_000}, False, ()),
}
DATASETS = tuple(_DATASETS)


@dataclass(frozen=True)
class PublishedFile:
    """One published object. Rows of masks, margins and logits are models, in one order."""

    dataset: str
    alpha: float  # fraction of the training set in each subset
    kind: Kind
    split: Split  # whose examples the columns are; of masks, always the training set's
    shape: tuple[int, ...]  # of the array, or of a .pt's weight (n_train, n_targets)
    dtype: np.dtype[Any]
    n_models: int  # without evaluation models; of datamodels, those they were fitted to
    n_evaluation: int  # rows held out for evaluation: the last ones, it is assumed
    reported_missing: str | None  # why it seems not to be in the bucket, though it is promised

    @property
    def key(self) -> str:
        """Its name in the bucket, and below a folder of downloads."""
        return key_of(self.dataset, self.alpha, self.kind, self.split)

    @property
    def is_array(self) -> bool:
        """Whether it is a ``.npy`` file, of rows that can be fetched without the rest."""
        return self.kind != "datamodels"

    @property
    def size(self) -> int:
        """Bytes: of a ``.npy`` file exactly, of a ``.pt`` file about."""
        data = math.prod(self.shape) * self.dtype.itemsize
        if self.is_array:
            return len(header_bytes(self.shape, self.dtype)) + data
        return data + 2 * self.shape[1] * self.dtype.itemsize + _PT_EXTRA  # bias, lam

    @property
    def cost(self) -> float:
        """USD for the transfer of all of it."""
        return cost_of(self.size)

    def __str__(self) -> str:
        return self.key


def cost_of(size: int) -> float:
    """USD for the transfer of ``size`` bytes at the published price."""
    return USD_PER_GIB * size / GIB


def published_files() -> tuple[PublishedFile, ...]:
    """All that is promised, by data set, alpha, kind and split."""
    return tuple(
        _file(dataset, alpha, kind, split)
        for dataset, about in _DATASETS.items()
        for alpha in about.n_models
        for kind in KINDS
        for split in splits_of(dataset, kind)
    )


def find(dataset: str, alpha: float, kind: str, split: str | None = None) -> PublishedFile:
    """One of :func:`published_files`; UsageError lists the values there are.

    ``split`` is by default "train" for masks and "test" for all else.
    """
    if dataset not in _DATASETS:
        raise UsageError(_unknown("data set", dataset, DATASETS))
    alphas = alphas_of(dataset)
    known = next((a for a in alphas if math.isclose(a, alpha, rel_tol=1e-6)), None)
    if known is None:
        listed = ", ".join(str(a) for a in alphas)
        raise UsageError(f"alpha={alpha} is not published for {dataset}; there are {listed}")
    kinds = kinds_of(dataset)
    if kind not in kinds:
        raise UsageError(_unknown(f"kind of {dataset} data", kind, kinds))
    if split is None:
        split = default_split(kind)
    splits = splits_of(dataset, kind)
    if split not in splits:
        raise UsageError(_unknown(f"split of {dataset} {kind}", split, splits))
    return _file(dataset, known, kind, split)


def default_split(kind: str) -> Split:
    """The split that is meant where none is named."""
    return "train" if kind == "masks" else "test"


def alphas_of(dataset: str) -> tuple[float, ...]:
    """The fractions published for a data set."""
    return tuple(_DATASETS[dataset].n_models)


def kinds_of(dataset: str) -> tuple[Kind, ...]:
    """The kinds of data published for a data set."""
    return tuple(k for k in KINDS if k != "logits" or _DATASETS[dataset].has_logits)


def splits_of(dataset: str, kind: str) -> tuple[Split, ...]:
    """The splits that a kind of data comes in; masks say who was trained on, once for both."""
    if kind not in kinds_of(dataset):
        return ()
    return ("train",) if kind == "masks" else SPLITS


def _file(dataset: str, alpha: float, kind: Kind, split: Split) -> PublishedFile:
    about = _DATASETS[dataset]
    n_models, n_targets = about.n_models[alpha], about.n_targets(split)
    missing = None
    if kind == "datamodels":
        shape: tuple[int, ...] = (about.n_train, n_targets)
        if split == "train" and alpha not in about.train_datamodels:
            missing = f"the published total size of {dataset}'s datamodels has no room for it"
    else:
        shape = (n_models + N_EVALUATION, n_targets)
        if kind == "logits":
            shape = (*shape, _N_CLASSES)
    dtype: np.dtype[Any] = np.dtype(_DTYPES[kind])
    return PublishedFile(dataset, alpha, kind, split, shape, dtype, n_models, N_EVALUATION, missing)


def _unknown(what: str, value: str, known: tuple[str, ...]) -> str:
    close = nearest(str(value), known)
    hint = f"; did you mean {close!r}?" if close else ""
    return f"{value!r} is no {what}; there are {', '.join(known)}{hint}"
