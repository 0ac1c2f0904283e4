"""From images to datamodels: train networks on random halves of the digits, fit, score, draw.

    python -m examples.digits.demo --demo.out=demo

Every stage is a command of the package, printed before it runs. Stopped and started again with the
same options, the demo goes on where it was.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from fastargs import Param, Section
from fastargs.decorators import param, section

from datamodels import Datamodels
from datamodels.analysis.pictures import plot_top_examples
from datamodels.errors import DatamodelsError
from datamodels.files import new_folder
from datamodels.training import Store
from datamodels.training.utils import make_config
from examples.digits.data import load_digits

Section("demo", "the demo on scikit-learn's digits").params(
    out=Param(str, "folder for everything the demo makes", default="demo"),
    models=Param(int, "networks to train, at least 50", default=2000),
    workers=Param(int, "worker processes", default=os.cpu_count() or 1),
)

SPEC = Path(__file__).with_name("spec.json")
MIN_MODELS = 50
BATCH = 32  # networks that a worker trains at once: more are no faster on a core
LEAST_LEARNT = 50  # models that a learning curve takes
N_SHOWN = 5  # helpful and harmful training images of each test image in the report


class StageError(DatamodelsError):
    """A command of the demo failed; it has said why."""


@section("demo")
@param("out")
@param("models")
@param("workers")
def demo(out: str, models: int, workers: int) -> None:
    """Run every stage that is not done yet."""
    if models < MIN_MODELS or workers < 1:
        raise DatamodelsError(
            f"demo.models={models} must be at least {MIN_MODELS}, demo.workers={workers} at least 1"
        )
    began = time.monotonic()
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    # Of ten models six and a half fit, one and a half choose lambda, and two are held out.
    held_out = models // 5
    num_val = models * 4 // 25
    num_train = models - held_out - num_val

    train(folder, models, workers)
    fit(folder, num_train, num_val)
    score(folder, models - held_out, models)
    curve = extrapolate(folder, models - held_out, models)
    draw(folder)
    page = report(folder, models - held_out, models, curve)
    print(f"\nDone in {time.monotonic() - began:.0f} s. The report: {page}")


def train(folder: Path, models: int, workers: int) -> None:
    """Make the store and fill it."""
    spec = json.loads(SPEC.read_text()) | {"num_models": models}
    if not (folder / "spec.json").exists():
        (folder / "spec.json").write_text(json.dumps(spec, indent=4) + "\n")
    elif json.loads((folder / "spec.json").read_text()) != spec:
        raise DatamodelsError(
            f"{folder} holds a demo of another number of models than demo.models={models}; name "
            "another demo.out, or the same number"
        )
    headline("1. A store for the masks and outputs of all networks")
    run("training.initialize_store", f"--logging.logdir={folder / 'store'}",
        f"--logging.spec={folder / 'spec.json'}")  # fmt: skip
    store = Store.open(folder / "store")
    missing = len(store.missing())
    headline(f"2. Train {missing or 'no more'} networks, each on its own half of the images")
    if missing:
        run("training.launch", f"--launch.logdir={folder / 'store'}",
            "--launch.main_import=examples.digits.train_digits", f"--launch.workers={workers}",
            f"--worker.batch={BATCH}")  # fmt: skip
    accuracy = store["accuracy"][:].mean()
    print(f"{models} networks, test accuracy {accuracy:.3f} on average")


def fit(folder: Path, num_train: int, num_val: int) -> None:
    """A datamodel for every test image."""
    headline("3. For every test image, a sparse linear model from mask to margin")
    if (folder / "datamodels").exists():
        print(f"{folder / 'datamodels'} is there already")
        return
    run("regression.compute_datamodels", f"--data.data_path={folder / 'store'}",
        f"--data.num_train={num_train}", f"--data.num_val={num_val}", "--cfg.k=50",
        "--cfg.eps=1e-2", f"--cfg.out_dir={folder / 'datamodels'}")  # fmt: skip


def score(folder: Path, first: int, end: int) -> None:
    """The linear datamodeling score on models that took no part in the fit."""
    headline(f"4. How well do they rank {end - first} networks they have not seen?")
    scores = folder / "lds.npy"
    scores.unlink(missing_ok=True)
    run("evaluation.lds", f"--lds.datamodels={folder / 'datamodels' / 'datamodels.pt'}",
        f"--lds.store={folder / 'store'}", f"--lds.rows={first}-{end - 1}",
        f"--lds.out={scores}")  # fmt: skip


def extrapolate(folder: Path, first: int, end: int) -> Path | None:
    """A learning curve, scored on the same models; None where there are too few for one."""
    headline("5. What would more networks bring?")
    curve = folder / "learning_curve"
    if first < LEAST_LEARNT:
        print(f"too few to tell: a learning curve takes {LEAST_LEARNT} to learn from, not {first}")
        return None
    if curve.exists():
        print(f"{curve} is there already")
        return curve
    run("evaluation.learning_curve", f"--curve.data_path={folder / 'store'}",
        f"--curve.num_held_out={end - first}", "--curve.k=50", "--curve.eps=1e-2",
        f"--curve.out={curve}")  # fmt: skip
    return curve


def draw(folder: Path) -> Path:
    """For some test images, the training images that help and hurt most."""
    headline("6. A picture: the training images behind some test images")
    digits = load_digits()
    datamodels = Datamodels.load(folder / "datamodels" / "datamodels.pt")
    lds = np.load(folder / "lds.npy")
    spread = Store.open(folder / "store")["margins"][:].std(axis=0)
    signs = np.sign(datamodels.weight)
    full = np.minimum((signs > 0).sum(axis=0), (signs < 0).sum(axis=0)) >= N_SHOWN
    targets = most_variable(np.where(full, spread, 0), digits.test_labels, 8)
    picture = plot_top_examples(
        datamodels.weight,
        digits.train_images,
        digits.train_labels,
        digits.test_images,
        digits.test_labels,
        targets,
        path=folder / "report.png",
        k=N_SHOWN,
        notes=[f"LDS {lds[t]:.2f}" for t in targets],
        title="Training images that help and hurt the networks on eight test images",
        output="margin",
        cmap="gray_r",
        overwrite=True,
    )
    print(f"wrote {picture}")
    return picture


def report(folder: Path, first: int, end: int, curve: Path | None) -> Path:
    """Everything in one page, for a browser."""
    headline("7. A page to look around in: every test image, every training image")
    files = save_digits(folder / "digits")
    page = folder / "report.html"
    page.unlink(missing_ok=True)
    with_curve = [] if curve is None else [f"--report.curve={curve}"]
    run("analysis.report", f"--report.datamodels={folder / 'datamodels' / 'datamodels.pt'}",
        f"--report.store={folder / 'store'}", f"--report.rows={first}-{end - 1}",
        f"--report.images={files / 'train_images.npy'}",
        f"--report.test_images={files / 'test_images.npy'}",
        f"--report.labels={files / 'train_labels.npy'}",
        f"--report.test_labels={files / 'test_labels.npy'}", "--report.cmap=gray_r",
        "--report.title=Datamodels of the digits", *with_curve, f"--report.out={page}")  # fmt: skip
    return page


def save_digits(folder: Path) -> Path:
    """Images and labels as files, for commands that show them."""
    if not folder.exists():
        with new_folder(folder) as partial:
            for name, array in load_digits()._asdict().items():
                np.save(partial / f"{name}.npy", array)
    return folder


def most_variable(spread: np.ndarray, labels: np.ndarray, n: int) -> list[int]:
    """Of the test images whose output depends most on the subset, one a digit, n in all."""
    best = [max(np.flatnonzero(labels == digit), key=lambda t: spread[t]) for digit in range(10)]
    return sorted(sorted(map(int, best), key=lambda t: -spread[t])[:n], key=lambda t: labels[t])


def headline(text: str) -> None:
    print(f"\n{text}", flush=True)


def run(command: str, *options: str) -> None:
    """Run a command of the package, shown as the user would type it."""
    words = ["-m", f"datamodels.{command}", *options]
    print("$", shlex.join(["python", *words]), flush=True)
    if subprocess.run([sys.executable, *words], check=False).returncode:
        raise StageError(f"datamodels.{command} failed; see above")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends the workers too
    try:
        make_config(quiet=True)
        demo()
    except DatamodelsError as error:
        raise SystemExit(f"demo: error: {error}") from None
    except KeyboardInterrupt:
        raise SystemExit("\ninterrupted; run the same command again to go on") from None
