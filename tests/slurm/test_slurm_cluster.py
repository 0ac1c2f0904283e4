"""The SLURM engine on a real cluster."""

import json
import os
import signal
import time

import numpy as np
import pytest

from tests.slurm.conftest import Launch, wait_until
from tests.slurm.rows import row


def assert_filled(launch, but=()):
    store = launch.store
    assert store.missing().tolist() == list(but), launch.logs()
    for index in np.flatnonzero(store.completed):
        np.testing.assert_array_equal(store["values"][index], row(index))


def outcome_of(said):
    """The outcome that a launch printed last."""
    return json.loads(said.splitlines()[-1])


@pytest.fixture(scope="module", autouse=True)
def wall_time(cluster, tmp_path_factory):
    """A task whose rows take longer than its minute: (launch, process), begun before all else, on
    the node that no test kills."""
    launch = Launch(tmp_path_factory.mktemp("wall"), 5, cluster)
    process = launch.start("chunk_rows=5", "time=1", "signal_seconds=20", "sbatch=--nodelist=n2",
                           "--play.seconds=13")  # fmt: skip
    yield launch, process
    launch.end()


def test_an_array_fills_the_store(launch):
    one = launch(40)
    there = 'it\'s "here" 100% $HOME'
    said = one.run("max_tasks=2", f"--play.said={there}")
    assert_filled(one)
    assert outcome_of(said)["complete"] == 40
    assert "40 rows in 8 tasks" in said
    assert (one.folder / there).read_text() == f"{one.folder}\n"


def test_variables_of_the_users_reach_main_and_those_of_the_worker_do_not_divert_it(launch):
    one = launch(4)
    odd = {"worker.index": "3", "worker.indices": "2", "worker.logdir": "/nowhere",
           "play.said": "said by a variable", "SQUEUE_STATES": "FAILED", "SQUEUE_FORMAT": "%i",
           "SBATCH_WAIT": "1", "SBATCH_PARTITION": "nowhere", "SBATCH_EXPORT": "NONE",
           "SBATCH_ARRAY_INX": "0-1", "SLURM_RESTART_COUNT": "9"}  # fmt: skip
    one.run("chunk_rows=2", "partition=debug", env=odd)
    assert_filled(one)
    assert (one.folder / "said by a variable").exists()
    assert len(one.jobs) == 1


def test_arrays_stay_within_the_clusters_limit_and_cancelled_ones_are_submitted_anew(
    launch, cluster
):
    one = launch(1100)
    one.run("chunk_rows=1", "sbatch=--hold", wait=False)
    assert len(cluster.queue(one.jobs[0])) == 1001  # MaxArraySize's default
    again = outcome_of(one.run("chunk_rows=1", wait=False))
    assert again["running"] == one.jobs
    assert len(one.jobs) == 1  # what a job holds is not submitted twice
    cluster.ask("scancel", one.jobs[0])
    said = one.run("chunk_rows=275")
    assert "1100 rows in 4 tasks" in said
    assert_filled(one)


def test_rows_of_a_killed_worker_come_back(launch):
    one = launch(9)
    said = one.run("chunk_rows=3", "--play.die=4")
    assert_filled(one)
    assert "2 rows are missing: submitting them again" in said
    assert one.begun(3) == 1
    assert one.begun(4) == 2


def test_resubmissions_have_a_limit(launch):
    one = launch(3)
    said = one.run("chunk_rows=3", "resubmissions=0", "--play.die=1")
    assert outcome_of(said)["missing"] == [1, 2]
    assert "2 rows are missing: 0 resubmissions are the limit" in said
    assert "Killed" in said  # the end of the log
    assert_filled(one, but=[1, 2])


def test_a_launch_says_what_its_jobs_wait_for(launch, cluster):
    one = launch(2)
    process = one.start("sbatch=--hold")
    wait_until(lambda: "waiting: JobHeldUser" in one.said, "it says so", 30, one.evidence)
    cluster.ask("scontrol", "release", one.jobs[0])
    one.finish(process)
    assert_filled(one)


def test_a_row_that_fails_again_and_again_is_set_aside(launch):
    one = launch(4)
    said = one.run("chunk_rows=4", "retries=2", "--play.fail=1")
    assert_filled(one, but=[1])
    assert outcome_of(said)["set_aside"] == [1]
    assert one.begun(1) == 2
    assert "3 done, 1 failed" in said
    assert outcome_of(one.run("retries=1", "--play.fail=-1"))["missing"] == []


def test_workers_that_cannot_start_end_the_launch_with_their_words(launch):
    one = launch(2)
    said = one.run("chunk_rows=2", "--worker.job_timeout=0")
    assert outcome_of(said)["missing"] == [0, 1]
    assert "ended before any row did" in said
    assert "--worker.job_timeout=0 must be at least 1" in said
    assert len(one.jobs) == 2


def test_a_node_that_is_lost_runs_its_rows_twice_and_they_are_the_same(launch, cluster):
    one = launch(2)
    process = one.start("chunk_rows=1", "--play.wait=0")
    one.wait_until_begun(0, 1)
    try:
        cluster.kill_node("n1")
        one.wait_until_begun(0, 1, times=2, seconds=90)
    finally:
        cluster.start_node("n1")
        one.let_go()
    one.finish(process)
    assert_filled(one)
    assert len(one.jobs) == 1  # the cluster itself started them again
    wait_until(lambda: not cluster.queue(one.jobs[0]), "both runs have ended", 60, cluster.logs)
    assert_filled(one)


def test_scancel_leaves_a_consistent_store_and_the_next_call_goes_on(launch, cluster):
    one = launch(6)
    process = one.start("chunk_rows=3", "--play.wait=2")
    one.wait_until_begun(2, 3)
    cluster.ask("scancel", one.jobs[0])
    said = one.finish(process)
    assert "was cancelled" in said
    assert outcome_of(said)["missing"] == [2, 3, 4, 5]
    assert_filled(one, but=[2, 3, 4, 5])
    one.run()
    assert_filled(one)
    assert [one.begun(index) for index in range(6)] == [1, 1, 2, 2, 1, 1]


@pytest.mark.parametrize("way", ["wait=false", "SIGTERM", "SIGHUP"])
def test_jobs_outlive_their_launcher_and_a_later_call_follows_them(launch, way):
    one = launch(4)
    options = ("chunk_rows=2", "--play.wait=0")
    if way == "wait=false":
        assert outcome_of(one.run(*options, wait=False))["running"] == one.jobs
        one.wait_until_begun(0)
    else:
        process = one.start(*options)
        one.wait_until_begun(0)
        process.send_signal(getattr(signal, way))
        assert process.wait(10) != 0
    process = one.start(*options)
    wait_until(lambda: "following job" in one.said, "it follows", 30, one.evidence)
    one.let_go()
    assert f"following job {one.jobs[0]}" in one.finish(process)
    assert_filled(one)
    assert len(one.jobs) == 1
    assert [one.begun(index) for index in range(4)] == [1, 1, 1, 1]


def test_interrupting_the_launcher_cancels_its_jobs_and_says_how_to_go_on(launch, cluster):
    one = launch(4)
    process = one.start("chunk_rows=2", "--play.wait=1")
    one.wait_until_begun(1)
    process.send_signal(signal.SIGINT)
    said = one.finish(process)
    assert outcome_of(said)["cancelled"] == one.jobs
    assert outcome_of(said)["running"] == []
    assert f"cancelled job {one.jobs[0]}" in said
    assert "the same command goes on" in said
    wait_until(lambda: not cluster.queue(one.jobs[0]), "the queue is empty", 30)
    one.run()
    assert_filled(one)


SLOW_SBATCH = """#!/bin/bash
PATH=${PATH#*:}
sbatch "$@"
until [ -e answer ]; do sleep 0.1; done
"""


def test_a_job_that_is_interrupted_while_it_is_submitted_is_cancelled(launch, cluster):
    one = launch(2)
    slow = one.folder / "sbatch"
    slow.write_text(SLOW_SBATCH)
    slow.chmod(0o755)
    process = one.start("--play.wait=0", env={"PATH": f"{one.folder}:{os.environ['PATH']}"})
    one.wait_until_begun(0)
    assert not one.jobs  # sbatch has not answered
    process.send_signal(signal.SIGINT)
    (one.folder / "answer").touch()
    said = one.finish(process)
    (job,) = outcome_of(said)["cancelled"]
    wait_until(lambda: not cluster.queue(job), "the queue is empty", 30)
    assert not one.store.completed.any()


def test_a_launch_outlasts_the_controllers_absence(launch, cluster):
    one = launch(2)
    process = one.start("chunk_rows=1", "--play.wait=0")
    one.wait_until_begun(0)
    cluster.stop_controller()
    try:
        wait_until(lambda: "trying again" in one.said, "it notices", 60, one.evidence)
    finally:
        cluster.start_controller()
    one.let_go()
    one.finish(process)
    assert_filled(one)
    assert len(one.jobs) == 1


def test_a_task_asks_to_start_again_until_the_controller_is_back(launch, cluster):
    one = launch(2)
    process = one.start("chunk_rows=2", "--play.wait=0")
    one.wait_until_begun(0)
    # As at the end of its wall time.
    cluster.ask("scancel", "--batch", "--signal=USR1", f"{one.jobs[0]}_0")
    time.sleep(1)
    cluster.stop_controller()
    try:
        one.let_go()
        asked = "starting again"
        wait_until(lambda: asked in one.logs(), "the row ends", 30, one.evidence)
        wait_until(lambda: not one.logs().endswith(f"{asked}\n"), "it is refused", 60, one.evidence)
    finally:
        cluster.start_controller()
    one.finish(process)
    assert_filled(one)
    assert len(one.jobs) == 1, one.evidence()
    assert [one.begun(index) for index in range(2)] == [1, 1]


def test_a_refused_job_is_told_in_the_clusters_words_and_leaves_nothing(launch):
    one = launch(4)
    said = one.run("partition=nowhere", status=1)
    assert "invalid partition specified: nowhere" in said
    assert list(one.store.layout.launch.glob("*.todo")) == []
    assert list(one.store.layout.launch.glob("*.sh")) == []
    assert one.journal().submissions == []


def test_the_script_can_be_submitted_by_hand(launch, cluster):
    one = launch(4)
    one.run("chunk_rows=2", "sbatch=--hold", wait=False)
    cluster.ask("scancel", one.jobs[0])
    script = one.journal().files(one.journal().submissions[0]).script
    text = script.read_text().replace("#SBATCH --hold\n", "")
    script.write_text(text)
    cluster.ask("sbatch", str(script))
    wait_until(lambda: not one.store.missing().size, "the store is filled", 60, one.logs)
    assert_filled(one)
    assert list(one.store.layout.launch.glob("slurm-*_1.err"))


def test_a_task_goes_on_in_a_new_run_when_its_wall_time_ends(wall_time):
    one, process = wall_time
    one.finish(process, seconds=200)
    assert_filled(one)
    assert len(one.jobs) == 1, one.evidence()  # it was started again, not submitted again
    assert "rows are left at the wall time: starting again" in one.logs()
    # The row under way at the signal was finished in time, or else abandoned and run again.
    assert sum(one.begun(index) for index in range(5)) <= 6
