import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datamodels.training import supervisor
from datamodels.training.store import Store
from datamodels.training.watchdog import run_watched
from tests.conftest import ROOT, assert_fails
from tests.training.mains import row

HERE = str(Path(__file__).parent)


@pytest.fixture
def work(run, store):
    """``work("--worker.index=0", ...)`` runs the worker on the small store with our ``main``."""

    def run_worker(*arguments, **settings):
        env = {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"} | settings.pop("env", {})
        base = [f"--worker.logdir={store.path}", "--worker.main_import=mains"]
        return run("training.worker", *base, *arguments, env=env, **settings)

    return run_worker


def assert_rows(store, complete, scale=1.0):
    """Just these rows are complete, each with its own content; all others are untouched."""
    assert np.flatnonzero(store.completed).tolist() == sorted(complete)
    for index in range(store.num_models):
        for key, value in row(index, scale).items():
            if index in complete:
                np.testing.assert_array_equal(store[key][index], value)


def test_one_index_fills_one_row(work, store):
    result = work("--worker.index=3")
    assert result.returncode == 0, result.stderr
    assert_rows(store, {3})
    assert (store.path / "workers" / "3").is_dir()
    assert "--worker.index=3" in (store.path / "cmds.txt").read_text()


def test_ranges_are_inclusive(work, store):
    assert work("--worker.indices=0-2,4,6-6").returncode == 0
    assert_rows(store, {0, 1, 2, 4, 6})
    assert len((store.path / "cmds.txt").read_text().splitlines()) == 5


def test_complete_rows_are_skipped_unless_told_otherwise(work, store):
    work("--worker.index=0")
    skipped = work("--worker.indices=0-1", "--play.scale=2")
    assert skipped.returncode == 0
    assert "1 were complete already" in skipped.stdout
    np.testing.assert_array_equal(store["margins"][0], row(0)["margins"])
    assert work("--worker.index=0", "--play.scale=2", "--worker.do_if_complete").returncode == 0
    np.testing.assert_array_equal(store["margins"][0], row(0, 2.0)["margins"])


@pytest.mark.parametrize("watched", [(), ("--worker.job_timeout=60",)])
def test_a_failed_row_stays_incomplete_and_the_rest_goes_on(work, store, watched):
    how = "0:raise,1:exit,2:overflow,3:typo,4:nothing"
    result = work("--worker.indices=0-6", f"--play.how={how}", *watched)
    assert_fails(result, 1, "5 of 7 rows failed", "the training diverged", "70000",
                 "did you mean 'masks'?", "SystemExit, status 0")  # fmt: skip
    assert_rows(store, {5, 6})
    trace = (store.path / "workers" / "0" / "error.txt").read_text()
    assert "RuntimeError: the training diverged" in trace
    assert "mains.py" in trace
    assert "worker_loop.py" not in trace  # the user's frames, not ours
    again = work("--worker.indices=0-6", *watched)
    assert again.returncode == 0
    assert_rows(store, set(range(7)))
    assert not (store.path / "workers" / "0" / "error.txt").exists()


@pytest.mark.parametrize("way", ["loop", "native"])
def test_a_stuck_row_is_given_up_after_the_timeout(work, store, way):
    began = time.monotonic()
    result = work("--worker.indices=0-2", f"--play.how=1:{way}", "--worker.job_timeout=2")
    assert_fails(result, 1, "timeout", "1 of 3 rows failed: 1")
    assert time.monotonic() - began < 30
    assert_rows(store, {0, 2})
    assert "2 seconds" in (store.path / "workers" / "1" / "error.txt").read_text()


@pytest.mark.parametrize(("way", "needle"), [("die", "status 0"), ("segfault", "SIGSEGV")])
def test_a_row_that_kills_its_process_does_not_stop_the_watched_rest(work, store, way, needle):
    result = work("--worker.indices=0-2", f"--play.how=1:{way}", "--worker.job_timeout=60")
    assert_fails(result, 1, needle, "1 of 3 rows failed: 1")
    assert_rows(store, {0, 2})


def test_the_timeout_counts_for_each_row_alone(work, store):
    how = "0:sleep,1:sleep,2:sleep"
    assert (
        work("--worker.indices=0-2", f"--play.how={how}", "--worker.job_timeout=3").returncode == 0
    )
    assert_rows(store, {0, 1, 2})


STARTED = []


def start(store, *arguments):
    process = subprocess.Popen(
        [sys.executable, "-m", "datamodels.training.worker", f"--worker.logdir={store.path}",
         "--worker.main_import=mains", *arguments],
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    STARTED.append(process)
    return process


@pytest.fixture(autouse=True)
def _no_process_is_left():
    yield
    while STARTED:
        process = STARTED.pop()
        process.kill()
        process.communicate()


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def processes_naming(text):
    found = subprocess.run(["pgrep", "-f", text], capture_output=True, text=True).stdout.split()
    return [pid for pid in found if int(pid) != os.getpid()]


@pytest.mark.parametrize("watched", [(), ("--worker.job_timeout=600",)])
@pytest.mark.parametrize("way", ["loop", "native"])
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_the_worker_at_once_and_its_child_with_it(store, watched, way, sent):
    process = start(store, "--worker.indices=0-2", f"--play.how=1:{way}", *watched)
    wait_for(lambda: store.completed[0] and (store.path / "workers" / "1").exists())
    process.send_signal(sent)
    assert process.wait(10) != 0
    wait_for(lambda: not processes_naming(f"logdir={store.path}"), 10)
    assert_rows(store, {0})


def test_absent_keys_warn_once_and_keep_what_is_there(work, store):
    work("--worker.index=0", "--play.scale=2")
    result = work("--worker.indices=0-1", "--play.how=0:absent,1:absent", "--worker.do_if_complete")
    assert result.returncode == 0
    assert result.stderr.count("returned no epochs, margins") == 1
    np.testing.assert_array_equal(store["margins"][0], row(0, 2.0)["margins"])


@pytest.mark.parametrize(
    ("arguments", "status", "needles"),
    [
        ([], 2, ["which rows?"]),
        (["--worker.index=0", "--worker.indices=0"], 2, ["not both"]),
        (["--worker.index=7"], 2, ["rows 0 to 6"]),
        (["--worker.index", "-1"], 2, ["rows 0 to 6"]),
        (["--worker.index=x"], 2, ["--worker.index=x is not an integer"]),
        (["--worker.indices=3-1"], 2, ["backwards"]),
        (["--worker.indices=a"], 2, ["no row or range"]),
        (["--worker.index=0", "--worker.logdr=x"], 2, ["did you mean --worker.logdir?"]),
        (["--worker.index=0", "--worker.job_timeout=0"], 2, ["at least 1 second"]),
        (["--worker.index=0", "--worker.main_import=nowhere.at_all"], 2, ["no module"]),
        (["--worker.index=0", "--worker.main_import=json"], 2, ["defines no main"]),
        (["--worker.index=0", "--worker.logdir=nowhere"], 1, ["initialize_store"]),
        (["--worker.index=0", "-C", "nowhere.yaml"], 2, ["no configuration file"]),
    ],
)
def test_wrong_calls_are_explained(work, store, arguments, status, needles):
    assert_fails(work(*arguments), status, *needles)
    assert not store.completed.any()


@pytest.mark.parametrize("watched", [[], ["--worker.job_timeout=60"]])
def test_a_module_that_fails_to_import_shows_the_users_traceback(work, store, tmp_path, watched):
    (tmp_path / "broken.py").write_text("import json\n1 / 0\n")
    result = work("--worker.indices=0-1", "--worker.main_import=broken", *watched)
    assert result.returncode == 1
    assert "importing broken failed" in result.stderr
    assert 'broken.py", line 2' in result.stderr
    assert "worker_loop.py" not in result.stderr


def test_a_misspelled_option_of_the_users_module_warns(work, store):
    result = work("--worker.index=0", "--play.scal=2", "--other.thing=3", "--verbose")
    assert result.returncode == 0
    assert "did you mean --play.scale?" in result.stderr
    assert "other.thing" not in result.stderr
    assert "verbose" not in result.stderr


def test_options_come_from_file_command_line_and_environment_in_that_order(work, store, tmp_path):
    for number, scale in enumerate([2, 3]):
        (tmp_path / f"{number}.yaml").write_text(f"play: {{scale: {scale}, loud: 'False'}}\n")
    files = ["-C", "0.yaml", "--config-file=1.yaml"]
    work("--worker.index=0", *files)
    np.testing.assert_array_equal(store["margins"][0], row(0, 3.0)["margins"])
    result = work("--worker.index", "1", *files, "--play.scale", "4", "--play.loud=False")
    np.testing.assert_array_equal(store["margins"][1], row(1, 4.0)["margins"])
    assert "loud" not in result.stdout
    work("--worker.index=6", *files, "--play.scale=4",
         env={"play.scale": "5", "worker.index": "2"})  # fmt: skip
    np.testing.assert_array_equal(store["margins"][2], row(2, 5.0)["margins"])
    assert not store.completed[6]


def test_modules_that_parse_argv_themselves_work(run, store, tmp_path):
    (tmp_path / "own.py").write_text(
        """
import argparse
from fastargs import Param, Section, get_current_config
Section("mine").params(epochs=Param(int, required=True), quick=Param(bool, is_flag=True))

def main(*_, index, logdir):
    config = get_current_config()
    parser = argparse.ArgumentParser()
    config.augment_argparse(parser)
    config.collect_argparse_args(parser)
    config.validate(mode="stderr")
    assert config["worker.index"] == index
    args = config.get()
    assert args.mine.quick is True
    return {"masks": 0, "margins": 0, "epochs": args.mine.epochs}
"""
    )
    arguments = ["--worker.index=4", f"--worker.logdir={store.path}", "--worker.main_import=own"]
    result = run("training.worker", *arguments, "--mine.epochs=12", "--mine.quick", "--verbose")
    assert result.returncode == 0, result.stderr
    assert store["epochs"][4] == 12
    missing = run("training.worker", "--worker.index=5", *arguments[1:], "--mine.quick")
    assert_fails(missing, 1, "mine.epochs", "Required!")
    assert "\x1b" not in missing.stderr


def test_help_lists_every_option_as_plain_text(run):
    for name in ("training.worker", "worker"):
        result = run(name, "--help")
        assert result.returncode == 0
        assert re.search(r"worker\.do_if_complete\b.*False", result.stdout)
        assert "\x1b" not in result.stdout
        assert "RuntimeWarning" not in result.stderr


def test_help_shows_the_options_of_the_users_module_too(work):
    result = work("--help")
    assert result.returncode == 0, result.stderr
    assert "play.scale" in result.stdout
    assert "factor" in result.stdout


def test_kv_log_and_kv_read(run, store, tmp_path):
    (tmp_path / "logs.py").write_text(
        """
from datamodels.training.worker import kv_log, kv_read

def main(*_, index, logdir):
    kv_log("epochs", 10 + index)
    assert kv_read("epochs") == 10 + index
    return {"masks": 0, "margins": 0}
"""
    )
    options = [f"--worker.logdir={store.path}", "--worker.main_import=logs"]
    assert run("training.worker", "--worker.index=4", *options).returncode == 0
    assert run("training.worker", "--worker.indices=0-1", *options).returncode == 0
    assert Store.open(store.path)["epochs"].tolist() == [10, 11, 0, 0, 14, 0, 0]


ODD = """
import os
class Odd(Exception):
    def __str__(self):
        raise RuntimeError("no message")

def main(*_, index, logdir):
    os.chdir("/")
    if index == 1:
        raise RuntimeError("surrogate \\udcff and \\u2603")
    if index == 2:
        raise Odd
    return {"masks": 0, "margins": 0, "epochs": 1}
"""


@pytest.mark.parametrize("watched", [[], ["--worker.job_timeout=60"]])
def test_odd_failures_and_a_changed_folder_end_no_other_row(run, store, tmp_path, watched):
    (tmp_path / "odd.py").write_text(ODD)
    result = run("training.worker", "--worker.indices=0-3", "--worker.logdir=store",
                 "--worker.main_import=odd", *watched, env={"LC_ALL": "C"})  # fmt: skip
    assert_fails(result, 1, "2 of 4 rows failed: 1, 2")
    assert np.flatnonzero(store.completed).tolist() == [0, 3]
    assert "surrogate" in (store.path / "workers" / "1" / "error.txt").read_text()


def test_a_hanging_import_is_given_up(store, tmp_path, monkeypatch):
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(supervisor, "_LEAST_IMPORT_SECONDS", 2.0)
    monkeypatch.setattr(sys, "argv", ["", f"--worker.logdir={store.path}", "--worker.index=0",
                                      "--worker.main_import=hanging"])  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    began = time.monotonic()
    with pytest.raises(supervisor.ImportEndedError, match="longer than 2 seconds"):
        run_watched(store, [[0]], [], limit=1, batch=1, rewrite=False)
    assert time.monotonic() - began < 20


def test_an_import_that_kills_its_process_is_reported(run, store, tmp_path):
    (tmp_path / "crashing.py").write_text("import ctypes\nctypes.string_at(0)\n")
    result = run("training.worker", "--worker.indices=0-3", f"--worker.logdir={store.path}",
                 "--worker.main_import=crashing", "--worker.job_timeout=60")  # fmt: skip
    assert_fails(result, 1, "killed by SIGSEGV")


def test_a_row_written_by_a_child_that_ends_before_it_says_so_counts(run, store, tmp_path):
    (tmp_path / "last.py").write_text("""
import os
from datamodels.training import supervisor
from datamodels.training.store import Store
from datamodels.training.watchdog import run_watched
write = Store.write
def write_and_die(self, *args, **options):
    write(self, *args, **options)
    os._exit(0)
Store.write = write_and_die
def main(*_, index, logdir):
    return {"masks": 0, "margins": 0, "epochs": 1}
""")
    result = run("training.worker", "--worker.indices=0-1", f"--worker.logdir={store.path}",
                 "--worker.main_import=last", "--worker.job_timeout=60")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "2 of 2 rows written" in result.stdout


def test_an_undeclared_option_is_not_taken_for_an_abbreviation(run, store, tmp_path):
    (tmp_path / "own.py").write_text("""
import argparse
from fastargs import Param, Section, get_current_config
Section("training").params(lr=Param(float, default=1.0), lr_tta=Param(bool, default=False))

def main(*_, index, logdir):
    config = get_current_config()
    parser = argparse.ArgumentParser()
    config.augment_argparse(parser)
    config.collect_argparse_args(parser)
    assert config["training.lr_tta"] is False
    return {"masks": 0, "margins": 0, "epochs": 1}
""")
    result = run("training.worker", "--worker.index=0", f"--worker.logdir={store.path}",
                 "--worker.main_import=own", "--config=foo", "--training.l=3",
                 "--training.lr_t=yes")  # fmt: skip
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("option", ["--paly.scale=2", "--play.scael=2", "--scale=2"])
def test_misspelled_options_and_sections_of_the_users_warn(work, option):
    result = work("--worker.index=0", option)
    assert result.returncode == 0
    assert "did you mean --play.scale?" in result.stderr


def test_stray_words_are_spoken_of(work, store):
    result = work("--worker.indices", "0-1", "2-3")
    assert "'2-3' is no option" in result.stderr
    assert work("--worker.indices=0 1").returncode == 2


def test_a_single_row_in_yaml_is_a_row(run, store, tmp_path):
    (tmp_path / "w.yml").write_text(
        f"worker: {{logdir: '{store.path}', main_import: mains, indices: 4}}\n"
    )
    env = {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    result = run("training.worker", "-C", "w.yml", env=env)
    assert result.returncode == 0, result.stderr
    assert_rows(store, {4})


@pytest.mark.parametrize(
    ("option", "needle"),
    [
        ("--worker.main_import=", "--worker.main_import= is not a string"),
        ("--worker.main_import=./mains", "write it as in an import statement, e.g. mains"),
        ("--worker.main_import=sub/mains.py", "e.g. sub.mains"),
        ("--worker.logdir=", "--worker.logdir= is not a path"),
        ("--worker", "worker is a section"),
    ],
)
def test_empty_and_odd_values_are_explained(work, store, option, needle):
    assert_fails(work("--worker.index=0", option), 2, needle)


def test_a_wrong_value_for_the_users_option_is_refused_before_any_row(work, store):
    result = work("--worker.indices=0-3", "--play.scale=much", "--play.loud=perhaps")
    assert_fails(result, 2, "play.loud=perhaps")
    result = work("--worker.indices=0-3", "--play.scale=much")
    assert_fails(result, 2, "--play.scale=much is not a float: factor")
    assert not (store.path / "workers").exists()


@pytest.mark.parametrize("way", ["loop", "die"])
def test_a_row_run_anew_that_fails_is_failed_though_it_was_complete(work, store, way):
    assert work("--worker.index=2").returncode == 0
    result = work("--worker.index=2", "--worker.do_if_complete", "--worker.job_timeout=2",
                  f"--play.how=2:{way}")  # fmt: skip
    assert_fails(result, 1, "1 of 1 rows failed")


FORKS = """
import os, sys

def main(*_, index, logdir):
    child = os.fork()
    if child == 0:
        if index == 0:
            raise RuntimeError("in the child")
        if index == 1:
            sys.exit(3)
        if index == 3:
            sys.exit()
        return {"masks": 1, "margins": 99, "epochs": 99}
    status = os.waitpid(child, 0)[1]
    return {"masks": 0, "margins": 0, "epochs": os.waitstatus_to_exitcode(status)}
"""


@pytest.mark.parametrize("watched", [[], ["--worker.job_timeout=60"]])
def test_a_process_that_main_forks_writes_no_rows(run, store, tmp_path, watched):
    (tmp_path / "forks.py").write_text(FORKS)
    result = run("training.worker", "--worker.indices=0-3", f"--worker.logdir={store.path}",
                 "--worker.main_import=forks", *watched)  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("4 of 4 rows written") == 1
    assert store["epochs"][:4].tolist() == [1, 3, 0, 0]
    assert not store["margins"][:4].any()


def test_main_may_change_the_folder(run, store, tmp_path):
    (tmp_path / "moves.py").write_text("""
import os
from pathlib import Path
from datamodels.training.utils import make_config
from datamodels.training.worker import kv_log

def main(*_, index, logdir):
    make_config(quiet=True)
    os.chdir(logdir)
    Path("here").write_text(str(index))
    kv_log("epochs", index)
    return {"masks": 0, "margins": 0}
""")
    (tmp_path / "w.yml").write_text("worker: {logdir: store, main_import: moves}\n")
    result = run("training.worker", "-C", "w.yml", "--worker.indices=0-2")
    assert result.returncode == 0, result.stderr
    assert store["epochs"][:3].tolist() == [0, 1, 2]
    assert (store.path / "workers" / "2" / "here").read_text() == "2"


@pytest.mark.parametrize("stream", ["None", "Tee()"])
def test_a_replaced_standard_error_ends_no_other_row(run, store, tmp_path, stream):
    (tmp_path / "tee.py").write_text(f"""
import sys
class Tee:
    def write(self, text): pass
    def flush(self): pass
sys.stderr = {stream}
def main(*_, index, logdir):
    if index == 1:
        raise ValueError("no")
    return {{"masks": 0, "margins": 0, "epochs": 1}}
""")
    result = run("training.worker", "--worker.indices=0-2", f"--worker.logdir={store.path}",
                 "--worker.main_import=tee")  # fmt: skip
    assert result.returncode == 1
    assert store["epochs"][:3].tolist() == [1, 0, 1]


@pytest.mark.parametrize("action", ["ignore", "error"])
def test_the_users_warning_filters_do_not_rule_our_lines(run, store, tmp_path, action):
    (tmp_path / "filters.py").write_text(f"""
import warnings
from fastargs import Param, Section
warnings.filterwarnings({action!r})
Section("toy").params(scale=Param(float, default=1.0))
def main(*_, index, logdir):
    return {{"masks": 0}}
""")
    result = run("training.worker", "--worker.index=0", f"--worker.logdir={store.path}",
                 "--worker.main_import=filters", "--toy.scael=2")  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "did you mean --toy.scale?" in result.stderr
    assert "returned no epochs, margins" in result.stderr


@pytest.mark.parametrize("watched", [[], ["--worker.job_timeout=60"]])
def test_a_misspelled_section_of_ours_is_an_error(work, store, watched):
    result = work("--worker.index=0", "--wroker.do_if_complete", *watched)
    assert_fails(result, 2, "did you mean --worker.do_if_complete?")
    assert not store.completed.any()


def test_a_misspelled_section_in_a_file_explains_what_is_missing(run, store, tmp_path):
    (tmp_path / "w.yml").write_text(f"wrker: {{logdir: '{store.path}', main_import: mains}}\n")
    result = run("training.worker", "-C", "w.yml", "--worker.index=0")
    assert_fails(result, 2, "--worker.logdir is required", "did you mean --worker.logdir?")


def test_a_missing_option_of_the_users_is_named_for_every_row_and_shown_once(run, store, tmp_path):
    (tmp_path / "needy.py").write_text("""
from fastargs import Param, Section
from datamodels.training.utils import make_config
Section("toy").params(scale=Param(float, required=True))

def main(*_, index, logdir):
    make_config(quiet=True)
""")
    result = run("training.worker", "--worker.indices=0-3", f"--worker.logdir={store.path}",
                 "--worker.main_import=needy")  # fmt: skip
    assert_fails(result, 1, "4 of 4 rows failed")
    assert result.stderr.count("Argument validation errors") == 1
    assert result.stderr.count("toy.scale: Required!") == 4


def test_a_line_of_the_log_runs_its_row_again(run, store, tmp_path):
    (tmp_path / "all.yml").write_text(
        f"worker: {{logdir: '{store.path}', main_import: mains, indices: 0-2}}\n"
    )
    env = {"PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    assert run("training.worker", "-C", "all.yml", env=env).returncode == 0
    line = (store.path / "cmds.txt").read_text().splitlines()[1]
    module, *options = shlex.split(line)[2:]
    again = run(module.removeprefix("datamodels."), *options, "--worker.do_if_complete", env=env)
    assert again.returncode == 0, again.stderr
    assert "1 of 1 rows written" in again.stdout
