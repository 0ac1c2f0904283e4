"""One progress line for work that has stages."""

from typing import Any

from tqdm import tqdm


class ProgressLine:
    """Call it with ``(stage, done, total)``: one line, and nothing where there is no terminal."""

    def __init__(self, unit: str = "it") -> None:
        """``unit`` is what is counted; bytes ("B") are shown in multiples of 1024."""
        self._unit = unit
        self._bar: tqdm[Any] | None = None
        self._stage = ""

    def __call__(self, stage: str, done: int, total: int) -> None:
        if self._bar is None or stage != self._stage:
            self.close()
            # disable=None: quiet when standard error is not a terminal; leave=False: one line
            self._bar = tqdm(
                desc=stage,
                total=total,
                unit=self._unit,
                unit_scale=self._unit == "B",
                unit_divisor=1024 if self._unit == "B" else 1000,
                disable=None,
                leave=False,
            )
            self._stage = stage
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Take the line away."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> "ProgressLine":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
