"""Where everything in a store lies. Every file name of a store is written here and nowhere else."""

import re
from dataclasses import dataclass
from pathlib import Path

from datamodels.errors import ReadOnlyError
from datamodels.near_miss import nearest
from datamodels.npy_file import GROWING_NOTE
from datamodels.read_only import NOTE, ReadOnly, read_note
from datamodels.training.spec import COMPLETED

_NEAR = 3  # stores that a message names


@dataclass(frozen=True)
class StoreLayout:
    """The files of the store in folder ``root``."""

    root: Path

    def array(self, key: str) -> Path:
        """The array of one key, shape (num_models, *shape)."""
        return self.root / f"{key}.npy"

    def arrays_like(self, key: str) -> str:
        """What the store holds where there is no array ``key``, for a message."""
        there = sorted(f.stem for f in self.root.glob("*.npy") if not f.name.startswith("_"))
        close = nearest(key, there)
        return f"did you mean {close!r}?" if close else f"it holds {', '.join(there) or 'none'}"

    def why_missing(self, key: str) -> str:
        """What is the matter where there is no array ``key``, and the remedy."""
        path = self.array(key)
        if path.is_symlink():
            remedy = self._how_to_repair()
            return f"{path} is a link to {path.readlink()}, which is not there: {remedy}"
        near = [] if key != COMPLETED or self.spec.exists() else self.stores_near()
        if near:
            others = " or ".join(map(str, near))
            return f"{self.root} is no store (no {self.completed.name}): did you mean {others}?"
        if key == COMPLETED:
            return (
                f"{self.root} is no store, or not all of one: it holds no array {key!r}. Name a "
                "folder that python -m datamodels.training.initialize_store made, or a view of "
                "published files"
            )
        return f"{self.root} holds no array {key!r}: {self.arrays_like(key)}"

    def _how_to_repair(self) -> str:
        """How a link that leads nowhere is mended, as a request; the note of a view says it."""
        reason = self.read_only_reason()
        if reason is None or reason.repair is None:
            return "bring back what it leads to, or make the link anew"
        return reason.repair.replace("{folder}", str(self.root))

    def stores_near(self) -> list[Path]:
        """A few stores one or two folders below this folder, or beside it."""
        name = self.completed.name
        found = [
            *sorted(self.root.glob(f"*/{name}")),
            *sorted(self.root.glob(f"*/*/{name}")),
            *sorted(self.root.parent.glob(f"*/{name}")),
        ]
        return [path.parent for path in found[:_NEAR]]

    @property
    def completed(self) -> Path:
        """The flags of complete rows, bool (num_models,)."""
        return self.array(COMPLETED)

    @property
    def spec(self) -> Path:
        """The store's own copy of its spec; users keep a ``spec.json`` of theirs beside it."""
        return self.root / "_spec.json"

    @property
    def initializing(self) -> Path:
        """Names the files being made, while a store is initialized; locked by its maker."""
        return self.root / "_initializing.json"

    @property
    def growing(self) -> Path:
        """Says from and to how many rows the arrays are being made longer; locked by the grower."""
        return self.root / GROWING_NOTE

    @property
    def next_spec(self) -> Path:
        """The spec of the longer arrays, until it takes the place of :attr:`spec`."""
        return self.root / "_spec.growing.json"

    @property
    def read_only(self) -> Path:
        """Where this note stands the store is only to be read: its arrays are somebody else's."""
        return self.root / NOTE

    def read_only_reason(self) -> ReadOnly | None:
        """What the note says; None where the store may be written."""
        return read_note(self.root)

    def refuse_writing(self) -> None:
        """ReadOnlyError where the store is only to be read."""
        reason = self.read_only_reason()
        if reason is not None:
            raise ReadOnlyError(
                f"{self.root} is read-only: it is a view of {reason.of}, and nothing is ever "
                "written there. Models of your own go to a store of their own: make one with "
                "python -m datamodels.training.initialize_store"
            )

    def how_to_complete(self) -> str:
        """How rows that are missing come about, as a request."""
        reason = self.read_only_reason()
        if reason is not None:
            return reason.remedy
        return "train them with python -m datamodels.training.launch"

    @property
    def commands(self) -> Path:
        """A line per finished job: its command line."""
        return self.root / "cmds.txt"

    @property
    def launch(self) -> Path:
        """The folder of whatever launches workers on this store."""
        return self.root / "_launch"

    @property
    def launch_lock(self) -> Path:
        """Held by the one launcher at work."""
        return self.launch / "lock"

    def worker_log(self, place: int, kind: str) -> Path:
        """What the local worker of one place printed; ``kind`` is out or err."""
        return self.launch / f"worker-{place}.{kind}"

    @property
    def records(self) -> Path:
        """Folder of what each worker did: one file a process, as appends of several hosts to one
        file are not atomic on network file systems."""
        return self.root / "_records"

    def record(self, host: str, pid: int, started: int) -> Path:
        """The file of one worker process, which started ``started`` nanoseconds after 1970."""
        return self.records / f"{re.sub(r'[^A-Za-z0-9_.]', '_', host)[:100]}-{pid}-{started}.jsonl"

    @property
    def plan(self) -> Path:
        """Folder of a plan: which examples each row is to be trained on, and why."""
        return self.root / "_plan"

    @property
    def planned_masks(self) -> Path:
        """The planned mask of every row, bool (num_models, n_train)."""
        return self.plan / "masks.npy"

    @property
    def plan_description(self) -> Path:
        """JSON about the plan; ``x_name`` is the store's array that holds the masks."""
        return self.plan / "plan.json"

    @property
    def workers(self) -> Path:
        """Folder of the rows' own folders."""
        return self.root / "workers"

    def worker(self, index: int) -> Path:
        """The folder handed to ``main`` as ``logdir``."""
        return self.workers / str(index)

    def error(self, index: int) -> Path:
        """The traceback of the last failed run of one row."""
        return self.worker(index) / "error.txt"
