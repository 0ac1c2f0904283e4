"""The subcommands of ``python -m datamodels.published`` and their options, as data."""

from datamodels.cli.option import Command, Option, OptionSection

_ALPHA = "fractions of the training set, e.g. 0.1,0.5, or all"
_KINDS = "masks, margins, logits, datamodels: a list, or all"
_SPLITS = "train, test: whose outputs or datamodels; a list, or all (masks are of both)"

_RETRIES = Option(
    "retries", "int", "how often in a row a request may fail and bring nothing", default=8
)
_EVALUATION = (
    Option(
        "evaluation",
        "str",
        "at which end of the files the rows held out for evaluation lie: last or first (default: "
        "what the view was told before; else last, which is an assumption)",
    ),
    Option("n_evaluation", "int", "how many these rows are (default likewise; else 10,000)"),
)

PUBLISHED_LIST = Command(
    "datamodels.published list",
    "what was published with the paper: shapes, sizes, what its transfer costs",
    (
        OptionSection(
            "list",
            "which files to list, and how",
            (
                Option("dataset", "str", "cifar, fmow: a list, or all", default="all"),
                Option("alpha", "str", _ALPHA, default="all"),
                Option("kinds", "str", _KINDS, default="all"),
                Option("splits", "str", _SPLITS, default="all"),
                Option(
                    "check",
                    "flag",
                    "ask the bucket whether each file is there and how large it is",
                    default=False,
                ),
                _RETRIES,
                Option("json", "flag", "print an array of objects, a file each", default=False),
            ),
        ),
    ),
    strict=True,
    aliases={"check": "list.check", "json": "list.json"},
)

PUBLISHED_DOWNLOAD = Command(
    "datamodels.published download",
    "fetch published files, or rows of them, once you have seen what that costs",
    (
        OptionSection(
            "download",
            "what to fetch, and whereto",
            (
                Option("root", "path", "folder of published files", required=True),
                Option("kinds", "str", _KINDS, required=True),
                Option("dataset", "str", "cifar, fmow: a list, or all", default="cifar"),
                Option("alpha", "str", _ALPHA, default="0.5"),
                Option("splits", "str", _SPLITS, default="test"),
                Option(
                    "rows",
                    "str",
                    "of masks, margins and logits only these models, e.g. 0-999,300000-309999 "
                    "(inclusive) or evaluation (those held out for it)",
                ),
                *_EVALUATION,
                Option("yes", "flag", "do not ask before spending", default=False),
                Option(
                    "dry_run", "flag", "show what it would cost, and fetch nothing", default=False
                ),
                Option("workers", "int", "requests at a time", default=8),
                Option("chunk_mib", "int", "MiB of a request at most", default=8),
                _RETRIES,
            ),
        ),
    ),
    strict=True,
    aliases={"yes": "download.yes", "dry_run": "download.dry_run"},
)  # fmt: skip

PUBLISHED_CHECK = Command(
    "datamodels.published check",
    "whether downloaded files are whole, and what of others is there",
    (
        OptionSection(
            "check",
            "what to check",
            (
                Option("root", "path", "folder of published files", required=True),
                Option("json", "flag", "print an array of objects, a file each", default=False),
            ),
        ),
    ),
    strict=True,
    details=(
        "Files are compared with the checksums that download notes beside them (FILE.jsonl, and\n"
        "FILE.partial.jsonl of what is there in part). Of .npy files without these only header\n"
        "and length are looked at, of .pt files the checksums within."
    ),
    positional="check.root",
    aliases={"json": "check.json"},
)

PUBLISHED_VIEW = Command(
    "datamodels.published view",
    "show downloaded files as stores that are only to be read, e.g. DIR/cifar/50pct",
    (
        OptionSection(
            "view",
            "what to show",
            (Option("root", "path", "folder of published files", required=True), *_EVALUATION),
        ),
    ),
    strict=True,
    positional="view.root",
)

PUBLISHED_UNITS = Command(
    "datamodels.published units",
    "tell from held-out models whether weights are raw or of standardized masks",
    (
        OptionSection(
            "units",
            "which weights, and the models to judge by",
            (
                Option("datamodels", "path", "the .pt file", required=True),
                Option(
                    "store",
                    "path",
                    "masks and outputs: a view, as DIR/cifar/50pct, or any store",
                    required=True,
                ),
                Option(
                    "rows",
                    "str",
                    "models that took no part in the fit, e.g. 300000-309999; without it, or as "
                    "evaluation, those that a view holds out, as far as they are complete",
                ),
                Option("targets", "int", "look at so many, spread over all", default=500),
                Option("x_name", "str", "array of the masks", default="masks"),
                Option("y_name", "str", "array of the outputs", default="margins"),
            ),
        ),
    ),
    strict=True,
)

PUBLISHED_COMMANDS = (
    PUBLISHED_LIST,
    PUBLISHED_DOWNLOAD,
    PUBLISHED_CHECK,
    PUBLISHED_VIEW,
    PUBLISHED_UNITS,
)
