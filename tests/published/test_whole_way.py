"""From an empty folder to the LDS of datamodels, published ones and our own, by commands alone."""

import io
import json
import re
import shlex

import numpy as np
import pytest
import torch

from datamodels import Datamodels, Store
from tests.conftest import ROOT
from tests.published.conftest import MARGINS, MASKS, WEIGHTS, npy

N_MODELS, N_EVALUATION, N_TRAIN, N_TEST = 400, 10_000, 60, 4
TRUTH = np.zeros((N_TRAIN, N_TEST), "f4")
TRUTH[:8] = np.random.default_rng(1).normal(size=(8, N_TEST))


@pytest.fixture
def linear_world(proxy):
    """Outputs that are linear in the masks, but for noise, and true datamodels."""
    rng = np.random.default_rng(0)
    masks = rng.random((N_MODELS + N_EVALUATION, N_TRAIN)) < 0.5
    margins = masks @ TRUTH + 1 + 0.3 * rng.normal(size=(len(masks), N_TEST))
    bias, lam = torch.ones(N_TEST), torch.zeros(N_TEST)
    file = io.BytesIO()
    torch.save({"weight": torch.from_numpy(TRUTH), "bias": bias, "lam": lam}, file)
    for key, content in (
        (MASKS, npy(masks)),
        (MARGINS, npy(margins.astype("f2"))),
        (WEIGHTS, file.getvalue()),
    ):
        proxy.behind.put(key, content)
    return proxy


def scored(run, weights: str, *options: str) -> float:
    lds = run("evaluation.lds", f"--lds.datamodels={weights}", "--lds.store=pub/cifar/50pct",
              "--lds.resamples=20", *options)  # fmt: skip
    assert lds.returncode == 0, lds.stderr
    is_published = weights.startswith("pub")  # nothing says which rows it was fitted to
    assert ("rows 400-10399" in lds.stderr) == is_published
    assert lds.stderr.count("\n") == int(is_published)
    assert "on 10,000 models, 4 targets" in lds.stdout
    return float(lds.stdout.split()[1])


def test_from_nothing_to_lds(linear_world, run, tmp_path):
    download = ["published download", "--download.root=pub", "--yes"]
    first = run(
        *download, "--download.kinds=masks,margins,datamodels", "--download.rows=evaluation"
    )
    assert first.returncode == 0, first.stderr
    published = scored(run, f"pub/{WEIGHTS}")
    assert published > 0.9
    few = linear_world.transferred

    rest = run(*download, "--download.kinds=masks,margins")
    assert rest.returncode == 0, rest.stderr
    assert linear_world.transferred - few == N_MODELS * (N_TRAIN + 2 * N_TEST)
    assert run("published check", "pub").returncode == 0
    assert Store.open(tmp_path / "pub/cifar/50pct").completed.all()
    status = json.loads(run("training.status", "pub/cifar/50pct", "--json").stdout)
    assert status["read_only"]["of"].startswith("the files of cifar at 50%")
    assert scored(run, f"pub/{WEIGHTS}") == published  # not on what they may have been fitted to
    assert scored(run, f"pub/{WEIGHTS}", "--lds.rows=evaluation") == published

    fit = run("regression.compute_datamodels", "--data.data_path=pub/cifar/50pct",
              "--data.num_train=320", "--data.num_val=80", "--cfg.k=20", "--cfg.eps=0.01",
              "--cfg.out_dir=fit", timeout=300)  # fmt: skip
    assert fit.returncode == 0, fit.stderr
    ours = Datamodels.load(tmp_path / "fit" / "datamodels.pt")
    assert np.corrcoef(ours.weight.ravel(), TRUTH.ravel())[0, 1] > 0.9
    assert 0.85 < scored(run, "fit/datamodels.pt") <= published + 0.01


def test_the_lines_of_the_readme_work_as_written(linear_world, run):
    text = (ROOT / "README.md").read_text()
    (lines,) = re.findall(r"```bash\n([^`]*published download[^`]*)```", text)
    said = []
    for line in lines.splitlines():
        if line.startswith("python -m datamodels."):
            module, *options = shlex.split(line.removeprefix("python -m datamodels."))
            yes = ["--yes"] if "download" in options else []
            result = run(module, *options, *yes)
            assert result.returncode == 0, result.stderr
            said.append(result.stdout)
    download, units, lds = said
    assert "10,000 complete rows of 10,400" in download
    assert "the weights are raw" in units
    assert "on 10,000 models, 4 targets" in lds
