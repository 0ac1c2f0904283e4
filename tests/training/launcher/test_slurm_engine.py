"""The SLURM engine where the cluster is in trouble: commands that stand for a cluster's."""

import json
import os
import sys
from dataclasses import asdict

import pytest

from datamodels.errors import InputError
from datamodels.training.launcher.slurm_cluster import Cluster, Job, SlurmError
from datamodels.training.launcher.slurm_engine import run_on_slurm
from datamodels.training.launcher.slurm_failures import RowFailures
from datamodels.training.launcher.slurm_journal import SlurmJournal
from datamodels.training.launcher.slurm_options import SlurmOptions
from datamodels.training.spec import Spec
from datamodels.training.store import Store

CONFIG = """Configuration data as of 2024-01-01T00:00:00
MaxArraySize            = {size}
SchedulerParameters     = bf_interval=1{more}
"""


class Said(list):
    def update(self, done, failed, running):
        self.append((done, failed, running))

    def say(self, line):
        self.append(line)


class Stubs:
    """A folder of commands that print what a test wants, and note how they were called."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        for name in ("sbatch", "squeue", "scontrol", "scancel"):
            self.says(name, "")
        self.says("sbatch", "5")
        self.says("scontrol", CONFIG.format(size=1001, more=""))

    def says(self, name, out, err="", status=0):
        path = self.folder / name
        path.write_text(
            f"#!{sys.executable}\nimport sys\n"
            f"open({str(self.folder / 'calls')!r}, 'a').write(repr(sys.argv) + '\\n')\n"
            f"sys.stdout.write({out!r})\nsys.stderr.write({err!r})\nsys.exit({status})\n"
        )
        path.chmod(0o755)

    def calls(self, name):
        lines = (self.folder / "calls").read_text().splitlines()
        return [line for line in lines if line.startswith(f"['{self.folder / name}'")]


@pytest.fixture
def stubs(tmp_path, monkeypatch):
    made = Stubs(tmp_path / "bin")
    monkeypatch.setenv("PATH", str(made.folder))
    return made


@pytest.fixture
def store(tmp_path):
    schema = {"x": {"shape": [], "dtype": "int64"}}
    return Store.create(tmp_path / "store", Spec.parse({"num_models": 6, "schema": schema}))


def submit(store, said=None, **options):
    argv = [sys.executable, "-m", "datamodels.training.worker", f"--worker.logdir={store.path}"]
    asked = SlurmOptions(poll_seconds=0.05, **options)
    progress = Said() if said is None else said
    return run_on_slurm(store, range(6), argv, asked, progress, wait=False)


def test_without_slurm_the_error_says_what_is_missing(store, stubs):
    (stubs.folder / "sbatch").unlink()
    with pytest.raises(SlurmError, match=r"--launch\.engine=slurm needs sbatch on the PATH"):
        submit(store)
    assert list(store.layout.launch.glob("slurm-*")) == []
    assert SlurmJournal(store.layout.launch).submissions == []


@pytest.mark.parametrize(
    ("size", "more", "most"), [(1001, "", 1001), (11, "", 11), (1001, ",max_array_tasks=9", 9)]
)
def test_the_limit_of_an_array_is_the_clusters(stubs, size, more, most):
    stubs.says("scontrol", CONFIG.format(size=size, more=more))
    assert Cluster().most_tasks() == most
    stubs.says("scontrol", "", "Access denied", 1)
    assert Cluster().most_tasks() == 1001


def test_what_is_submitted_is_in_the_journal(store, stubs):
    stubs.says("sbatch", "sbatch: a word of the site\n123;east\n")
    outcome = submit(store, chunk_rows=4)
    assert outcome.running == ("123",)
    (entry,) = SlurmJournal(store.layout.launch).submissions
    assert (entry.job, entry.cluster, entry.chunks, entry.rows) == ("123", "east", 2, 6)
    assert SlurmJournal(store.layout.launch).chunks(entry, 6) == [[0, 1, 2], [3, 4, 5]]
    assert "--array=0-1" in stubs.calls("sbatch")[0]


def test_a_job_that_was_taken_though_sbatch_failed_is_found_by_its_name(store, stubs):
    said = Said()
    stubs.says("sbatch", "", "sbatch: error: Socket timed out on send/recv operation", 1)
    script = (stubs.folder / "squeue").read_text()
    answer = (
        "import re\nname = re.search('datamodels-[0-9a-f]+', repr(sys.argv))\n"
        "sys.stdout.write(f'9|0|PENDING|None|{name[0]}\\n' if name else '')\n"
    )
    (stubs.folder / "squeue").write_text(script.replace("sys.stderr", answer + "sys.stderr"))
    assert submit(store, said).running == ("9",)
    assert any("submitted job 9" in line for line in said if isinstance(line, str))


def test_a_refused_job_leaves_nothing(store, stubs):
    stubs.says("sbatch", "", "sbatch: error: AssocMaxSubmitJobLimit", 1)
    with pytest.raises(SlurmError, match="AssocMaxSubmitJobLimit"):
        submit(store)
    assert list(store.layout.launch.glob("slurm-*")) == []
    assert SlurmJournal(store.layout.launch).submissions == []


def test_a_submission_cut_short_is_found_again_or_forgotten(store, stubs):
    submit(store)
    path = store.layout.launch / "slurm.json"
    (entry,) = SlurmJournal(store.layout.launch).submissions
    unanswered = {"submissions": [{**asdict(entry), "job": None}]}
    path.write_text(json.dumps(unanswered))
    lines = "".join(f"77|{task}|RUNNING|None|{entry.name}\n" for task in range(6))
    stubs.says("squeue", lines)
    assert submit(store).running == ("77",)
    assert len(stubs.calls("sbatch")) == 1
    assert [one.job for one in SlurmJournal(store.layout.launch).submissions] == ["77"]
    path.write_text(json.dumps(unanswered))
    stubs.says("squeue", "")
    assert submit(store).running == ("5",)
    assert len(stubs.calls("sbatch")) == 2


def test_only_rows_that_no_live_task_holds_are_submitted(store, stubs):
    submit(store, chunk_rows=2)
    (entry,) = SlurmJournal(store.layout.launch).submissions
    stubs.says("squeue", f"5|0|FAILED|NonZeroExitCode|{entry.name}\n5|1|RUNNING|None|{entry.name}\n"
                         f"5|2|PENDING|Resources|{entry.name}\n")  # fmt: skip
    stubs.says("sbatch", "6")
    store.write(1, {"x": 1})
    assert submit(store, chunk_rows=1).running == ("5", "6")
    second = SlurmJournal(store.layout.launch).submissions[1]
    assert SlurmJournal(store.layout.launch).chunks(second, 6) == [[0]]


def test_rows_of_tasks_that_are_ending_are_submitted_again(store, stubs):
    submit(store, chunk_rows=3)  # and cancelled by Ctrl-C just before the next call
    (entry,) = SlurmJournal(store.layout.launch).submissions
    stubs.says("squeue", f"5|0|COMPLETING|None|{entry.name}\n5|1|COMPLETING|None|{entry.name}\n")
    stubs.says("sbatch", "6")
    assert submit(store, chunk_rows=6).running == ("6",)
    second = SlurmJournal(store.layout.launch).submissions[1]
    assert SlurmJournal(store.layout.launch).chunks(second, 6) == [[0, 1, 2, 3, 4, 5]]


def test_a_number_that_another_job_has_now_is_not_taken_for_ours(stubs):
    stubs.says("squeue", "5|0|RUNNING|None|theirs|and mine\n5|1|RUNNING|None|mine\nCLUSTER: x\n")
    (task,) = Cluster().tasks([Job("5", "mine")])
    assert task.index == 1


def test_a_queue_that_forgot_a_job_has_no_tasks_of_it_and_one_in_trouble_says_so(stubs):
    stubs.says("squeue", "", "slurm_load_jobs error: Invalid job id specified", 1)
    assert Cluster().tasks([Job("5", "mine")]) == []
    stubs.says("squeue", "", "Unable to contact slurm controller (connect failure)", 1)
    with pytest.raises(SlurmError, match="Unable to contact"):
        Cluster().tasks([Job("5", "mine")])


def test_a_task_that_could_not_be_started_is_released_a_few_times(store, stubs, monkeypatch):
    submit(store)
    (entry,) = SlurmJournal(store.layout.launch).submissions
    stubs.says("squeue", f"5|3|PENDING|launch failed requeued held|{entry.name}\n")

    class Enough(Said):
        def update(self, done, failed, running):
            super().update(done, failed, running)
            if len(self) > 8:
                raise KeyboardInterrupt

    for index in (0, 1, 2, 4, 5):
        store.write(index, {"x": 1})
    said = Enough()
    outcome = run_on_slurm(store, range(6), ["python"], SlurmOptions(poll_seconds=0.01), said)
    released = [call for call in stubs.calls("scontrol") if "'release', '5_3'" in call]
    assert len(released) == 3
    assert "waiting: launch failed requeued held" in said
    assert (outcome.interrupted, outcome.cancelled, outcome.missing) == (True, ("5",), (3,))
    assert "'5'" in stubs.calls("scancel")[0]


def test_an_interrupted_launch_that_cannot_cancel_says_so(store, stubs):
    class Interrupting(Said):
        def say(self, line):
            super().say(line)
            if line.startswith("submitted"):
                stubs.says("squeue", "", "Unable to contact slurm controller", 1)
                raise KeyboardInterrupt

    said = Interrupting()
    outcome = run_on_slurm(store, range(6), ["python"], SlurmOptions(), said)
    assert outcome.running == ("5",)
    assert outcome.cancelled == ()
    assert "could not be cancelled, and go on (Unable to contact" in said[-1]


def test_a_damaged_journal_is_not_taken_for_an_empty_one(store, stubs):
    submit(store)
    (store.layout.launch / "slurm.json").write_text("{")
    with pytest.raises(InputError, match="move it away"):
        submit(store)


def test_each_change_of_an_error_file_is_a_failure(store):
    def fail(index, text="Traceback"):
        store.layout.worker(index).mkdir(parents=True, exist_ok=True)
        store.layout.error(index).write_text(text)
        os.utime(store.layout.error(index), ns=(0, fail.times))
        fail.times += 1

    fail.times = 1
    fail(0)
    failures = RowFailures(store.layout, range(6))
    failures.look(range(6), now=True)
    assert failures.total == 0  # an earlier launch's
    for _ in range(2):
        fail(0)
        fail(1)
        failures.look(range(6), now=True)
        failures.look(range(6), now=True)
    fail(2, "")  # being written
    failures.look(range(6), now=True)
    assert [failures.of(row) for row in range(4)] == [2, 2, 0, 0]
    assert failures.total == 4
