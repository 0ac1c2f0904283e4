"""One .npz of images and labels, from wherever the images are.

    python -m examples.cifar10.prepare_data --prepare.source=PATH --prepare.split=train \
        --prepare.out=cifar_train.npz [--prepare.classes=cat,dog --prepare.per_class=1000]

``sources/`` has a module for each kind of source; which one it is, is told from what is there.
"""

import sys
from pathlib import Path

from datamodels.cli.option import Command, Option, OptionSection
from datamodels.cli.progress import ProgressLine
from datamodels.cli.runner import Values, run
from datamodels.errors import UsageError
from datamodels.files import check_new_file
from examples.cifar10.images import LabelledImages, checked, save_images
from examples.cifar10.selection import select
from examples.cifar10.sources import KINDS, choose_kind, open_source
from examples.cifar10.sources.batches import download

PREPARE_DATA = Command(
    "examples.cifar10.prepare_data",
    "one .npz of images and labels, from wherever the images are",
    (
        OptionSection(
            "prepare",
            "what to read, and whereto",
            (
                Option("source", "path", "file or folder with the images", required=True),
                Option("out", "path", "the .npz to write", required=True),
                Option("split", "str", "train or test, where the source has several parts"),
                Option("kind", "str", f"{', '.join(KINDS)}; told from what is there if left out"),
                Option("classes", "str", "only these, e.g. cat,dog; labels are 0, 1, ... in this "
                       "order. Numbers where the source has no names"),
                Option("per_class", "int", "only so many of each class, the first"),
                Option("download", "flag", "let torchvision, if installed, download CIFAR-10 to "
                       "the source's folder", default=False),
            ),
        ),
    ),
    strict=True,
)  # fmt: skip


def main() -> int:
    """The command; returns its exit status."""
    return run(PREPARE_DATA, _prepare)


def _prepare(values: Values) -> None:
    out, per_class = Path(values["prepare.out"]), values["prepare.per_class"]
    if out.suffix != ".npz":
        raise UsageError(f"--prepare.out={out} must end in .npz")
    if per_class is not None and per_class < 1:
        raise UsageError(f"--prepare.per_class={per_class} must be at least 1")
    check_new_file(out)
    path, kind_name = Path(values["prepare.source"]), values["prepare.kind"]
    if values["prepare.download"]:
        if kind_name not in (None, "torchvision"):
            raise UsageError(f"--prepare.download is not for --prepare.kind={kind_name}")
        download(path)
        kind_name = "torchvision"
    kind = choose_kind(path, kind_name)
    source = open_source(path, kind, values["prepare.split"])
    names = values["prepare.classes"]
    rows, labels, classes = select(source, names.split(",") if names else None, per_class)
    with ProgressLine("image") as progress:
        images = source.load(rows, lambda done: progress("reading", done, len(rows)))
    data = checked(LabelledImages(images, labels, classes), path)
    save_images(out, data)
    n, height, width, _ = data.images.shape
    print(f"{path} ({kind.name}): {n:,} images of {width} x {height} pixels in "
          f"{data.num_classes} classes, written to {out}")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
