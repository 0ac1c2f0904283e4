"""``python -m datamodels``: the commands of this package, a line each."""

import sys

import datamodels
from datamodels.cli.catalogue import COMMANDS


def main() -> int:
    if "--version" in sys.argv[1:]:
        print(f"datamodels {datamodels.__version__}")
        return 0
    unknown = [word for word in sys.argv[1:] if word not in ("--help", "-h")]
    print("datamodels: which training examples made a model behave as it does\n")
    width = max(len(command.module) for command in COMMANDS)
    for command in COMMANDS:
        print(f"  python -m {command.module:<{width}}  {command.summary}")
    print("\nEach takes --help and --version.")
    if unknown:
        print(
            f"datamodels: error: {unknown[0]!r} is not understood here; "
            "run one of the commands above as python -m MODULE",
            file=sys.stderr,
        )
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
