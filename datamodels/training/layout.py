"""Where everything in a store lies. Every file name of a store is written here and nowhere else."""

from dataclasses import dataclass
from pathlib import Path

from datamodels.near_miss import nearest
from datamodels.training.spec import COMPLETED


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

    def worker(self, index: int) -> Path:
        """The folder handed to ``main`` as ``logdir``."""
        return self.root / "workers" / str(index)

    def error(self, index: int) -> Path:
        """The traceback of the last failed run of one row."""
        return self.worker(index) / "error.txt"
