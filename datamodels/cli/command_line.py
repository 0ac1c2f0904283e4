"""Reading argv, configuration files and the environment into flat ``{full name: value}`` tables."""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from datamodels.errors import UsageError

_CONFIG_FILE_OPTIONS = ("-C", "--config-file")


@dataclass
class Scan:
    """What stands in argv. Undeclared options are kept: a module imported later may own them."""

    options: dict[str, Any] = field(
        default_factory=dict
    )  # full name -> text, or True for a bare one
    config_files: list[str] = field(default_factory=list)
    positional: list[str] = field(default_factory=list)
    short: list[str] = field(default_factory=list)  # -h, -v and the like


def scan(
    argv: list[str],
    *,
    flags: Collection[str] = (),
    declared: Collection[str] = (),
    aliases: Mapping[str, str] | None = None,
) -> Scan:
    """Take argv apart: ``--a.b=v``, ``--a.b v``, ``-C FILE``, bare flags; the last of equals wins.

    ``flags`` never take the next word; every other option in ``declared`` must have a value, and
    takes the next word even where it looks like ``-1``. ``aliases`` are other names of options.
    """
    found = Scan()
    words = list(argv)
    while words:
        word = words.pop(0)
        name, has_equals, value = word.partition("=")
        if name in _CONFIG_FILE_OPTIONS:
            found.config_files.append(value if has_equals else _next_value(name, words))
        elif word.startswith("-C") and not word.startswith("--"):
            found.config_files.append(word[2:])
        elif name.startswith("--") and len(name) > 2:
            given = name[2:]
            name = (aliases or {}).get(given, given)
            if has_equals:
                found.options[name] = value
            elif name in flags:
                found.options[name] = True
            elif name in declared:
                found.options[name] = _next_value(f"--{given}", words)
            else:
                found.options[name] = words.pop(0) if words and not _is_option(words[0]) else True
        elif _is_option(word):
            found.short.append(word)
        else:
            found.positional.append(word)
    return found


def without_options(
    argv: list[str], names: Collection[str], *, flags: Collection[str] = ()
) -> list[str]:
    """``argv`` without options of these full names; all but ``flags`` have a value."""
    kept: list[str] = []
    words = list(argv)
    while words:
        word = words.pop(0)
        name, has_equals, _ = word.partition("=")
        if not name.startswith("--") or name[2:] not in names:
            kept.append(word)
        elif not has_equals and words and name[2:] not in flags:
            words.pop(0)
    return kept


def take_positional(found: Scan, name: str) -> None:
    """Let a single bare word set option ``name``; UsageError where it is given otherwise too.

    More than one word are left where they are.
    """
    if len(found.positional) != 1:
        return
    word = found.positional.pop()
    if name in found.options:
        raise UsageError(
            f"{word!r} and --{name}={found.options[name]} both set {name}; write one of them"
        )
    found.options[name] = word


def _is_option(word: str) -> bool:
    return word.startswith("--") or re.match(r"-[A-Za-z]", word) is not None


def _next_value(name: str, words: list[str]) -> str:
    if not words or _is_option(words[0]):
        raise UsageError(f"{name} needs a value: {name}=VALUE")
    return words.pop(0)


class _Loader(yaml.SafeLoader):
    """YAML where 5e-3 and 1e-6 are numbers, as in YAML 1.2; PyYAML reads them as text."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+.0123456789"),
)


def read_config_file(path: str | Path) -> dict[str, Any]:
    """The mapping in a JSON or YAML file; sections may be nested or written with dots."""
    try:
        text = Path(path).expanduser().read_text()
    except FileNotFoundError:
        raise UsageError(f"there is no configuration file {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration file {path}: {error}") from None
    try:
        content = json.loads(text)
    except json.JSONDecodeError:
        try:
            content = yaml.load(text, Loader=_Loader)
        except (yaml.YAMLError, ValueError) as error:
            raise UsageError(f"{path} is neither JSON nor YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path} holds a {type(content).__name__}, not sections of options")
    return content


def flatten(content: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """``{"cfg": {"k": 3}}`` and ``{"cfg.k": 3}`` alike as ``{"cfg.k": 3}``."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = value
    return flat
