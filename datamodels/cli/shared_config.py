"""The fastargs configuration that our commands and the user's modules share.

fastargs keeps one configuration per process: a module declares ``Section(...).params(...)`` at
import and reads values later. :class:`SharedConfig` is that configuration with these faults of
fastargs 1.2 mended, so that a user's module behaves the same inside our commands and outside:

- ``validate`` ended with exit status 0 when a required option was missing;
- tables were printed with terminal escape codes into log files;
- ``--a.b=False`` was true; a flag in a configuration file was overruled by its own absence from
  the command line; ``lr: 5e-3`` in YAML was text;
- one option that nobody declared ended the program.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import fastargs.state
from fastargs import Config, Param, Section
from fastargs.exceptions import MissingValueError, ValidationError
from fastargs.validation import Bool, Checker
from terminaltables import AsciiTable, SingleTable

from datamodels.cli import command_line
from datamodels.cli.option import Command, Option, to_bool
from datamodels.errors import UsageError

_HELP_WORDS = ("--help", "-h")


class OptionsExit(SystemExit):
    """Ends a program whose options are missing or wrong, with status 2."""

    def __init__(self, reason: str) -> None:
        super().__init__(2)
        self.reason = reason


class SharedConfig(Config):  # type: ignore[misc]
    """fastargs' ``Config``, lenient towards options that nobody declared."""

    told_of_errors = False

    def collect(self, config: Mapping[Any, Any]) -> "SharedConfig":
        """Take the values of declared options from nested or dotted ``config``."""
        # Options have sections: a bare name (a script's own --verbose, or a section given a value)
        # is none, and would hide every option of that section.
        named = {k: v for k, v in command_line.flatten(config).items() if "." in k}
        try:
            super().collect(named)
        except (TypeError, AttributeError):
            raise UsageError("one option is given both as a value and as a section") from None
        for path, param in self.entries.items():
            value = self.content.get(path)
            if isinstance(param.checker, Bool) and isinstance(value, str):
                try:
                    self.content[path] = to_bool(value)
                except ValueError:
                    name = ".".join(path)
                    raise UsageError(f"--{name}={value} is not true or false") from None
        return self

    def collect_config_file(self, fname: str | Path) -> "SharedConfig":
        """Take values from a JSON or YAML file."""
        return self.collect(command_line.read_config_file(fname))

    collect_json = collect_yaml = collect_config_file

    def collect_env_variables(self) -> "SharedConfig":
        """Take values from environment variables named like options, e.g. ``worker.index``."""
        names = self.names()
        return self.collect({name: value for name, value in os.environ.items() if name in names})

    def collect_argv(self, argv: list[str] | None = None) -> "SharedConfig":
        """Files named in argv, over them the options in argv, over them the environment."""
        found = command_line.scan(
            sys.argv[1:] if argv is None else argv, flags=self.flags(), declared=self.names()
        )
        return self.collect_scan(found)

    def collect_scan(self, found: command_line.Scan) -> "SharedConfig":
        """As :meth:`collect_argv`, from a command line that was taken apart already."""
        for fname in found.config_files:
            self.collect_config_file(fname)
        self.collect(found.options)
        return self.collect_env_variables()

    def augment_argparse(self, parser: argparse.ArgumentParser) -> "SharedConfig":
        """Let ``parser`` know every declared option, and make it pass over all others."""
        # Users call parser.parse_args through us and themselves; argv also holds our own options.
        parser.allow_abbrev = False  # argv holds options of others, which it might abbreviate
        parser.parse_args = partial(self._parse_known, parser)  # type: ignore[method-assign,assignment]
        _add(parser, "--config-file", "-C", action="append", default=[], help="JSON or YAML file")
        parser.formatter_class = argparse.RawTextHelpFormatter
        count = -1
        while count != len(self.entries):  # reading a value may import a module that declares more
            count = len(self.entries)
            for path in list(self.entries):
                _add(parser, f"--{'.'.join(path)}", help=argparse.SUPPRESS)
            self.collect_argparse_args(parser, disable_help=True)
        parser.epilog = self.help_tables()
        return self

    def collect_argparse_args(
        self, parser: argparse.ArgumentParser, disable_help: bool = False
    ) -> "SharedConfig":
        """Files, then options in ``sys.argv`` as ``parser`` reads them, then the environment."""
        hidden = _HELP_WORDS if disable_help else ()
        given = vars(
            self._parse_known(parser, [word for word in sys.argv[1:] if word not in hidden])
        )
        for fname in given.pop("config_file", []):
            self.collect_config_file(fname)
        self.collect({name: value for name, value in given.items() if value is not None})
        return self.collect_env_variables()

    def _parse_known(
        self,
        parser: argparse.ArgumentParser,
        args: list[str] | None = None,
        namespace: argparse.Namespace | None = None,
    ) -> argparse.Namespace:
        """``parse_args`` that passes over unknown words; flags may stand bare or have a value."""
        bare = {f"--{name}" for name in self.flags()}
        words = sys.argv[1:] if args is None else args
        words = [f"{word}=true" if word in bare else word for word in words]
        return parser.parse_known_args(words, namespace)[0]

    def names(self) -> set[str]:
        """Full names of all declared options."""
        return {".".join(path) for path in self.entries}

    def flags(self) -> set[str]:
        """Full names of declared options that may stand bare."""
        return {".".join(path) for path, param in self.entries.items() if param.is_flag}

    def help_tables(self) -> str:
        """A table of options for each section, as ``--help`` shows it."""
        tables = []
        for section, paths in self.sections_to_entries.items():
            rows = [["Name", "Default", "Constraint", "Description"]]
            for path in paths:
                param = self.entries[path]
                if param.section.is_enabled(self):
                    default = "Required!" if param.required else param.default
                    shown = "" if default is None else str(default)
                    rows.append([".".join(path), shown, param.checker.help(), param.desc])
            title = (self.sections[section].desc if self.sections[section] else None) or section
            tables.append(_table(rows, str(title), sys.stdout))
        return "\n\n".join(tables)

    def validate(self, mode: str = "stderr") -> dict[tuple[str, ...], Exception] | None:
        """``"errordict"`` returns the faults; ``"stderr"`` prints them and ends with status 2."""
        errors: dict[tuple[str, ...], Exception] = {}
        for path in self.entries:
            try:
                self[path]
            except (MissingValueError, ValidationError) as error:
                errors[path] = error
        if mode == "errordict":
            return errors
        if errors:
            rows = [["Param", "Issue", "Got"]]
            for path, fault in errors.items():
                missing = isinstance(fault, MissingValueError)
                issue = "Required!" if missing else self.entries[path].checker.help()
                rows.append([".".join(path), issue, "" if missing else str(self.content[path])])
            if not self.told_of_errors:  # a worker may come here once a row
                print(_table(rows, "Argument validation errors", sys.stderr), file=sys.stderr)
            self.told_of_errors = True
            raise OptionsExit(", ".join(f"{name}: {issue}" for name, issue, _ in rows[1:]))
        return None

    def summary(self, target: TextIO | None = None) -> "SharedConfig":
        """Print every option that has a value."""
        stream = target or sys.stderr
        rows = [["Parameter", "Value"]]
        for path in self.entries:
            try:
                value = self[path]
            except (MissingValueError, ValidationError):
                continue
            if value is not None:
                rows.append([".".join(path), str(value)])
        print(_table(rows, "Arguments defined", stream), file=stream)
        return self


def current_config() -> SharedConfig:
    """The process's fastargs configuration, made ours; what was declared before is kept."""
    current = fastargs.state.get_current_config()
    if not isinstance(current, SharedConfig):
        mended = SharedConfig()
        mended.__dict__ = current.__dict__  # whoever holds the old object sees the same values
        fastargs.state.set_current_config(mended)
        current = mended
    return current


def declare(command: Command) -> SharedConfig:
    """Declare a command's options, so that a user's own parser does not trip over them."""
    config = current_config()
    for section in command.sections:
        Section(section.name, section.description, config_descriptor=config).params(
            **{option.name: _param(option) for option in section.options}
        )
    return config


class _Check(Checker):  # type: ignore[misc]
    """fastargs' view of one of our options: converts and refuses as our commands do."""

    def __init__(self, option: Option) -> None:
        self._option = option

    def check(self, value: Any) -> Any:
        return self._option.convert(value)

    def help(self) -> str:
        return self._option.kind_name


def _param(option: Option) -> Param:
    return Param(
        _Check(option),
        option.help,
        default=option.default,
        required=option.required,
        is_flag=option.kind == "flag",
    )


def _add(parser: argparse.ArgumentParser, *names: str, **settings: Any) -> None:
    """Add an argument unless the parser has it already."""
    if not any(name in parser._option_string_actions for name in names):
        parser.add_argument(*names, **settings)


def _table(rows: list[list[str]], title: str, stream: TextIO) -> str:
    style = SingleTable if stream.isatty() else AsciiTable
    return str(style(rows, title).table)
