"""The README's own example, run as it stands."""

import re
import shlex
import shutil

import numpy as np
import pytest

from tests.conftest import ROOT

TEXT = (ROOT / "README.md").read_text()


def block(language, needle):
    """The code block of ``language`` that holds ``needle``."""
    blocks = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    (found,) = [block for block in blocks if needle in block]
    return found


def command(needle):
    """Module and options of the one command that holds ``needle``."""
    words = shlex.split(block("bash", needle).replace("\\\n", " "))
    assert words[:2] == ["python", "-m"]
    return words[2].removeprefix("datamodels."), words[3:]


def test_the_five_steps_work_as_written(run, tmp_path):
    (tmp_path / "spec.json").write_text(block("json", "num_models").replace("1000", "120"))
    (tmp_path / "my_training.py").write_text(block("python", "LogisticRegression"))
    smaller = {"--data.num_train=640": "--data.num_train=64",
               "--data.num_val=160": "--data.num_val=16"}  # fmt: skip
    launch = "launch.main_import=my_training --training.c=0.5"
    for needle in ("initialize_store", launch, "num_train=640", "lds.store=runs/mine"):
        module, options = command(needle)
        result = run(module, *[smaller.get(option, option) for option in options])
        assert result.returncode == 0, result.stderr
        assert "warning" not in result.stderr
    assert "on 40 models, 169 targets" in result.stdout
    masks = np.load(tmp_path / "runs" / "mine" / "masks.npy")
    assert (masks.sum(axis=1) == 200).all()
    assert run("training.status", "runs/mine").returncode == 0
    shutil.copytree(tmp_path / "runs" / "mine", tmp_path / "runs" / "here")
    shutil.copytree(tmp_path / "runs" / "mine", tmp_path / "runs" / "there")
    for line in block("bash", "--grow.num_models").splitlines():
        words = shlex.split(line, comments=True)
        result = run(words[2].removeprefix("datamodels."), *words[3:])
        assert result.returncode == 0, result.stdout + result.stderr
    module, options = command("worker.indices=0-99,200")
    result = run(module, *[option.replace("0-99,200", "0-99,120") for option in options])
    assert "1 of 101 rows written, 100 were complete already" in result.stdout
    assert run("training.status", "runs/mine").returncode == 1
    rows = np.load(tmp_path / "runs" / "mine" / "_completed.npy")
    assert (len(rows), rows.sum()) == (2000, 121)


def test_the_python_snippets_work_as_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    masks = rng.random((1000, 30)) < 0.5
    noise = rng.standard_normal((1000, 101))
    outputs = (masks @ rng.standard_normal((30, 101)) + noise).astype("f4")
    store = tmp_path / "runs" / "mine"
    store.mkdir(parents=True)
    arrays = {"masks": masks, "margins": outputs, "_completed": np.ones(1000, bool)}
    for key, array in arrays.items():
        np.save(store / f"{key}.npy", array)
    names = {"masks": masks, "outputs": outputs}
    exec(block("python", "fitted.residuals"), names)
    assert names["fitted"].n_targets == 100
    (tmp_path / "runs" / "fit").mkdir(parents=True)
    (tmp_path / "datamodels.pt").rename(tmp_path / "runs" / "fit" / "datamodels.pt")
    exec(block("python", "helpful, harmful"), names)
    assert len(names["helpful"].examples) == 5
    shutil.copytree(tmp_path / "runs" / "fit", tmp_path / "demo" / "datamodels")
    exec(block("python", "rank_leaks(fitted)"), names)
    assert names["fitted"].n_targets == 100


PAGES = [path for pattern in ("*.md", "*/*.md", "examples/*/*.md") for path in ROOT.glob(pattern)]


@pytest.mark.parametrize("path", sorted(PAGES))
def test_links_lead_somewhere_and_nothing_is_left_to_fill_in(path):
    text = path.read_text()
    for target in re.findall(r"\]\((?!http|#)([^)#]+)", text):
        assert (path.parent / target).exists(), target
    assert not re.findall(r"\b[A-Z]+_(?:TABLE|SECONDS|MINUTES)\b", text)
