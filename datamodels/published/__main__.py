"""``python -m datamodels.published COMMAND``: list, download, check, and what else is named in
``datamodels.cli.published_commands``."""

import sys
from importlib import import_module

import datamodels
from datamodels.cli.published_commands import PUBLISHED_COMMANDS
from datamodels.near_miss import nearest

# Each has a function main() -> exit status, which reads its options in sys.argv.
_HOMES = {
    "list": "datamodels.published.listing",
    "download": "datamodels.published.download",
    "check": "datamodels.published.check",
    "view": "datamodels.published.view_command",
    "units": "datamodels.published.units_command",
}


def main() -> int:
    """The command; returns its exit status."""
    words = sys.argv[1:]
    if words and words[0] in _names():
        sys.argv = [sys.argv[0], *words[1:]]
        status: int = import_module(_HOMES[words[0]]).main()
        return status
    if "--version" in words:
        print(f"datamodels {datamodels.__version__}")
        return 0
    _print_help()
    unknown = [word for word in words if word not in ("--help", "-h")]
    if unknown:
        close = nearest(unknown[0], _names())
        hint = f"did you mean {close!r}?" if close else "write one of the commands above first"
        print(
            f"datamodels.published: error: {unknown[0]!r} is not understood here; {hint}",
            file=sys.stderr,
        )
        return 2
    return 0


def _names() -> list[str]:
    return [command.module.partition(" ")[2] for command in PUBLISHED_COMMANDS]


def _print_help() -> None:
    print("datamodels.published: masks, outputs and datamodels published with the paper\n")
    width = max(map(len, _names()))
    for name, command in zip(_names(), PUBLISHED_COMMANDS, strict=True):
        print(f"  python -m datamodels.published {name:<{width}}  {command.summary}")
    print("\nEach takes --help. Only `list --check` and `download` use the network; the bucket has")
    print("requesters pay, so these need AWS credentials (as boto3 finds them).")


if __name__ == "__main__":
    raise SystemExit(main())
