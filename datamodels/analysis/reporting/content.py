"""What a report shows, as data: filled by ``gathering``, written down by ``page``.

Arrays go into the page as they are, so their types are chosen for size. A section that is None is
left out, and :attr:`ReportContent.remedies` says how to get it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Int32s = NDArray[np.int32]

NOBODY = -1  # fills rows of examples that are shorter than others


@dataclass(frozen=True)
class Facts:
    """A titled list of names and values."""

    title: str
    rows: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ReportScore:
    """How well the outputs of held-out models are predicted, over all targets."""

    lds: float
    interval: tuple[float, float] | None
    level: float
    r2: float  # median over the targets
    n_models: int
    n_fitted: int | None  # how many of them took part in the fit; None: unknown
    n_targets: int
    n_undefined: int
    n_trainings: int | None = None  # whose outputs were averaged over masks; None: one a model


@dataclass(frozen=True, eq=False)
class ReportTargets:
    """The targets that have pages; arrays of length n."""

    index: Int32s  # of each among all targets of the datamodels
    names: Sequence[str] | None  # labels
    columns: Mapping[str, Floats]  # "lds", "r2", "spread", "nonzero", "lambda", ...; NaN: unknown
    examples: Int32s  # (n, 2k): the k most helpful, then the k most harmful; NOBODY where fewer
    weights: Floats  # (n, 2k)


@dataclass(frozen=True, eq=False)
class ReportScatter:
    """Predicted and actual outputs of some held-out models, in 65,535ths of a target's range."""

    low: Floats  # (n,) of the range that both axes show
    high: Floats  # (n,)
    predicted: NDArray[np.uint16]  # (n, m)
    actual: NDArray[np.uint16]  # (n, m)
    n_models: int  # held-out models, of which m are drawn


@dataclass(frozen=True, eq=False)
class ReportExamples:
    """All training examples, and of some the targets that they move most."""

    names: Sequence[str] | None  # (n_train,) labels
    columns: Mapping[str, Floats]  # (n_train,): "targets", "raises", "lowers", "largest"
    detailed: Int32s  # (d,) those with pages
    targets: Int32s  # (d, 2k): most raised, then most lowered; NOBODY where fewer
    weights: Floats  # (d, 2k)
    cluster: Int32s | None = None  # (n_train,) -1: none


@dataclass(frozen=True, eq=False)
class ReportCurve:
    """Scores of datamodels of the first so many models. Arrays of one length."""

    n_models: Sequence[int]
    lds: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    error: Sequence[float]  # validation error, in units of the outputs' variance; NaN: unknown
    forecast: Sequence[tuple[int, float, float, float]] = ()  # models, LDS, low, high
    sentences: Sequence[str] = ()


@dataclass(frozen=True, eq=False)
class ReportComponent:
    """A direction in which training examples differ, and who stands at its ends."""

    explained: float  # share of the variance
    low: Int32s  # training examples, the outermost first
    high: Int32s
    low_targets: Int32s
    high_targets: Int32s


@dataclass(frozen=True, eq=False)
class ReportCluster:
    """Training examples that act alike."""

    size: int
    members: Int32s  # some of them
    labels: Sequence[tuple[str, int]]  # the commonest and how many; empty where none are known


@dataclass(frozen=True, eq=False)
class RankedExamples:
    """Training examples in order of suspicion, with figures by heading."""

    examples: Int32s
    columns: Mapping[str, Floats]
    note: str


@dataclass(frozen=True, eq=False)
class RankedPairs:
    """Pairs of a training example and a target in order of suspicion, with figures by heading."""

    examples: Int32s
    targets: Int32s
    columns: Mapping[str, Floats]
    note: str


@dataclass(frozen=True)
class SpriteSheets:
    """Pictures of one size, side by side in sheets of ``columns`` x ``rows``."""

    width: int  # of a tile, in pixels
    height: int
    columns: int
    rows: int
    members: Int32s  # whose picture tile i is
    sheets: Sequence[tuple[str, str]]  # media type and base64


@dataclass(frozen=True)
class Pictures:
    """What examples of one part look like: as tiles, or as text or HTML by index."""

    sprites: SpriteSheets | None = None
    texts: Mapping[int, str] = field(default_factory=dict)
    html: Mapping[int, str] = field(default_factory=dict)  # safe: see ``markup``


@dataclass(frozen=True, eq=False)
class ReportContent:
    """Everything on the page."""

    title: str
    made: str  # when, and by which version
    facts: Sequence[Facts]
    targets: ReportTargets
    examples: ReportExamples
    n_targets: int  # of the datamodels, of which the report may show some
    train_pictures: Pictures
    test_pictures: Pictures
    score: ReportScore | None = None
    all_lds: Floats | None = None  # (n_targets,)
    scatter: ReportScatter | None = None
    curve: ReportCurve | None = None
    components: Sequence[ReportComponent] | None = None
    clusters: Sequence[ReportCluster] | None = None
    own_left_out: bool = False  # weights of training examples on themselves
    mislabelled: RankedExamples | None = None
    leaks: RankedPairs | None = None
    remedies: Mapping[str, str] = field(default_factory=dict)  # by the name of the section


def as_plain(value: Any) -> Any:
    """``value`` as JSON can hold it: data classes as objects, arrays packed (see ``packing``)."""
    from dataclasses import fields, is_dataclass

    from datamodels.analysis.reporting.packing import pack_array

    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: as_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return pack_array(value)
    if isinstance(value, Mapping):
        return {str(key): as_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
