"""What a command may be told: options, their sections, and the command that owns them."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from datamodels.errors import UsageError

Kind = Literal["int", "float", "str", "path", "bool", "flag"]
_KIND_NAMES = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "path": "a path",
    "bool": "true or false",
    "flag": "a flag",
}
_TRUE = {"true", "yes", "on", "1", "y", "t"}
_FALSE = {"false", "no", "off", "0", "n", "f"}


@dataclass(frozen=True)
class Option:
    """One option of one section; ``flag`` options may stand bare on the command line."""

    name: str
    kind: Kind
    help: str
    default: Any = None
    required: bool = False

    @property
    def kind_name(self) -> str:
        return _KIND_NAMES[self.kind]

    def convert(self, raw: Any) -> Any:
        """The value in this option's type; ValueError or TypeError where it does not fit."""
        match self.kind:
            case "int":
                return to_int(raw)
            case "float":
                return _to_float(raw)
            case "bool" | "flag":
                return to_bool(raw)
            case "path":
                return str(Path(_not_empty(raw)).expanduser())
            case _:
                return _not_empty(raw)


@dataclass(frozen=True)
class OptionSection:
    """A named group of options: ``--<section>.<option>=value``."""

    name: str
    description: str
    options: tuple[Option, ...]

    def dotted(self) -> dict[str, Option]:
        """Options by their full name, ``section.name``."""
        return {f"{self.name}.{option.name}": option for option in self.options}


@dataclass(frozen=True)
class Command:
    """A command ``python -m <module>`` and everything it may be told.

    A single bare word on its command line sets the option ``positional``; ``aliases`` are short
    for options: ``{"json": "status.json"}`` lets ``--json`` stand for ``--status.json``. Both hold
    on the command line only. A command with ``user_options`` has neither: words and short names
    are the user's there.
    """

    module: str
    summary: str
    sections: tuple[OptionSection, ...]
    user_options: bool = False  # options of other sections belong to a module that the user wrote
    strict: bool = (
        False  # unknown options of its sections are errors, where users' scripts have none
    )
    details: str = ""  # lines that --help has below the summary
    positional: str | None = None  # full name of an option
    aliases: Mapping[str, str] = field(default_factory=dict)  # short name -> full name

    def __post_init__(self) -> None:
        named = {*self.aliases.values(), *filter(None, [self.positional])}
        if named - set(self.options()) or (named and self.user_options):
            raise ValueError(f"{self.module}: {sorted(named)} must be options, all its own")

    def options(self) -> dict[str, Option]:
        """All options of this command by full name."""
        return {name: opt for section in self.sections for name, opt in section.dotted().items()}

    def flags(self) -> set[str]:
        """Full names of the options that may stand without a value."""
        return {name for name, option in self.options().items() if option.kind == "flag"}


def to_int(raw: Any) -> int:
    """An int from an int, a whole float (2e3), a bool (1, 0) or text; 2.5 is refused."""
    if isinstance(raw, str):
        try:
            return int(raw)  # takes 90_000 too
        except ValueError:
            raw = float(raw)
    if isinstance(raw, float) and (not math.isfinite(raw) or raw != int(raw)):
        raise ValueError(raw)
    return int(raw)


def _not_empty(raw: Any) -> str:
    if str(raw) == "":  # an unset variable of the shell, most likely
        raise ValueError(raw)
    return str(raw)


def _to_float(raw: Any) -> float:
    if isinstance(raw, bool):
        raise TypeError(raw)
    return float(raw)


def to_bool(raw: Any) -> bool:
    """A bool from a bool, 0, 1 or the words people write for them."""
    if isinstance(raw, bool):
        return raw
    word = str(raw).strip().lower()
    if word in _TRUE:
        return True
    if word in _FALSE:
        return False
    raise ValueError(raw)


def convert_all(options: dict[str, Option], raw: dict[str, Any]) -> dict[str, Any]:
    """Typed values of ``options`` by full name, defaults filled in; one error lists all faults."""
    values: dict[str, Any] = {}
    faults = []
    for name, option in options.items():
        if raw.get(name) is None:
            values[name] = option.default
            if option.required:
                faults.append(f"--{name} is required ({option.kind_name}): {option.help}")
            continue
        try:
            values[name] = option.convert(raw[name])
        except (ValueError, TypeError, OverflowError):
            faults.append(f"--{name}={raw[name]} is not {option.kind_name}: {option.help}")
    if faults:
        raise UsageError("\n".join(faults))
    return values
