"""``python -m datamodels.analysis.clusters``: subpopulations, as tables and a picture."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datamodels.analysis.cluster_picture import (
    Subpopulations,
    place_on_map,
    plot_subpopulations,
)
from datamodels.analysis.components import ends, principal_components, spectral_clusters
from datamodels.analysis.example_files import plain, read_images, read_labels
from datamodels.analysis.reporting.cluster_files import CLUSTER_FILE, OF_EXAMPLES
from datamodels.analysis.sparsity import sparse_weights, without_own
from datamodels.cli.catalogue import CLUSTERS
from datamodels.cli.runner import Values, run, section
from datamodels.errors import UsageError
from datamodels.files import new_folder, refuse_existing
from datamodels.optional import import_optional
from datamodels.regression.result import Datamodels
from datamodels.training.indices import parse_indices

_MEMBERS = {"train": OF_EXAMPLES, "targets": "targets"}
_MAPS = ("auto", "tsne", "pca")
_MAX_TSNE = 10_000


def main() -> int:
    """The command; returns its exit status."""
    return run(CLUSTERS, _find)


def _find(values: Values) -> None:
    options = section(values, "clusters")
    _check_options(options)
    shown = parse_indices(
        options["shown"], options["components"], "the components", noun="component"
    )
    datamodels = Datamodels.load(options["datamodels"])
    vectors, directions_of = _vectors(datamodels, options)
    n = vectors.shape[0]
    images = read_images(options["images"], n, "clusters.images")
    labels = read_labels(options["labels"], n, "clusters.labels")
    components = principal_components(
        vectors, options["components"], normalize=options["normalize"], seed=options["seed"]
    )
    clusters = spectral_clusters(
        vectors, options["n_clusters"], n_neighbors=options["neighbors"], seed=options["seed"]
    )
    kind = options["map"]
    if kind == "auto":
        kind = "tsne" if n <= _MAX_TSNE else "pca"
    places = place_on_map(vectors, components, kind, options["seed"])
    found = Subpopulations(components, clusters, places, images, labels)
    _write(found, shown, options)
    print(_report(found, options["k"], _members(options), directions_of))
    print(f"wrote {options['out']}")


def _check_options(options: Values) -> None:
    if options["of"] not in _MEMBERS:
        raise UsageError(f"clusters.of={options['of']}: it is one of {', '.join(_MEMBERS)}")
    if options["map"] not in _MAPS:
        raise UsageError(f"clusters.map={options['map']}: it is one of {', '.join(_MAPS)}")
    for name in ("k", "components"):
        if options[name] < 1:
            raise UsageError(f"clusters.{name}={options[name]} is out of range: at least 1")
    if not 0 <= options["seed"] < 2**32:
        raise UsageError(f"clusters.seed={options['seed']} is out of range: 0 to {2**32 - 1}")
    refuse_existing(Path(options["out"]))
    matplotlib = import_optional("matplotlib", "matplotlib", "pictures")  # before minutes of work
    if options["cmap"] not in matplotlib.colormaps:
        raise UsageError(f"clusters.cmap={options['cmap']} is no map of matplotlib; gray_r is one")
    import_optional("sklearn", "scikit-learn", "clusters")


def _vectors(datamodels: Datamodels, options: Values) -> tuple[Any, str]:
    """The rows to embed, and what their entries are weights of."""
    weights = sparse_weights(datamodels)  # (n_targets, n_train)
    if options["exclude_own"]:
        weights = without_own(weights)
    if options["of"] == "targets":
        return weights, _MEMBERS["train"]
    return weights.T.tocsr(), _MEMBERS["targets"]


def _members(options: Values) -> str:
    """What is embedded, in words."""
    return _MEMBERS["train" if options["exclude_own"] else options["of"]]


def _write(found: Subpopulations, shown: list[int], options: Values) -> None:
    components = found.components
    with new_folder(options["out"]) as folder:
        np.savez(
            folder / CLUSTER_FILE,
            members=_members(options),
            scores=components.scores,
            directions=components.directions,
            mean=components.mean,
            explained=components.explained,
            clusters=found.clusters,
            map=found.places,
        )
        _write_table(found, folder / "clusters.csv")
        plot_subpopulations(
            found,
            shown,
            path=folder / "clusters.png",
            k=options["k"],
            title=options["title"],
            members=_members(options),
            cmap=options["cmap"],
        )


def _write_table(found: Subpopulations, path: Path) -> None:
    """A line for each member: cluster, label if there are any, and scores."""
    n, k = found.components.scores.shape
    labelled = ["label"] if found.labels is not None else []
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["member", "cluster", *labelled, *(f"component_{c}" for c in range(k))])
        for j in range(n):
            label = [] if found.labels is None else [plain(found.labels[j])]
            scores = (f"{score:.6g}" for score in found.components.scores[j])
            writer.writerow([j, found.clusters[j], *label, *scores])


def _report(found: Subpopulations, k: int, members: str, directions_of: str) -> str:
    components = found.components
    lines = [f"{components.n_components} components of {len(found.clusters)} {members}"]
    for c in range(components.n_components):
        lines.append(f"component {c}: {components.explained[c]:.1%} of the variance")
        for name, values, labels in (
            (members, components.scores[:, c], found.labels),
            (directions_of, components.directions[:, c], None),
        ):
            both = ends(values, k)
            for words, part in (("low", both.low), ("high", both.high)):
                lines.append(f"  {name:<18}{words:<5}{_listed(part, labels)}")
    sizes = np.bincount(found.clusters[found.clusters >= 0])
    lines.append(f"clusters of {', '.join(map(str, sizes))} {members}")
    nowhere = int((found.clusters < 0).sum())
    if nowhere:
        lines.append(f"{nowhere} {members} have no weights, and are in no cluster")
    return "\n".join(lines)


def _listed(members: NDArray[np.int64], labels: NDArray[Any] | None) -> str:
    words = [str(j) if labels is None else f"{j} ({labels[j]})" for j in members]
    return ", ".join(words) or "none"


if __name__ == "__main__":
    raise SystemExit(main())
