"""What a store will cost: rows of a known time, bounds rather than times."""

import json
import math
import os
from itertools import groupby

import numpy as np
import pytest

from datamodels.cli.command_line import without_options
from datamodels.regression.fit_config import FitConfig
from datamodels.regression.plan import Size
from datamodels.training import Store
from datamodels.training.cost import Cost
from datamodels.training.planned_masks import create_planned_store
from datamodels.training.spec import Spec
from tests.conftest import ROOT, assert_fails
from tests.training.conftest import CONTENT


@pytest.fixture
def estimate(run, tmp_path, monkeypatch):
    """``estimate("--estimate.workers=2", ...)`` on a spec of 400 models; what came."""
    (tmp_path / "many.json").write_text(json.dumps(CONTENT | {"num_models": 400}))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))

    def run_estimate(*arguments, spec="many.json", module="tests.training.sleeping", env=None):
        words = [f"--estimate.spec={spec}"] if spec else []
        result = run(
            "training.estimate", *words, f"--estimate.main_import={module}", *arguments,
            env={"CUDA_VISIBLE_DEVICES": "", **(env or {})},
        )  # fmt: skip
        assert not list((tmp_path / "tmp").iterdir())  # whatever came, nothing stays
        return result

    return run_estimate


@pytest.fixture
def figures(estimate):
    """The figures as JSON."""

    def run_estimate(*arguments, **keywords):
        result = estimate("--estimate.json", *arguments, **keywords)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    return run_estimate


def calls(path):
    """Of each process its calls in order: (began, ended, rows)."""
    lines = sorted(line.split() for line in path.read_text().splitlines())
    return {
        pid: sorted(
            (float(began), float(ended), rows.split(",")) for _, began, ended, rows, _ in of
        )
        for pid, of in groupby(lines, key=lambda words: words[0])
    }


def test_the_time_of_models_is_that_of_later_calls(figures):
    found = figures("--estimate.workers=2", "--sleeping.first=0.8", "--sleeping.each=0.2")
    assert 0.2 <= found["model_seconds_least"] <= found["model_seconds"] < 0.6
    assert 0.2 < found["first_call_seconds"] < 1.5
    assert found["models_per_hour"] <= 2 * 3600 / 0.2
    begin = found["import_seconds"] + found["first_call_seconds"]
    for number, hours in found["hours"].items():
        expected = begin + 3600 * int(number) / found["models_per_hour"]
        assert math.isclose(3600 * hours, expected)
    assert found["hours"]["400"] > 400 * 0.2 / 2 / 3600


def test_no_second_call_begins_before_every_first_one_has_ended(figures, tmp_path):
    told = tmp_path / "told"
    found = figures("--estimate.workers=3", "--estimate.trials=2", "--sleeping.each=0.05",
                    f"--sleeping.told={told}")  # fmt: skip
    of_workers = calls(told).values()
    assert len(of_workers) == found["workers"] == 3
    last_first = max(of[0][1] for of in of_workers)
    assert all(began >= last_first for of in of_workers for began, *_ in of[1:])
    assert all(len(of) > 2 for of in of_workers)


def test_rows_are_distinct_and_come_from_all_over_the_store(figures, tmp_path):
    told = tmp_path / "told"
    figures("--estimate.workers=1", "--estimate.trials=20", "--sleeping.each=0.05",
            f"--sleeping.told={told}")  # fmt: skip
    (of,) = calls(told).values()
    rows = [int(row) for *_, rows in of for row in rows]
    assert len(set(rows)) == len(rows)
    assert 0 <= min(rows) < 100
    assert 300 <= max(rows) < 400


def test_batches_count_by_their_models(figures, tmp_path):
    told = tmp_path / "told"
    found = figures("--estimate.workers=1", "--estimate.batch=8", "--sleeping.each=0.4",
                    f"--sleeping.told={told}")  # fmt: skip
    (of,) = calls(told).values()
    assert {len(rows) for *_, rows in of} == {8}
    assert 0.05 <= found["model_seconds_least"] < 0.15
    assert found["batch"] == 8


@pytest.mark.parametrize("how", ["raise", "die"])
@pytest.mark.parametrize("bad", [1, 3])
@pytest.mark.parametrize("batch", [[], ["--estimate.batch=4"]])
def test_a_main_that_fails_is_reported_in_its_own_words(estimate, how, bad, batch):
    result = estimate("--estimate.workers=2", f"--sleeping.bad={bad}", f"--sleeping.how={how}",
                      *batch)  # fmt: skip
    said = {"raise": "RuntimeError: the training diverged", "die": "before main returned"}[how]
    assert result.returncode == 1, result.stderr
    assert said in result.stderr
    assert "datamodels/training" not in result.stderr.replace(str(ROOT), "")
    assert result.stdout == ""


@pytest.mark.parametrize("how", ["raise MemoryError('no room for so many')", "os._exit(3)"])
def test_a_batch_that_only_fails_as_a_whole_is_no_estimate(estimate, tmp_path, how):
    (tmp_path / "together.py").write_text(
        "import os\n"
        "def main_batch(*_, indices, logdir):\n"
        f"    if len(indices) > 1:\n        {how}\n"
        "    n = len(indices)\n"
        "    return {'masks': [[1] * 5] * n, 'margins': [[1.0] * 3] * n, 'epochs': [7] * n}\n"
    )
    result = estimate("--estimate.workers=1", "--estimate.batch=4", module="together")
    assert_fails(result, 1, "lower estimate.batch")
    assert result.stdout == ""
    assert estimate("--estimate.workers=1", "--estimate.batch=1", module="together").returncode == 0


def test_a_module_that_cannot_be_imported_is_reported_as_a_worker_does(estimate, tmp_path):
    assert_fails(estimate(module="no.such"), 2, "there is no module 'no'")
    (tmp_path / "broken.py").write_text("raise OSError('no data here')")
    broken = estimate(module="broken")
    assert broken.returncode == 1
    assert "no data here" in broken.stderr
    (tmp_path / "crowded.py").write_text(
        "import os\ntry:\n    os.mkdir('taken')\nexcept OSError:\n    raise OSError('it is full')\n"
        "def main(*_, index, logdir): return {}\n"
    )
    crowded = estimate("--estimate.workers=2", module="crowded")
    assert crowded.returncode == 1
    assert "2 workers do not fit" in crowded.stderr
    assert "it is full" in crowded.stderr


def test_warnings_of_workers_are_shown(estimate, tmp_path):
    (tmp_path / "partial.py").write_text("def main(*_, index, logdir): return {'epochs': 1}")
    assert "warning: main returned no margins, masks" in estimate(module="partial").stderr


def test_a_store_is_left_as_it_is(figures, tmp_path, spec):
    store = Store.create(tmp_path / "store", Spec(400, spec.schema))
    store.write(0, {"masks": [1] * 5, "margins": [2] * 3, "epochs": 3})

    def seen():
        return {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}

    before = seen()
    told = tmp_path / "told"
    found = figures(f"--estimate.logdir={store.path}", f"--sleeping.told={told}", spec=None)
    assert seen() == before
    assert not any(str(store.path) in line for line in told.read_text().splitlines())
    assert found["planned_models"] == 400


def test_a_plan_is_followed(figures, estimate, tmp_path, spec):
    """Rows of a store with a plan are those of the plan, whatever number is planned."""
    store = create_planned_store(
        tmp_path / "store", spec.schema, np.ones((30, 5), bool), x_name="masks", description={},
        arrays={},
    )  # fmt: skip
    here = ["--estimate.workers=1", f"--estimate.logdir={store.path}", "--estimate.models=5000"]
    assert figures(*here, spec=None)["planned_models"] == 5000
    wrong = estimate(*here, "--sleeping.first_mask=0", spec=None)
    assert_fails(wrong, 1, "plan")


@pytest.mark.parametrize("models", [1, 7, 400])
def test_the_disk_is_what_a_store_takes(models, tmp_path, spec):
    store = Store.create(tmp_path / "store", Spec(models, spec.schema))
    taken = sum(path.stat().st_size for path in store.path.glob("*.npy"))
    cost = Cost(models, spec, None, tmp_path, 0)
    assert cost.array_bytes(models) == taken


def test_what_main_leaves_in_its_folder_counts(figures):
    without = figures("--estimate.workers=1")["file_bytes_per_model"]
    kept = figures("--estimate.workers=1", "--sleeping.keeps=1000000", "--sleeping.each=0.01")
    assert 900_000 < kept["file_bytes_per_model"] - without < 1_100_000


def test_the_memory_of_the_regression_is_what_it_says_itself(spec, tmp_path):
    cost = Cost(100, spec, None, tmp_path, 0)
    size = Size(n_train=100, n_features=5, n_targets=3)
    assert cost.pair_table_bytes == size.table_bytes(FitConfig(k=10, engine="cpu"))
    without = Spec(100, {"margins": spec.schema["margins"]})
    assert Cost(100, without, None, tmp_path, 0).pair_table_bytes is None


def test_the_table_has_the_planned_number(estimate):
    result = estimate("--estimate.models=1234", "--estimate.workers=1")
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.splitlines() if line.endswith("  planned")]
    assert line.split()[0] == "1,234"
    assert f"{1234 * 20 + 4 * 128:,} bytes for the 1,234 planned" in result.stdout
    for number in ("500", "300,000"):
        assert any(line.split()[:1] == [number] for line in result.stdout.splitlines())


def test_the_memory_of_gpus_is_what_they_hold_beyond_before(figures, tmp_path):
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    # 100 MiB at first, 600 from the second look on; the first two GPUs of the environment
    smi.write_text(
        '#!/bin/sh\n[ -e "$0.asked" ] && u=600 || u=100\ntouch "$0.asked"\n'
        'echo "$u, 8000"\necho "$u, 8000"\n'
    )
    smi.chmod(0o755)
    path = os.pathsep.join([str(smi.parent), os.environ["PATH"]])
    found = figures(env={"CUDA_VISIBLE_DEVICES": "0,1", "PATH": path})
    assert found["gpus"] == ["0", "1"]
    assert found["workers"] == 2
    assert found["gpu_bytes"] == [500 * 2**20] * 2
    assert found["gpu_total_bytes"] == [8000 * 2**20] * 2


def test_only_gpus_that_workers_use_are_told_of(estimate):
    for count, said in ((2, "2 workers at once on 2 GPUs,"), (1, "1 worker at once on 1 GPU,")):
        result = estimate(f"--estimate.workers={count}", env={"CUDA_VISIBLE_DEVICES": "0,1,2,3"})
        assert result.returncode == 0, result.stderr
        assert said in result.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "needles"),
    [
        (["--estimate.logdir=store"], 2, ["not both"]),
        (["--estimate.models=0"], 2, ["estimate.models=0", "at least 1"]),
        (["--estimate.trials=0"], 2, ["estimate.trials=0"]),
        (["--estimate.workers=0"], 2, ["workers=0"]),
        (["--estimate.workers=300"], 2, ["need 600 rows", "there are 400"]),
        (["--estimate.batch=100", "--estimate.workers=3"], 2, ["estimate.batch"]),
        (["--worker.batch=2"], 2, ["--estimate.batch"]),
        (["--estimate.banana=2"], 2, ["no option of this command"]),
    ],
)
def test_wrong_calls(estimate, arguments, status, needles):
    assert_fails(estimate(*arguments), status, *needles)


def test_which_store_must_be_said(estimate):
    assert_fails(estimate(spec=None), 2, "estimate.spec", "estimate.logdir")
    assert_fails(estimate(spec="nothing.json"), 1, "no spec at nothing.json")


def test_a_flag_takes_no_word_of_the_users_options():
    words = ["--a.flag", "--mine.x=1", "--a.value", "3", "--a.flag=true", "--mine.y"]
    kept = without_options(words, {"a.flag", "a.value"}, flags={"a.flag"})
    assert kept == ["--mine.x=1", "--mine.y"]
