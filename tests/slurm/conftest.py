"""A real SLURM cluster of two nodes on this machine, for the tests of this folder.

Skipped where SLURM is not installed or nobody is root; DATAMODELS_REQUIRE=slurm makes that a
failure. What is installed: slurmctld slurmd slurm-client munge (Debian's names).
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from datamodels.training.launcher.slurm_journal import SlurmJournal
from datamodels.training.spec import Spec
from datamodels.training.store import Store
from tests.conftest import ROOT, unavailable

HERE = Path(__file__).parent
_PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
_NODES = ("n1", "n2")
# After the measured configuration that needs neither systemd, cgroups nor a second machine.
# The first node is filled first, which leaves a test the second for itself.
# cred_expire: a task that starts again waits for so long; ports apart from a cluster's own.
_CONFIG = """
ClusterName=datamodels-tests
SlurmctldHost=localhost
AuthType=auth/munge
AuthInfo=cred_expire=5,socket={base}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort={port}
SlurmctldPidFile={base}/run/slurmctld.pid
SlurmdPidFile={base}/run/slurmd-%n.pid
StateSaveLocation={base}/state
SlurmdSpoolDir={base}/spool-%n
SlurmctldLogFile={base}/slurmctld.log
SlurmdLogFile={base}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_min_interval=0,bf_interval=1,batch_sched_delay=0
MpiDefault=none
ReturnToService=2
KillWait=5
SlurmdTimeout=5
SlurmdParameters=config_overrides
NodeName=DEFAULT CPUs=4 RealMemory=4000 State=UNKNOWN
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={port1} Weight=1
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={port2} Weight=9
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


class TestCluster:
    """munged, slurmctld and two slurmds in a folder of their own, on ports that were free."""

    __test__ = False

    def __init__(self, base: Path) -> None:
        self.base = base
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("run", "state", "munge", *(f"spool-{node}" for node in _NODES)):
            (base / name).mkdir()
        base.chmod(0o755)
        ports = _free_ports(3)
        text = _CONFIG.format(base=base, host=socket.gethostname().split(".")[0],
                              port=ports[0], port1=ports[1], port2=ports[2])  # fmt: skip
        (base / "slurm.conf").write_text(text)
        self.environment = {"SLURM_CONF": str(base / "slurm.conf")}

    def start(self) -> None:
        munge = self.base / "munge"
        (munge / "key").write_bytes(os.urandom(128))
        (munge / "key").chmod(0o400)
        munge.chmod(0o755)
        self._start("munged", "munged", "--foreground", f"--socket={munge}/socket",
                    f"--key-file={munge}/key", f"--pid-file={munge}/pid",
                    f"--seed-file={munge}/seed", f"--log-file={munge}/log", "--force")  # fmt: skip
        wait_until((munge / "socket").exists, "munged listens", 20)
        self.start_controller()
        for node in _NODES:
            self.start_node(node)
        wait_until(lambda: self.idle_nodes() == len(_NODES), "both nodes are idle", 60, self.logs)

    def stop_controller(self) -> None:
        controller = self._running.pop("slurmctld")
        controller.terminate()
        controller.wait(30)

    def start_controller(self) -> None:
        """It finds its state again."""
        self._start("slurmctld", "slurmctld", "-D")
        answers = partial(self.ask, "sinfo", check=False)
        wait_until(lambda: answers().returncode == 0, "slurmctld answers", 30, self.logs)

    def start_node(self, node: str) -> None:
        self._start(node, "slurmd", "-D", "-N", node)

    def kill_node(self, node: str) -> None:
        """End a node's daemon as a crash would; its tasks' processes run on."""
        self._running.pop(node).kill()

    def idle_nodes(self) -> int:
        said = self.ask("sinfo", "-h", "-t", "idle", "-o", "%D", check=False).stdout.strip()
        return int(said) if said.isdecimal() else 0

    def ask(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(words, env={**os.environ, **self.environment}, check=check,
                              capture_output=True, text=True, timeout=60)  # fmt: skip

    def queue(self, job: str) -> list[tuple[int, str]]:
        """Task numbers and states of a job that is still in the queue."""
        said = self.ask("squeue", "-h", "-r", "-j", job, "-o", "%K %T", check=False).stdout
        return [(int(line.split()[0]), line.split()[1]) for line in said.splitlines()]

    def logs(self) -> str:
        """The ends of the daemons' logs, for a failure."""
        paths = [
            *sorted(self.base.glob("*.log")),
            *sorted(self.base.glob("*.said")),
            self.base / "munge" / "log",
        ]
        return "\n".join(f"--- {path}\n{path.read_text()[-3000:]}" for path in paths
                         if path.exists())  # fmt: skip

    def stop(self) -> None:
        """End all jobs, then the daemons, then whatever of a job's processes is left."""
        if "slurmctld" in self._running:
            self.ask("scancel", "--user=root", check=False)
        for name in reversed(self._running):
            self._running[name].terminate()
        for process in self._running.values():
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for process_id in processes_with(f"SLURM_CONF={self.base}/slurm.conf"):
            os.kill(process_id, signal.SIGKILL)

    def _start(self, name: str, *words: str) -> None:
        with (self.base / f"{name}.said").open("ab") as said:
            self._running[name] = subprocess.Popen(
                words, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip


def processes_with(variable: str) -> list[int]:
    """Processes, but for this one, that have ``NAME=value`` in their environment."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if variable.encode() in variables and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found


def wait_until(
    true: Callable[[], object], what: str, seconds: float, why: Callable[[], str] = str
) -> None:
    """Fail where ``true`` is not so within ``seconds``."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"after {seconds} s it is not so that {what}\n{why()}"
        time.sleep(0.1)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _lacking() -> str | None:
    missing = [program for program in _PROGRAMS if shutil.which(program) is None]
    if missing:
        names = "slurmctld slurmd slurm-client munge"
        return f"no {', '.join(missing)}: apt-get install --no-install-recommends {names}"
    if os.geteuid() != 0:
        return "slurmd needs root"
    return None


@pytest.fixture(scope="session")
def cluster() -> Iterator[TestCluster]:
    lacking = _lacking()
    if lacking is not None:
        unavailable("slurm", lacking)
    # Short: the path of a socket has at most 108 characters.
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as base:
        one = TestCluster(Path(base))
        try:
            one.start()
            yield one
        finally:
            one.stop()


class Launch:
    """A launcher in a process of its own, filling a store with rows of ``rows.main``."""

    def __init__(self, folder: Path, num_models: int, cluster: TestCluster) -> None:
        self.folder = folder
        self.cluster = cluster
        # Blanks, quotes and percent signs in all paths.
        self.store = Store.create(folder / 'it\'s 100% "mine"', _spec(num_models))
        self._started: list[subprocess.Popen[bytes]] = []

    def start(
        self, *options: str, wait: bool = True, env: dict[str, str] | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start one; ``options`` are fields of SlurmOptions, as ``name=value``, and ``--a.b=c``."""
        words = [sys.executable, HERE / "launch.py", self.store.path, str(int(wait)), *options]
        path = f"{ROOT}{os.pathsep}{HERE}"
        variables = {**os.environ, **self.cluster.environment, "PYTHONPATH": path, **(env or {})}
        with self._said.open("wb") as said:
            process = subprocess.Popen(
                words, cwd=self.folder, env=variables, stdout=said, stderr=said
            )
        self._started.append(process)
        return process

    @property
    def said(self) -> str:
        """What the last one started has said so far."""
        return self._said.read_text()

    @property
    def _said(self) -> Path:
        return self.folder / "said.txt"

    def finish(
        self, process: "subprocess.Popen[bytes]", status: int = 0, seconds: int = 120
    ) -> str:
        """What it said, having ended with ``status``."""
        try:
            assert process.wait(seconds) == status, self.evidence()
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"still running\n{self.evidence()}") from None
        return self.said

    def run(
        self, *options: str, status: int = 0, wait: bool = True, env: dict[str, str] | None = None
    ) -> str:
        """What a launch said that ended with ``status``."""
        return self.finish(self.start(*options, wait=wait, env=env), status)

    def end(self) -> None:
        """Leave no launcher and no job behind."""
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait()
        for job in self.jobs:
            self.cluster.ask("scancel", job, check=False)

    @property
    def jobs(self) -> list[str]:
        """Numbers of the jobs submitted for this store."""
        return [entry.job for entry in self.journal().submissions if entry.job]

    def journal(self) -> SlurmJournal:
        return SlurmJournal(self.store.layout.launch)

    def begun(self, index: int) -> int:
        """How often the row was begun."""
        return len(list(self.store.layout.worker(index).glob("begun-*")))

    def wait_until_begun(self, *rows: int, times: int = 1, seconds: int = 60) -> None:
        wait_until(
            lambda: all(self.begun(row) >= times for row in rows),
            f"rows {rows} are begun",
            seconds,
            self.evidence,
        )

    def let_go(self) -> None:
        """End the rows that wait (--play.wait=1)."""
        (self.folder / "go").touch()

    def logs(self) -> str:
        """What the tasks printed."""
        paths = sorted(self.store.layout.launch.glob("slurm-*.err"))
        return "".join(f"--- {path.name}\n{path.read_text()}" for path in paths)

    def evidence(self) -> str:
        """All there is to read after a failure."""
        return f"{self.said}\n{self.logs()}\n{self.cluster.logs()}"


def _spec(num_models: int) -> Spec:
    schema = {"values": {"shape": [64], "dtype": "int64"}}
    return Spec.parse({"num_models": num_models, "schema": schema})


@pytest.fixture
def launch(cluster: TestCluster, tmp_path: Path) -> Iterator[Callable[[int], Launch]]:
    made: list[Launch] = []

    def make(num_models: int) -> Launch:
        folder = tmp_path / "a folder"
        folder.mkdir()
        made.append(Launch(folder, num_models, cluster))
        return made[-1]

    yield make
    for one in made:
        one.end()
