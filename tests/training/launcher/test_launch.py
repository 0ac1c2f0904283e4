"""The local launcher: every row, whatever happens to workers and launchers."""

import os
import re
import signal
import time

import numpy as np
import pytest

from datamodels.errors import UsageError
from datamodels.training import fill_store, grow_store
from datamodels.training.launcher.lock import AlreadyLaunchedError, launch_lock
from tests.conftest import assert_fails
from tests.training.mains import row
from tests.training.test_worker import HERE, processes_naming, wait_for

MAINS = {"module": "tests.training.mains"}


def assert_filled(store, rows=None):
    """Just these rows are complete, each with its own number."""
    rows = range(store.num_models) if rows is None else rows
    assert np.flatnonzero(store.completed).tolist() == sorted(rows)
    np.testing.assert_array_equal(store["row"][list(rows)], list(rows))


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_row_is_filled(launch, filled, workers):
    store = filled(50)
    result = launch(store, f"--launch.workers={workers}", "--reports.seconds=0.02")
    assert result.returncode == 0, result.stderr
    assert "50 of 50 rows are complete" in result.stdout
    assert_filled(store)
    assert len(set(store["pid"])) == workers  # they live as long as there are rows


def test_other_options_than_those_of_the_rows_that_are_there_are_told(launch, filled):
    store = filled(6)
    first = launch(store, "--launch.indices=0-1", "--launch.workers=1", "--reports.seconds=0.01")
    assert first.stderr == ""
    same = launch(store, "--launch.indices=2", "--launch.workers=2", "--reports.seconds=1e-2")
    assert "side by side" not in same.stderr
    other = launch(store, "--launch.indices=3", "--launch.workers=1", "--reports.seconds=0.02")
    assert other.returncode == 0
    assert "were made with --reports.seconds=0.01 (now 0.02): models of both kinds" in other.stderr
    without = launch(store, "--launch.workers=1")
    assert "--reports.seconds=0.02 (now not given)" in without.stderr
    assert "side by side" not in launch(store, "--launch.workers=1").stderr  # nothing is to be made


def test_a_complete_store_ends_at_once(launch, filled):
    store = filled(3)
    assert launch(store, "--launch.workers=1").returncode == 0
    again = launch(store, module="no.such.module")
    assert again.returncode == 0
    assert "3 of 3 rows are complete" in again.stdout


def test_only_rows_that_are_missing_and_asked_for_are_run(launch, filled):
    store = filled(20)
    store.write(4, {"row": 400, "pid": 0, "gpu": 0, "threads": 0})
    result = launch(store, "--launch.indices=2-6", "--launch.workers=2")
    assert result.returncode == 0, result.stderr
    assert "5 of 5 rows are complete" in result.stdout
    assert np.flatnonzero(store.completed).tolist() == [2, 3, 4, 5, 6]
    assert store["row"][4] == 400


def test_rows_that_fail_too_often_are_set_aside_and_the_rest_goes_on(launch, store):
    how = "--play.how=1:raise,3:segfault,4:overflow,5:exit"
    result = launch(store, how, "--launch.workers=2", "--launch.retries=2", **MAINS)
    assert_fails(
        result, 1, "4 rows failed and are set aside", "the training diverged", "SIGSEGV", "70000",
        "worker-0.err", "row 3 is set aside", "3 of 7 rows are complete",
    )  # fmt: skip
    assert np.flatnonzero(store.completed).tolist() == [0, 2, 6]
    assert "the training diverged" in store.layout.error(1).read_text()
    failures = [
        path.read_text().count("row 1 failed") for path in store.layout.launch.glob("*.err")
    ]
    assert sum(failures) == 2
    again = launch(store, "--launch.workers=2", **MAINS)
    assert again.returncode == 0, again.stderr
    for index in range(7):
        np.testing.assert_array_equal(store["margins"][index], row(index)["margins"])


def test_workers_that_die_are_replaced_and_their_rows_come_back(launch, filled, tmp_path):
    store = filled(12)
    (tmp_path / "killed").mkdir()
    result = launch(store, f"--reports.kill_once={tmp_path / 'killed'}", "--launch.workers=2")
    assert result.returncode == 0, result.stderr
    assert_filled(store)


@pytest.mark.parametrize("way", ["loop", "native"])
def test_a_row_that_hangs_is_given_up(launch, store, way):
    result = launch(store, f"--play.how=2:{way}", "--worker.job_timeout=1", "--launch.retries=1",
                    "--launch.workers=2", **MAINS)  # fmt: skip
    assert_fails(result, 1, "timeout: main ran longer than --worker.job_timeout=1 seconds")
    assert np.flatnonzero(~store.completed).tolist() == [2]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_workers_end_with_their_launcher_and_the_next_goes_on(started, launch, filled, sent):
    store = filled(40)
    process = started(store, "--reports.seconds=0.2", "--launch.workers=2")
    wait_for(lambda: store.completed.sum() > 2)
    process.send_signal(sent)
    _, err = process.communicate(timeout=20)
    expected = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
    assert process.returncode == expected[sent]
    if sent == signal.SIGINT:
        assert "of 40 rows are complete; the same command goes on" in err
        assert f"--launch.logdir={store.path}" in err
    wait_for(lambda: not processes_naming(f"logdir={store.path}"), 10)
    done = store.completed.sum()
    assert done < 40
    result = launch(store, "--launch.workers=2")
    assert result.returncode == 0, result.stderr
    assert_filled(store)


def test_a_second_launcher_is_refused_while_the_first_lives(started, launch, filled):
    store = filled(10)
    process = started(store, "--reports.seconds=1", "--launch.workers=2")
    wait_for((store.layout.launch / "worker-0.err").exists)
    second = launch(store)
    assert_fails(second, 1, f"process {process.pid} on", "is launching")
    process.kill()
    process.communicate()
    result = launch(store, "--launch.workers=2")  # a dead one's lock is void
    assert result.returncode == 0, result.stderr
    assert_filled(store)


def test_the_lock_is_this_stores_own(filled):
    one, other = filled(2), filled(2, "other")
    both = launch_lock(one.layout), launch_lock(other.layout)
    with both[0], both[1], pytest.raises(AlreadyLaunchedError), launch_lock(one.layout):
        pass
    with launch_lock(one.layout):
        pass


def test_workers_share_out_gpus_and_threads(launch, filled):
    store = filled(8)
    env = {"CUDA_VISIBLE_DEVICES": "3,5"}
    result = launch(store, "--reports.seconds=0.3", env=env)
    assert result.returncode == 0, result.stderr
    assert len(set(store["pid"])) == 2
    assert set(store["gpu"]) == {3, 5}
    shared = filled(8, "shared")
    result = launch(shared, "--reports.seconds=0.3", "--launch.workers_per_gpu=2", env=env)
    assert result.returncode == 0, result.stderr
    assert len(set(shared["pid"])) == 4
    assert set(shared["gpu"]) == {3, 5}
    without = filled(8, "without")
    result = launch(without, "--launch.workers=2", env={"OMP_NUM_THREADS": "3"})
    assert result.returncode == 0, result.stderr
    assert set(without["gpu"]) == {-1}
    assert set(without["threads"]) == {3}  # what the user set stays


def test_rows_are_run_in_batches(launch, store, tmp_path):
    told = tmp_path / "told"
    result = launch(store, "--worker.batch=3", "--launch.workers=1", "--batch.bad=5",
                    "--launch.retries=1", env={"TOLD": str(told)},
                    module="tests.training.batches")  # fmt: skip
    assert_fails(result, 1, "row 5 diverged", "6 of 7 rows are complete")
    assert "3 0" in told.read_text()
    assert np.flatnonzero(~store.completed).tolist() == [5]


@pytest.mark.parametrize(
    ("arguments", "status", "needles"),
    [
        (["--launch.engine=slrum"], 2, ["engine=slrum", "local, parallel, slurm"]),
        (["--launch.workers=0"], 2, ["workers=0", "at least 1"]),
        (["--launch.retries=-1"], 2, ["retries=-1"]),
        (["--launch.indices=5-90"], 2, ["row 90 is not in the store"]),
        (["--launch.wrokers=2"], 2, ["did you mean --launch.workers"]),
        (["--launch.banana=2"], 2, ["--launch.banana is no option of this command"]),
        (["--worker.timeout=2"], 2, ["--worker.timeout is no option of this command"]),
        (["--launch.chunk=5"], 2, ["chunk=5", "engine=parallel"]),
        (["--launch.wait=false"], 2, ["wait=false", "slurm"]),
        (["--worker.indices=1"], 2, ["--worker.indices", "--launch.indices"]),
        (["--worker.do_if_complete"], 2, ["--worker.do_if_complete", "leave it out"]),
        (["--worker.batch=2"], 2, ["main_batch"]),
        (["--launch.main_import=no.such"], 2, ["there is no module 'no'"]),
        (["--launch.main_import=json"], 2, ["defines no main"]),
        (["--launch.logdir=nowhere"], 1, ["no store at nowhere"]),
        (["--reports.seconds=soon"], 2, ["--reports.seconds=soon"]),
    ],
)
def test_wrong_calls_are_explained(launch, filled, arguments, status, needles):
    store = filled(6)
    assert_fails(launch(store, *arguments, timeout=60), status, *needles)
    assert not store.completed.any()


def test_a_module_that_raises_at_import_shows_its_traceback(launch, filled, tmp_path):
    (tmp_path / "broken.py").write_text("1 / 0\n")
    store = filled(6)
    result = launch(store, module="broken")
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert "broken.py" in result.stderr


def test_a_module_that_kills_its_process_at_import_is_given_up(launch, filled, tmp_path):
    (tmp_path / "killing.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    result = launch(filled(6), module="killing")
    assert_fails(result, 1, "killed by SIGKILL")


def test_a_place_whose_worker_cannot_begin_is_left_to_the_others(launch, filled, tmp_path):
    (tmp_path / "picky.py").write_text(
        "import os, time\n"
        "if os.environ['CUDA_VISIBLE_DEVICES'] == '0':\n"
        "    time.sleep(0.5)\n"
        "    raise RuntimeError('this GPU is full')\n"
        "from tests.training.launcher.reports import main\n"
    )
    store = filled(30)
    result = launch(store, "--reports.seconds=0.1", module="picky",
                    env={"CUDA_VISIBLE_DEVICES": "0,1"})  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "no worker can begin in place 0; the others go on" in result.stderr
    assert "this GPU is full" in result.stderr
    assert set(store["gpu"]) == {1}
    assert_filled(store)


@pytest.mark.parametrize("engine", ["local", "parallel"])
def test_variables_of_a_worker_do_not_divert_the_launchers(launch, filled, tmp_path, engine):
    store, other = filled(4), filled(4, "other")
    env = {"worker.logdir": str(other.path), "worker.index": "3", "worker.main_import": "json"}
    result = launch(store, "--launch.workers=2", f"--launch.engine={engine}", env=env)
    assert result.returncode == 0, result.stderr
    if engine == "parallel":
        assert "-u worker.logdir" in result.stdout
    else:
        assert_filled(store)
    assert not other.completed.any()


def test_a_file_that_is_meant_for_workers_makes_no_complete_row_run_again(launch, filled, tmp_path):
    (tmp_path / "own.yml").write_text("worker:\n  do_if_complete: true\n")
    store = filled(4)
    store.write(1, {"row": 100, "pid": 0, "gpu": 0, "threads": 0})
    result = launch(store, "-C", "own.yml", "--launch.workers=1")
    assert result.returncode == 0, result.stderr
    assert store["row"].tolist() == [0, 100, 2, 3]


def test_warnings_of_workers_reach_the_user(launch, filled):
    result = launch(filled(4), "--reports.secnds=1", "--launch.workers=2")
    assert result.returncode == 0
    said = "warning: --reports.secnds is unknown, and ignored: did you mean --reports.seconds?"
    assert result.stderr.count(said) == 1


def test_rows_that_come_by_growth_are_filled_too(started, filled):
    store = filled(8)
    process = started(store, "--reports.seconds=0.3", "--launch.workers=2")
    wait_for(lambda: store.completed.sum() > 1)
    grown = grow_store(store.path, 12)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "12 of 12 rows are complete" in out
    assert_filled(grown)


def test_a_module_that_ends_its_process_at_import_is_named(launch, filled, tmp_path):
    (tmp_path / "ending.py").write_text("import os\nos._exit(3)\n")
    result = launch(filled(2), module="ending")
    assert_fails(result, 3, "ended with status 3 while it imported ending")


def test_only_some_of_many_failures_are_named(launch, filled, tmp_path):
    (tmp_path / "failing.py").write_text("def main(*_, index, logdir):\n    raise OSError(index)\n")
    result = launch(filled(30), "--launch.retries=1", module="failing")
    assert result.returncode == 1
    assert result.stderr.count("is set aside:") == 10
    assert "30 rows failed and are set aside" in result.stderr


@pytest.mark.parametrize(
    ("options", "needle"),
    [
        ({"worker": 3}, "did you mean workers?"),
        ({"workers": "two"}, "workers='two' must be a whole number"),
        ({"workers": 1.5}, "workers=1.5"),
        ({"indices": [9]}, "row 9 is not in the store"),
    ],
)
def test_wrong_keywords_of_fill_store_are_explained(filled, options, needle):
    with pytest.raises(UsageError, match=re.escape(needle)):
        fill_store(filled(2).path, "json", **options)


@pytest.mark.parametrize("module", ["__main__", len])
def test_a_main_that_is_in_no_file_is_refused(filled, module):
    with pytest.raises(UsageError, match="put it into a module"):
        fill_store(filled(2).path, module)


def test_what_workers_print_is_kept_but_does_not_fill_the_disk(launch, filled, monkeypatch):
    store = filled(40)
    result = launch(store, "--reports.loud=8000000", "--launch.workers=1", "--reports.seconds=0.1")
    assert result.returncode == 0, result.stderr
    assert "xxx" not in result.stdout
    log = store.layout.worker_log(0, "out")
    assert 10**6 < log.stat().st_blocks * 512 < 200 * 10**6
    assert "bytes were dropped here" in log.read_text()


def test_filling_from_python(filled, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{os.getcwd()}{os.pathsep}{HERE}")  # noqa: PTH109
    store = filled(9)
    result = fill_store(
        store.path, "tests.training.launcher.reports", workers=2, options={"reports.seconds": 0.01},
        indices=range(9),
    )  # fmt: skip
    assert result.is_complete
    assert (result.asked, result.complete, result.set_aside) == (9, 9, ())
    assert_filled(store)


def test_a_launch_without_a_terminal_says_a_line_a_minute(monkeypatch, capsys):
    from datamodels.training.launcher import progress

    monkeypatch.setattr(progress, "_LINE_SECONDS", 0.05)
    with progress.LaunchLine(100, 20) as line:
        line.update(30, 1, 2)
        time.sleep(0.06)
        line.update(40, 1, 2)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "40 of 100 rows done, 1 failed, 2 running" in said[0]
    assert "rows/s" in said[0]
    assert "00:00:00 left" in said[0]
