"""Images and labels as the report wants them: an ``.npy`` of each, and the names of the classes.

python -m examples.cifar10.report_files cifar_train.npz cifar_test.npz FOLDER
"""

import sys
from pathlib import Path

import numpy as np

from datamodels.errors import DatamodelsError
from datamodels.files import new_folder
from examples.cifar10.images import read_images


def save_report_files(train: str, test: str, folder: Path) -> None:
    """``train_images.npy``, ``train_labels.npy``, the same of ``test``, and ``classes.txt``."""
    with new_folder(folder) as partial:
        for name, path in (("train", train), ("test", test)):
            data = read_images(path)
            np.save(partial / f"{name}_images.npy", data.images)
            np.save(partial / f"{name}_labels.npy", data.labels)
            names = data.classes or tuple(map(str, range(data.num_classes)))
            (partial / "classes.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        print("usage: python -m examples.cifar10.report_files TRAIN TEST FOLDER", file=sys.stderr)
        raise SystemExit(2)
    try:
        save_report_files(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
    except DatamodelsError as error:
        raise SystemExit(f"report_files: error: {error}") from None
