"""Commands of ``datamodels.training`` and their options, as data."""

from datamodels.cli.option import Command, Option, OptionSection

INITIALIZE_STORE = Command(
    "datamodels.training.initialize_store",
    "make an empty store from a JSON spec",
    (
        OptionSection(
            "logging",
            "the store to make",
            (
                Option("logdir", "path", "the store's folder", required=True),
                Option("spec", "path", "path of the JSON spec", required=True),
                Option(
                    "reserve",
                    "bool",
                    "reserve the disk space now, so that a full disk is an error here and not "
                    "later in a worker; false makes sparse files",
                    default=True,
                ),
            ),
        ),
    ),
)

WORKER = Command(
    "datamodels.training.worker",
    "run main(index, logdir) of your module and write the rows it returns",
    (
        OptionSection(
            "worker",
            "which rows to fill, and with what",
            (
                Option("index", "int", "row to fill"),
                Option(
                    "indices",
                    "str",
                    "rows to fill in one process, e.g. 0-99,200 (inclusive); -: chunks of rows, a "
                    "line each, from standard input",
                ),
                Option(
                    "main_import",
                    "str",
                    "module with main(*_, index, logdir), main_batch(*_, indices, logdir) or both",
                    required=True,
                ),
                Option("logdir", "path", "the store's folder", required=True),
                Option("batch", "int", "rows that one call of main_batch makes"),
                Option(
                    "do_if_complete",
                    "flag",
                    "run even if the row is marked complete, and write it anew",
                    default=False,
                ),
                Option("job_timeout", "int", "give up on a row after this many seconds"),
                Option(
                    "watch",
                    "flag",
                    "run rows in a process of its own, which is replaced when it dies, as with "
                    "job_timeout",
                    default=False,
                ),
                Option("events", "path", "file or pipe that is told how each row begins and ends"),
                Option("alive", "path", "pipe whose other end lives as long as the worker may"),
            ),
        ),
    ),
    user_options=True,
)

LAUNCH = Command(
    "datamodels.training.launch",
    "run main of your module for every row that is missing, with as many workers as there is room",
    (
        OptionSection(
            "launch",
            "which rows, by what means",
            (
                Option("logdir", "path", "the store's folder", required=True),
                Option(
                    "main_import",
                    "str",
                    "module with main(*_, index, logdir), main_batch(*_, indices, logdir) or both",
                    required=True,
                ),
                Option(
                    "engine",
                    "str",
                    "local (workers on this machine), parallel (prints a line for GNU parallel) or "
                    "slurm",
                    default="local",
                ),
                Option("indices", "str", "only these rows, e.g. 0-99,200 (inclusive)"),
                Option(
                    "workers",
                    "int",
                    "processes at a time; without it one a GPU, else one a core; of slurm, tasks "
                    "of the array at a time",
                ),
                Option("workers_per_gpu", "int", "processes that share a GPU", default=1),
                Option(
                    "retries", "int", "how often a row may fail before it is set aside", default=3
                ),
                Option("chunk", "int", "rows a job of parallel or slurm; without it, as suits"),
                Option("partition", "str", "of slurm"),
                Option("account", "str", "of slurm"),
                Option("time", "str", "of slurm: wall time of a task, as sbatch takes it"),
                Option("gpus", "str", "of slurm: GPUs of a task"),
                Option("memory", "str", "of slurm: memory of a task, e.g. 16G"),
                Option("cpus", "int", "of slurm: cores of a task"),
                Option(
                    "sbatch",
                    "str",
                    'of slurm: more options, "--constraint=a100 --qos=long"',
                    default="",
                ),
                Option(
                    "resubmissions",
                    "int",
                    "of slurm: how often what is missing may be submitted again",
                    default=10,
                ),
                Option(
                    "signal_seconds",
                    "int",
                    "of slurm: so long before the wall time a worker begins no other row",
                    default=60,
                ),
                Option(
                    "poll_seconds",
                    "float",
                    "of slurm: between two looks at the queue",
                    default=15.0,
                ),
                Option("wait", "bool", "of slurm: follow the jobs to their end", default=True),
            ),
        ),
        OptionSection(
            "worker",
            "for each worker",
            (
                Option("batch", "int", "rows that one call of main_batch makes"),
                Option("job_timeout", "int", "give up on a row after this many seconds"),
            ),
        ),
    ),
    user_options=True,
    strict=True,
)

ESTIMATE = Command(
    "datamodels.training.estimate",
    "say what a store will cost: time a few rows of your module, with all workers at once",
    (
        OptionSection(
            "estimate",
            "which store, filled by what",
            (
                Option(
                    "main_import",
                    "str",
                    "module with main(*_, index, logdir), main_batch(*_, indices, logdir) or both",
                    required=True,
                ),
                Option("spec", "path", "path of the JSON spec of the store"),
                Option("logdir", "path", "or a store that is there; nothing in it is touched"),
                Option("models", "int", "models that are planned (default: those of the spec)"),
                Option(
                    "trials",
                    "int",
                    "calls that each worker is timed on, after its first",
                    default=3,
                ),
                Option(
                    "workers", "int", "processes at a time; without it one a GPU, else one a core"
                ),
                Option("batch", "int", "rows that one call of main_batch makes"),
                Option("json", "flag", "print JSON", default=False),
            ),
        ),
    ),
    user_options=True,
    strict=True,
)

STATUS = Command(
    "datamodels.training.status",
    "say how far a store is: complete, failed and missing rows, rate, estimated end",
    (
        OptionSection(
            "status",
            "the store to look at",
            (
                Option("logdir", "path", "the store's folder", required=True),
                Option("json", "flag", "print one JSON object, for scripts", default=False),
            ),
        ),
    ),
    positional="status.logdir",
    aliases={"json": "status.json"},
)

GROW = Command(
    "datamodels.training.grow",
    "give a store more rows; those it has stay as they are, and workers go on",
    (
        OptionSection(
            "grow",
            "the store to make longer",
            (
                Option("logdir", "path", "the store's folder", required=True),
                Option("num_models", "int", "rows it shall have", required=True),
                Option(
                    "reserve",
                    "bool",
                    "reserve the disk space of the new rows now; false makes sparse files",
                    default=True,
                ),
            ),
        ),
    ),
    positional="grow.logdir",
)

VERIFY = Command(
    "datamodels.training.verify",
    "read a whole store and report complete rows that are all zero or not finite",
    (
        OptionSection(
            "verify",
            "the store to read",
            (Option("logdir", "path", "the store's folder", required=True),),
        ),
    ),
    positional="verify.logdir",
)

MERGE_STORES = Command(
    "datamodels.training.merge",
    "merge stores of one spec, filled at different places, into one",
    (
        OptionSection(
            "merge",
            "the stores to merge, and where to",
            (
                Option("inputs", "str", "folders of stores: A,B,...", required=True),
                Option("out", "path", "the store to make; must not exist already", required=True),
            ),
        ),
    ),
)
