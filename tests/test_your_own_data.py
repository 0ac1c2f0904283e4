"""The example of docs/your_own_data.md, run as it stands, with fewer models."""

import re
import shlex

import numpy as np

from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "your_own_data.md").read_text()
FEWER = {"--data.num_train=1280": "--data.num_train=96", "--data.num_val=320": "--data.num_val=24"}


def block(language):
    """The one code block of ``language``."""
    (found,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return found


def commands():
    """Module and options of every command, in the order of the page."""
    text = "\n".join(re.findall(r"```bash\n(.*?)```", TEXT, re.DOTALL)).replace("\\\n", " ")
    for line in filter(None, text.splitlines()):
        python, m, module, *options = shlex.split(line)
        assert (python, m) == ("python", "-m")
        yield module.removeprefix("datamodels."), options


def test_the_six_steps_work_as_written(run, tmp_path):
    (tmp_path / "spec.json").write_text(block("json").replace("2000", "160"))
    (tmp_path / "my_training.py").write_text(block("python"))
    said = {}
    for module, options in commands():
        result = run(module, *[FEWER.get(option, option) for option in options])
        assert result.returncode == 0, result.stdout + result.stderr
        assert "warning" not in result.stderr
        said[module] = result.stdout
    assert list(said) == [
        "training.estimate", "training.initialize_store", "training.launch",
        "regression.compute_datamodels", "evaluation.lds", "evaluation.learning_curve",
    ]  # fmt: skip
    assert "on 40 models, 60 targets" in said["evaluation.lds"]
    masks, margins = (np.load(tmp_path / "runs" / "mine" / f"{key}.npy") for key in
                      ("masks", "margins"))  # fmt: skip
    assert (masks.sum(axis=1) == 59).all()
    assert (margins > 0).mean() > 0.85  # the models learn
    assert (margins.std(axis=0) > 0).all()


def test_what_estimate_prints_is_as_shown(run, tmp_path):
    """Words and columns, with other numbers."""
    (tmp_path / "spec.json").write_text(block("json"))
    (tmp_path / "my_training.py").write_text(block("python"))
    module, options = next(commands())
    result = run(module, *options, "--estimate.workers=2", env={"CUDA_VISIBLE_DEVICES": ""})
    (shown,) = re.findall(r"```\n(2 workers at once.*?)```", TEXT, re.DOTALL)

    def words(text):
        return [re.findall(r"[a-z]{4,}", line)[:2] for line in text.strip().splitlines()]

    def rows(text):
        return re.findall(r"^ +([\d,]{3,}) ", text, re.MULTILINE)

    assert [w for w in words(shown) if w][:4] == [w for w in words(result.stdout) if w][:4]
    assert rows(shown) == rows(result.stdout)
    assert "239 bytes a model in the arrays; 478,384 bytes for the 2,000 planned" in result.stdout
