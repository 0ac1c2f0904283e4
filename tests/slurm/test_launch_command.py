"""``datamodels.training.launch`` with SLURM, as its users run it."""

import os
import signal
import subprocess
import sys

from tests.conftest import ROOT
from tests.slurm.conftest import HERE
from tests.slurm.test_slurm_cluster import assert_filled
from tests.training.test_worker import wait_for


def command(one, *options):
    path = f"{ROOT}{os.pathsep}{HERE}"
    return subprocess.Popen(
        [sys.executable, "-m", "datamodels.training.launch", "--launch.engine=slurm",
         f"--launch.logdir={one.store.path}", "--launch.main_import=rows",
         "--launch.poll_seconds=0.5", *options],
        cwd=one.folder, env={**os.environ, **one.cluster.environment, "PYTHONPATH": path},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_the_command_fills_a_store(launch):
    one = launch(12)
    process = command(one, "--launch.workers=2", "--launch.chunk=3", "--launch.partition=debug",
                      '--launch.sbatch=--nice=10 --comment="two words"', "--play.fail=5",
                      "--launch.retries=2")  # fmt: skip
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "11 of 12 rows are complete" in out
    assert "row 5: RuntimeError: the training diverged" in err
    assert_filled(one, but=[5])
    process = command(one)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert_filled(one)


def test_a_launch_that_does_not_wait_is_followed_by_the_next(launch):
    one = launch(6)
    process = command(one, "--launch.wait=false", "--play.wait=2")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert f"submitted: job {one.jobs[0]}" in out
    follower = command(one, "--play.wait=2")
    one.wait_until_begun(2)
    refused = command(one)
    assert refused.wait(60) == 1
    assert f"process {follower.pid} on" in refused.communicate()[1]
    one.let_go()
    out, err = follower.communicate(timeout=120)
    assert follower.returncode == 0, err
    assert len(one.jobs) == 1
    assert_filled(one)


def test_ctrl_c_cancels_the_jobs_and_says_how_to_go_on(launch):
    one = launch(6)
    process = command(one, "--play.wait=1", "--launch.chunk=6")
    one.wait_until_begun(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "1 of 6 rows are complete; the same command goes on" in err
    wait_for(lambda: one.jobs[0] not in one.cluster.ask("squeue", "-h", "-o", "%A").stdout)
    one.let_go()
    again = command(one)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert_filled(one)
