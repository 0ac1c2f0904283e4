"""From files to what a report shows."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

import datamodels as package
from datamodels.analysis.example_files import read_images, read_labels
from datamodels.analysis.reporting import findings
from datamodels.analysis.reporting.cluster_files import read_clusters
from datamodels.analysis.reporting.content import (
    NOBODY,
    Facts,
    Floats,
    Int32s,
    RankedExamples,
    RankedPairs,
    ReportCluster,
    ReportComponent,
    ReportContent,
    ReportExamples,
    ReportTargets,
)
from datamodels.analysis.reporting.held_out_models import (
    Judged,
    TooFewModelsError,
    UnrankableOutputsError,
    describe_weights,
    judge,
    scatter_points,
)
from datamodels.analysis.reporting.learning_curve_files import read_curve
from datamodels.analysis.reporting.provenance import describe_fit, describe_store
from datamodels.analysis.reporting.rendering import Appearance, import_renderer
from datamodels.analysis.reporting.sprites import check_colour_map
from datamodels.analysis.sparsity import sparse_weights, without_own
from datamodels.errors import InputError, UsageError
from datamodels.evaluation.held_out import (
    NotANumberError,
    NothingHeldOutError,
    read_held_out,
)
from datamodels.regression.result import Datamodels, top_examples
from datamodels.training.indices import parse_indices

if TYPE_CHECKING:
    from scipy.sparse import csr_array

_TARGETS: Final = 1000  # with pages, unless asked for
_EXAMPLES: Final = 5000  # training examples with pages, and all that anything points to
_MAX_K: Final = 50


@dataclass(frozen=True)
class ReportOptions:
    """What a report is asked to show. UsageError names what cannot be."""

    datamodels: str
    store: str
    images: str | None = None
    test_images: str | None = None
    labels: str | None = None
    test_labels: str | None = None
    class_names: str | None = None
    renderer: str | None = None
    own: str | None = None  # datamodels of the training examples' own outputs
    curve: str | None = None
    clusters: str | None = None
    exclude_own: bool = False
    rows: str | None = None
    x_name: str | None = None
    y_name: str | None = None
    targets: str | None = None
    k: int = 8
    title: str | None = None
    cmap: str = "gray"

    def __post_init__(self) -> None:
        if not 1 <= self.k <= _MAX_K:
            raise UsageError(f"report.k={self.k} is out of range: it must be 1 to {_MAX_K}")
        check_colour_map(self.cmap)


@dataclass(frozen=True)
class _Findings:
    components: list[ReportComponent]
    clustered: tuple[Int32s, list[ReportCluster]] | None  # (n_train,) of every training example
    mislabelled: RankedExamples
    leaks: RankedPairs | None

    @property
    def clusters(self) -> list[ReportCluster] | None:
        return None if self.clustered is None else self.clustered[1]

    @property
    def cluster(self) -> Int32s | None:
        return None if self.clustered is None else self.clustered[0]

    def examples(self) -> set[int]:
        """Training examples that these point to."""
        found: set[int] = set(self.mislabelled.examples.tolist())
        for component in self.components:
            found.update(component.low.tolist(), component.high.tolist())
        for cluster in self.clusters or ():
            found.update(cluster.members.tolist())
        if self.leaks is not None:
            found.update(self.leaks.examples.tolist())
        return found

    def targets(self) -> set[int]:
        found: set[int] = set()
        for component in self.components:
            found.update(component.low_targets.tolist(), component.high_targets.tolist())
        if self.leaks is not None:
            found.update(self.leaks.targets.tolist())
        return found


def gather_report(options: ReportOptions) -> ReportContent:
    """Read what is there, score and search it.

    Raises:
        DatamodelsError: a file is missing or does not fit the others.
    """
    renderer = import_renderer(options.renderer)
    models = Datamodels.load(options.datamodels)
    names, test_names = _read_names(options, models)
    train_images = read_images(options.images, models.n_train_examples, "--report.images")
    test_images = read_images(options.test_images, models.n_targets, "--report.test_images")
    own = None if options.own is None else Datamodels.load(options.own)
    chosen = _chosen_targets(options.targets, models)
    curve = None
    if options.curve is not None:
        y_name = options.y_name or describe_weights(models, Path(options.datamodels).parent).y_name
        curve = read_curve(options.curve, y_name, models.n_targets)

    weights = sparse_weights(models)
    if options.exclude_own:
        weights, own = without_own(weights), own or models
    components, clustered = _subpopulations(options, weights, names)
    found = _Findings(
        components=components,
        clustered=clustered,
        mislabelled=findings.find_mislabelled(own, None if own is models else models),
        leaks=findings.find_leaks(models, own=not options.exclude_own),
    )
    if options.targets is None:
        chosen = np.union1d(chosen, np.array(sorted(found.targets()), np.int32)).astype(np.int32)
    judged, why_not = _judge(options, models)
    targets = _targets(models, weights, judged, chosen, test_names, options.k)
    detailed = _detailed(weights, targets, found)
    examples = _examples(weights, detailed, names, found.cluster, options.k)
    shown = {*chosen.tolist(), *found.targets(), *_members(examples.targets)}
    remedies = _remedies(options, why_not, found)
    return ReportContent(
        title=options.title or _title(options, models),
        made=f"{time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())}, "
        f"datamodels {package.__version__}",
        facts=_facts(options, models),
        targets=targets,
        examples=examples,
        n_targets=models.n_targets,
        train_pictures=Appearance("train", train_images, renderer, options.cmap).pictures(
            detailed.tolist()
        ),
        test_pictures=Appearance("test", test_images, renderer, options.cmap).pictures(shown),
        score=None if judged is None else judged.score,
        all_lds=None if judged is None else judged.lds,
        scatter=None if judged is None else scatter_points(judged, chosen),
        curve=curve,
        components=found.components or None,
        clusters=found.clusters,
        own_left_out=options.exclude_own,
        mislabelled=found.mislabelled,
        leaks=found.leaks,
        remedies=remedies,
    )


def _title(options: ReportOptions, models: Datamodels) -> str:
    y_name = options.y_name or describe_weights(models, Path(options.datamodels).parent).y_name
    return f"Datamodels of {y_name or 'outputs'} in {Path(options.store).resolve().name}"


def _read_names(
    options: ReportOptions, models: Datamodels
) -> tuple[list[str] | None, list[str] | None]:
    """Labels of the training examples and of the targets, as people read them."""
    classes = None if options.class_names is None else _read_class_names(options.class_names)
    train = read_labels(options.labels, models.n_train_examples, "--report.labels")
    test = read_labels(options.test_labels, models.n_targets, "--report.test_labels")
    return (
        _named(train, classes, f"--report.labels={options.labels}"),
        _named(test, classes, f"--report.test_labels={options.test_labels}"),
    )


def _read_class_names(path: str) -> list[str]:
    """One name a line."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"--report.class_names={path} is no UTF-8 text: {error}") from None
    return text.splitlines()


def _named(
    labels: NDArray[Any] | None, classes: Sequence[str] | None, option: str
) -> list[str] | None:
    if labels is None:
        return None
    if classes is None or labels.dtype.kind not in "biu":
        return [str(label) for label in labels.tolist()]
    outside = labels[(labels < 0) | (labels >= len(classes))]
    if len(outside):
        raise InputError(
            f"{option} holds label {outside[0]}, and --report.class_names has {len(classes)} "
            "lines: one for each label from 0 on"
        )
    return [classes[label] for label in labels.tolist()]


def _chosen_targets(text: str | None, models: Datamodels) -> Int32s:
    if text is None:
        return np.arange(min(_TARGETS, models.n_targets), dtype=np.int32)
    try:
        wanted = parse_indices(text, models.n_targets, "these datamodels", noun="target")
    except UsageError as error:
        raise UsageError(f"--report.targets={text}: {error}") from None
    return np.array(sorted(wanted), np.int32)


def _subpopulations(
    options: ReportOptions, weights: "csr_array", names: Sequence[str] | None
) -> tuple[list[ReportComponent], tuple[Int32s, list[ReportCluster]] | None]:
    """Components, and clusters where there are any: those of a folder, or found here."""
    if options.clusters is not None:
        ready = read_clusters(options.clusters, weights.shape[1], weights.shape[0])
        return (
            findings.describe_components(
                ready.scores, ready.directions, ready.explained, options.k
            ),
            findings.describe_clusters(ready.clusters, ready.scores, names),
        )
    if not weights.nnz or min(weights.shape) <= 2:
        return [], None
    return findings.find_components(weights, options.k), findings.find_clusters(weights, names)


def _judge(options: ReportOptions, models: Datamodels) -> tuple[Judged | None, str]:
    """Scores on held-out models, or why there are none; too few rows that were asked for are an
    error."""
    scored = describe_weights(models, Path(options.datamodels).parent)
    try:
        held_out = read_held_out(
            options.store,
            scored,
            x_name=options.x_name,
            y_name=options.y_name,
            rows=options.rows,
            option="--report.rows",
        )
    except (NothingHeldOutError, NotANumberError) as error:
        return None, str(error)
    own = scored.own_index(held_out.n_store_targets) if options.exclude_own else None
    try:
        return judge(models, held_out, own), ""
    except TooFewModelsError as error:
        if options.rows is not None:
            raise
        return None, str(error)
    except UnrankableOutputsError as error:
        return None, str(error)


def _targets(
    models: Datamodels,
    weights: "csr_array",
    judged: Judged | None,
    chosen: Int32s,
    names: Sequence[str] | None,
    k: int,
) -> ReportTargets:
    columns: dict[str, Floats] = {}
    if judged is not None:
        columns = {name: getattr(judged, name)[chosen] for name in ("lds", "r2", "spread", "mean")}
    columns["nonzero"] = np.diff(weights.indptr)[chosen].astype(np.float32)
    columns["lambda"] = models.lam[chosen]
    columns["bias"] = models.bias[chosen]
    ranked = _strongest(weights, chosen, k)
    return ReportTargets(
        chosen, None if names is None else [names[t] for t in chosen], columns, *ranked
    )


def _examples(
    weights: "csr_array",
    detailed: Int32s,
    names: Sequence[str] | None,
    cluster: Int32s | None,
    k: int,
) -> ReportExamples:
    n_train = weights.shape[1]
    positive = np.bincount(weights.indices, np.maximum(weights.data, 0), minlength=n_train)
    negative = np.bincount(weights.indices, np.minimum(weights.data, 0), minlength=n_train)
    largest = np.zeros(n_train, np.float32)
    np.maximum.at(largest, weights.indices, np.abs(weights.data))
    columns = {
        "targets": np.bincount(weights.indices, minlength=n_train).astype(np.float32),
        "raises": positive.astype(np.float32),
        "lowers": negative.astype(np.float32),
        "largest": largest,
    }
    ranked = _strongest(weights.T.tocsr(), detailed, k)
    return ReportExamples(names, columns, detailed, *ranked, cluster)


def _strongest(matrix: "csr_array", rows: Int32s, k: int) -> tuple[Int32s, Floats]:
    """Columns and values of the k largest positive and the k most negative entries of each row;
    shapes (len(rows), 2k), filled with NOBODY and 0."""
    columns = np.full((len(rows), 2 * k), NOBODY, np.int32)
    values = np.zeros((len(rows), 2 * k), np.float32)
    for i, row in enumerate(rows.tolist()):
        entries = slice(matrix.indptr[row], matrix.indptr[row + 1])
        own, data = matrix.indices[entries], matrix.data[entries]
        for start, ranked in zip((0, k), top_examples(data, k), strict=True):
            end = start + len(ranked.examples)
            columns[i, start:end] = own[ranked.examples]
            values[i, start:end] = ranked.weights
    return columns, values


def _detailed(weights: "csr_array", targets: ReportTargets, found: _Findings) -> Int32s:
    """Training examples that something points to, and more of large weights up to a number."""
    wanted = {*_members(targets.examples), *found.examples()}
    n_train = weights.shape[1]
    total = np.bincount(weights.indices, np.abs(weights.data), minlength=n_train)
    for example in np.argsort(-total, kind="stable").tolist():
        if len(wanted) >= _EXAMPLES:
            break
        wanted.add(example)
    return np.array(sorted(wanted), np.int32)


def _members(examples: Int32s) -> Iterable[int]:
    members: list[int] = np.unique(examples[examples != NOBODY]).tolist()
    return members


def _facts(options: ReportOptions, models: Datamodels) -> list[Facts]:
    folder = Path(options.datamodels).parent
    scored = describe_weights(models, folder)
    fitted = describe_fit(folder) or [
        Facts("Fitted", [("Datamodels", "of unknown origin: no folder of results around them")])
    ]
    weights = Facts(
        "Datamodels",
        [
            ("File", options.datamodels),
            (
                "Size",
                f"{models.n_train_examples:,} training examples × {models.n_targets:,} targets",
            ),
        ],
    )
    x_name = options.x_name or scored.x_name or "masks"
    return [*describe_store(options.store, x_name), *fitted, weights]


def _remedies(options: ReportOptions, why_not: str, found: _Findings) -> Mapping[str, str]:
    """How to get what is left out, by section."""
    remedies = {}
    if why_not:
        remedies["score"] = why_not
    if options.curve is None:
        remedies["curve"] = (
            "The learning curve is left out: make one with python -m "
            "datamodels.evaluation.learning_curve, and name its folder with --report.curve=DIR."
        )
    if options.renderer is None and (options.images is None or options.test_images is None):
        remedies["pictures"] = (
            "Some pictures are left out: give --report.images=FILE.npy and "
            "--report.test_images=FILE.npy, or a function that draws an example with "
            "--report.renderer=module:function."
        )
    if options.labels is None or options.test_labels is None:
        remedies["labels"] = (
            "Some labels are left out: give --report.labels=FILE.npy and "
            "--report.test_labels=FILE.npy."
        )
    if not found.components:
        remedies["components"] = (
            "Components take at least 3 targets with weights that are not zero."
        )
    if found.clusters is None:
        remedies["clusters"] = (
            f"Clusters are left out: they take more than 20 training examples and targets, and at "
            f"most {findings.MOST_CLUSTERED:,} training examples, beyond which they take minutes: "
            "make them with python -m datamodels.analysis.clusters, and name its folder with "
            "--report.clusters=DIR."
        )
    if found.leaks is None:
        remedies["leaks"] = (
            "No pair stands out: no weight is so far beyond its target's others that fewer than "
            "one like it was expected by chance. python -m datamodels.analysis.leakage "
            "--leakage.n=20 lists the largest all the same."
        )
    return remedies
