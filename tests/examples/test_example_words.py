"""What the scripts of the examples refuse, before any work is done."""

import re
import shutil

import numpy as np
import pytest

from examples.cifar10.images import save_images
from tests.conftest import ROOT
from tests.examples.coloured_shapes import coloured_shapes
from tests.examples.test_examples import shell

SMALL = ["bash", "examples/cifar10/example.sh", "--small", "--models=25"]
TRAINING = [f"--training.{option}" for option in ("width=8", "epochs=6", "lr_peak_epoch=2",
                                                  "batch_size=50", "lr=0.03")]  # fmt: skip


@pytest.fixture
def data(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


@pytest.fixture
def out(tmp_path, data):
    """What the script would go on with: images (never read, as they are no images), and words."""
    folder = tmp_path / "out"
    (folder / "store").mkdir(parents=True)
    words = [f"DATA={data}", "models=25", "classes=cat,dog", "per-class=1000,200", *TRAINING]
    (folder / "words").write_text("\n".join(words) + "\n")
    for part in ("train", "test"):
        (folder / f"cifar_{part}.npz").touch()
    np.save(folder / "store" / "_completed.npy", [False, True])
    return folder


def assert_refused(result, *needles):
    assert result.returncode == 1, result.stdout + result.stderr
    for needle in needles:
        assert needle in result.stderr


def assert_gone_on(result):
    """Past the words, that is: what is there are no images."""
    assert "other words" not in result.stderr
    assert "something else" not in result.stderr
    assert "1. The images" in result.stdout
    assert result.returncode != 0


def test_a_folder_of_other_words_is_not_used_again(data, out):
    for other, shown in (("--classes=cat,ship", "now:   classes=cat,ship"),
                         ("--training.lr=0.5", "now:   --training.lr=0.5")):  # fmt: skip
        assert_refused(shell(*SMALL, other, data, out), "was made with other words", shown)
    assert_gone_on(shell(*SMALL, data, out))


def test_options_of_the_training_bind_once_a_row_is_complete(data, out):
    np.save(out / "store" / "_completed.npy", [False, False])
    assert_refused(shell(*SMALL, "--classes=cat,ship", data, out), "now:   classes=cat,ship")
    assert_gone_on(shell(*SMALL, "--training.lr=0.5", data, out))
    assert (out / "words").read_text().splitlines()[-1] == "--training.lr=0.5"


def test_words_of_the_images_bind_once_both_parts_are_there(data, out):
    shutil.rmtree(out / "store")
    (out / "cifar_test.npz").unlink()
    assert_gone_on(shell(*SMALL, "--classes=cat,ship", data, out))
    assert not (out / "cifar_train.npz").exists()  # of cats and dogs


@pytest.mark.parametrize("name", ["store", "cifar_train.npz", "cifar_test.npz"])
def test_what_something_else_made_is_not_used(data, out, name):
    (out / "words").unlink()
    for path in (out / "store", out / "cifar_train.npz", out / "cifar_test.npz"):
        if path.name != name:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert_refused(shell(*SMALL, data, out), "holds something else", name)
    assert (out / name).exists()


def test_a_wrong_class_blocks_nothing_and_small_says_what_to_name(tmp_path):
    for part, count in (("train", 60), ("test", 18)):
        save_images(tmp_path / f"{part}.npz", coloured_shapes(count, classes=3))
    words = ["--models=25", "--per-class=2,2", tmp_path, tmp_path / "out"]
    small = ["bash", "examples/cifar10/example.sh", "--small"]
    without = shell(*small, *words)
    assert without.returncode == 2
    assert "there is no cat, dog. The classes are disc" in without.stderr
    assert "name two classes that DATA has: --classes=A,B" in without.stderr
    wrong = shell(*small, "--classes=disc,sqare", *words)
    assert wrong.returncode == 2
    assert "there is no sqare" in wrong.stderr
    for option in ("epochs=0", "width=0"):  # neither makes a row: the next is no other word
        right = shell(*small, "--classes=disc,square", f"--training.{option}", *words)
        assert "other words" not in right.stderr
        assert f"--training.{option} is not an integer of at least 1" in right.stderr


def test_scripts_run_in_the_bash_of_macos():
    """3.2 takes an empty array for an unset name, which ``set -u`` refuses; told from the text."""
    scripts = sorted((ROOT / "examples").rglob("*.sh"))
    assert len(scripts) == 4
    for path in scripts:
        text = re.sub(r'\$\{(\w+)\[([@*])\]\+"\$\{\1\[\2\]\}"\}', "", path.read_text())
        assert not re.search(r"\$\{\w+\[[@*]\]", text), path


@pytest.mark.parametrize(
    ("words", "status", "needle"),
    [
        (["--help"], 2, "usage: bash"),
        (["OUT", "abc"], 2, "MODELS=abc is no number"),
        (["OUT", "3"], 2, "must be from 50 to"),
        (["OUT", "2000"], 2, "num_models of examples/text/spec.json, 1000"),
        (["FILE", "60"], 1, "cannot be a folder"),
        (["MADE", "60"], 1, "was made with 70 models"),
    ],
)
def test_the_text_example_says_what_it_takes(tmp_path, words, status, needle):
    (tmp_path / "FILE").write_text("mine")
    (tmp_path / "MADE").mkdir()
    (tmp_path / "MADE" / "models").write_text("70\n")
    places = [str(tmp_path / word) if word.isupper() else word for word in words]
    result = shell("bash", "examples/text/example.sh", *places)
    assert result.returncode == status, result.stdout + result.stderr
    assert needle in result.stderr
