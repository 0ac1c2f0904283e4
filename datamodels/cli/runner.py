"""Running a command: read its options, call one function, report, return an exit status.

0 only when the work was done; 1 when it failed; 2 when the call was wrong. Errors that the user
can mend are printed without a traceback; anything else that escapes is a bug and shows itself.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any

from fastargs.exceptions import ValidationError

import datamodels
from datamodels.cli import catalogue, command_line
from datamodels.cli.option import Command, convert_all
from datamodels.cli.shared_config import SharedConfig, declare
from datamodels.errors import DatamodelsError, UsageError
from datamodels.near_miss import nearest_option

Values = dict[str, Any]  # typed values by full name, e.g. {"cfg.k": 100}


def run(
    command: Command,
    action: Callable[[Values], int | None],
    *,
    before_help: Callable[[SharedConfig], object] | None = None,
) -> int:
    """Run ``action`` on the values of ``command``'s options in ``sys.argv``; the exit status.

    Precedence: environment over command line over configuration files, the last file first.
    ``before_help`` may declare more options for ``--help`` to show.
    """
    _plain_warnings()
    try:
        status = _run(command, action, before_help)
        sys.stdout.flush()
        return status
    except DatamodelsError as error:
        print_error(command, str(error))
        return error.exit_status
    except BrokenPipeError:  # whoever read our output has gone, as in `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # the disk, the network, permissions: never a fault of the code
        named = f": {error.filename}" if error.filename else ""
        print_error(command, f"{error.strerror or error}{named}")
        return 1
    except MemoryError as error:
        print_error(command, f"not enough memory: {error}")
        return 1
    except KeyboardInterrupt:
        print(f"{command.module}: interrupted", file=sys.stderr)
        return 130


def _run(
    command: Command,
    action: Callable[[Values], int | None],
    before_help: Callable[[SharedConfig], object] | None,
) -> int:
    config = declare(command)
    found = command_line.scan(
        sys.argv[1:], flags=config.flags(), declared=config.names(), aliases=command.aliases
    )
    if "version" in found.options:
        print(f"datamodels {datamodels.__version__}")
        return 0
    if "help" in found.options or "-h" in found.short:
        if before_help is not None:
            before_help(config)
        _print_help(command, config)
        return 0
    return action(read_values(command, config, found)) or 0


def section(values: Values, name: str) -> Values:
    """The values of one section, by the short names of its options."""
    return {
        full.removeprefix(f"{name}."): value
        for full, value in values.items()
        if full.startswith(f"{name}.")
    }


def read_values(command: Command, config: SharedConfig, found: command_line.Scan) -> Values:
    """Typed values of all options; UsageError for misspelled, missing or wrong ones."""
    if command.positional:
        command_line.take_positional(found, command.positional)
        if found.positional:  # too many words, which is what is wrong: not that there is none
            found.options.setdefault(command.positional, found.positional[0])
    from_files = names_in_files(found)
    faults = misspelled(command, found.options)
    faults += misspelled(command, from_files, in_file=True)
    stray = (*found.short, *found.positional)
    if command.user_options:
        for word in found.positional:
            warn(f"{word!r} is no option, and ignored unless your module reads it")
    else:
        faults += [_stray(command, found, word) for word in stray]
    config.collect_scan(found)
    raw = {name: config.content.get(tuple(name.split("."))) for name in command.options()}
    try:
        values = convert_all(command.options(), raw)
    except UsageError as error:
        faults.append(str(error))
        faults += _hints(command, [*found.options, *from_files])
    if faults:
        raise UsageError("\n".join(dict.fromkeys(faults)))
    return values


def _stray(command: Command, found: command_line.Scan, word: str) -> str:
    if command.positional and len(found.positional) > 1 and word in found.positional:
        return f"{word!r}: one word at most, for {command.positional}, and no options without --"
    return f"{word!r} is no option: write options as --section.name=value"


def _hints(command: Command, names: Iterable[str]) -> list[str]:
    """Where an option is missing: what was given under nearly its name."""
    own, known = [*command.options(), *command.aliases], catalogue.known_names()
    near = {name: nearest_option(name, own) for name in names if name not in known}
    return [f"unknown option --{name}: did you mean --{close}?" for name, close in near.items()
            if close]  # fmt: skip


def names_in_files(found: command_line.Scan) -> list[str]:
    """Full names of what stands in the configuration files that argv names."""
    return [
        name
        for fname in found.config_files
        for name in command_line.flatten(command_line.read_config_file(fname))
    ]


def misspelled(command: Command, names: Iterable[str], *, in_file: bool = False) -> list[str]:
    """Faults for near misses of this command's options; warnings for what nobody will read.

    Options of our other commands are left alone, and so are sections of the user's own: in files,
    which may serve several commands, and everywhere for commands that import a user's module.
    """
    own = [*command.options(), *command.aliases]
    sections = {section.name for section in command.sections}
    faults = []
    for name in names:
        if name in sections:
            faults.append(f"{name} is a section: write --{name}.OPTION=VALUE; see --help")
            continue
        if name in own or name in catalogue.known_names():
            continue
        ours = name.rpartition(".")[0] in sections
        close = nearest_option(name, own) or (_elsewhere(name, own) if ours else None)
        if not ours and command.user_options:
            continue  # may be declared by the user's module, which is not imported yet
        if close and (ours or not in_file):
            faults.append(f"unknown option --{name}: did you mean --{close}?")
        elif close and "." in name:
            warn(f"--{name} is unknown, and ignored: did you mean --{close}?")
        elif ours and not in_file and command.strict:
            faults.append(f"--{name} is no option of this command; see --help")
        elif ours or not in_file:
            warn(f"--{name} is no option of this command, and ignored; see --help")
    return faults


def _elsewhere(name: str, own: Iterable[str]) -> str | None:
    """The option of that very name in another of our sections."""
    last = name.rpartition(".")[2]
    return next((option for option in own if option.rpartition(".")[2] == last), None)


def warn(text: str) -> None:
    """A line on standard error that no warning filter of a user's module hides or turns into an
    error."""
    print(f"warning: {text}", file=sys.stderr)


def refuse_wrong_user_options(config: SharedConfig) -> None:
    """UsageError for values that the user's module declared otherwise, before it runs even once.

    Missing ones are left alone: the module may fill them from a file of its own.
    """
    errors = config.collect_argv().validate(mode="errordict") or {}
    wrong = [
        path
        for path, error in errors.items()
        if isinstance(error, ValidationError) and path in config.content  # not an odd default
    ]
    if wrong:
        raise UsageError(
            "\n".join(
                f"--{'.'.join(path)}={config.content[path]} is not "
                f"{config.entries[path].checker.help()}: {config.entries[path].desc}"
                for path in wrong
            )
        )


def check_undeclared_options(command: Command, config: SharedConfig) -> None:
    """Once a user's module has declared its options: what of the rest is nearly a declared one?

    UsageError for a misspelled section of ours, warnings for near misses in the user's. A name in
    any other section may belong to a module that reads argv itself.
    """
    found = command_line.scan(sys.argv[1:], flags=config.flags(), declared=config.names())
    given = {*found.options, *names_in_files(found)}
    for name in sorted(given - config.names() - catalogue.known_names()):
        close = nearest_option(name, config.names())
        if close in command.options() and "." in name:
            raise UsageError(f"unknown option --{name}: did you mean --{close}?")
        # Without a section it may be an option of a parser of the module's own, unless it is ours
        # to the letter.
        if close and ("." in name or close.endswith(f".{name}")):
            warn(f"--{name} is unknown, and ignored: did you mean --{close}?")


def print_error(command: Command, message: str) -> None:
    """One line, or a short list below a head line, on standard error."""
    lines = message.splitlines() or ["failed"]
    head = f"{command.module}: error:"
    if len(lines) == 1:
        print(f"{head} {lines[0]}", file=sys.stderr)
    else:
        print("\n".join([head, *(f"  {line}" for line in lines)]), file=sys.stderr)


def _print_help(command: Command, config: SharedConfig) -> None:
    word = f" [{command.positional.rpartition('.')[2].upper()}]" if command.positional else ""
    print(f"usage: python -m {command.module}{word} [-C FILE] [--section.name=value ...]\n")
    print(f"{command.summary[0].upper()}{command.summary[1:]}.\n")
    if command.details:
        print(f"{command.details}\n")
    print("Options may also come from YAML or JSON files (-C FILE, --config-file FILE, repeatable)")
    print("and from environment variables of the same name, which overrule the command line.\n")
    if command.positional:
        print(f"A single word without -- sets {command.positional}.")
    for short, name in command.aliases.items():
        print(f"--{short} is short for --{name}.")
    if command.positional or command.aliases:
        print()
    print(config.help_tables())


def _plain_warnings() -> None:
    """Warnings for users of commands: one line, without the place in our code."""

    def show(message: Warning | str, *_: object, **__: object) -> str:
        return f"warning: {message}\n"

    warnings.formatwarning = show
