"""Every command of the package and every option it takes, as data.

Option names, types and defaults are a contract with users' scripts and configuration files.
Nothing here imports the code behind the commands.
"""

from datamodels.cli.option import Command, Option, OptionSection
from datamodels.cli.published import PUBLISHED_COMMANDS

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

WRITE_DATASET = Command(
    "datamodels.regression.write_dataset",
    "write two arrays of a store as one FFCV .beton file",
    (
        OptionSection(
            "cfg",
            "what to write",
            (
                Option("data_dir", "path", "the store's folder", required=True),
                Option("out_path", "path", ".beton file to write", required=True),
                Option("y_name", "str", "array of outputs", required=True),
                Option("x_name", "str", "array of covariates", default="masks"),
                Option("y_slice", "int", "only this column of y (-1: all)", default=-1),
                Option(
                    "completed_name",
                    "str",
                    "array that marks complete rows",
                    default="_completed",
                ),
                Option("ignore_completed", "flag", "take every row", default=False),
            ),
        ),
    ),
)

COMPUTE_DATAMODELS = Command(
    "datamodels.regression.compute_datamodels",
    "fit a sparse linear model from subset to output for every target",
    (
        OptionSection(
            "data",
            "the rows and targets to fit",
            (
                Option("data_path", "path", ".beton file or store folder", required=True),
                Option("x_name", "str", "covariates, when data_path is a store", default="masks"),
                Option("y_name", "str", "outputs, when data_path is a store", default="margins"),
                Option("num_train", "int", "models for fitting", required=True),
                Option(
                    "num_val",
                    "int",
                    "models held out to choose lambda; not needed with cfg.folds or cfg.lam",
                ),
                Option(
                    "seed",
                    "int",
                    "picks the num_val validation rows among the first num_train + num_val "
                    "complete rows, or the folds; -1: the last num_val of them",
                    default=0,
                ),
                Option("target_start_ind", "int", "first target", default=0),
                Option("target_end_ind", "int", "end of the targets (-1: all)", default=-1),
            ),
        ),
        OptionSection(
            "cfg",
            "the fit",
            (
                Option("k", "int", "number of lambdas on the path", required=True),
                Option(
                    "eps",
                    "float",
                    "the path falls by eps^(1/k) a step, from lambda_max",
                    default=1e-5,
                ),
                Option("out_dir", "path", "results; must not exist already", required=True),
                Option(
                    "resume",
                    "flag",
                    "go on with a run of the same options that was stopped",
                    default=False,
                ),
                Option(
                    "estimator", "str", "lasso, or a baseline: ridge, difference", default="lasso"
                ),
                Option(
                    "engine",
                    "str",
                    "auto, cpu, torch, few_rows, screened or saga",
                    default="auto",
                ),
                Option("device", "str", "of the torch engine, e.g. cuda:1"),
                Option("folds", "int", "choose lambda by cross-validation over so many folds"),
                Option(
                    "rule", "str", "least validation error (min), or 1se with folds", default="min"
                ),
                Option("lam", "str", "a given lambda, or an .npy file of one for each target"),
                Option("penalty_factors", "path", ".npy of (features,) or (features, targets)"),
                Option("groups", "str", "integer array of the store: centre rows within groups"),
                Option("use_bias", "bool", "1: fit an intercept", default=True),
                Option("moments", "path", ".npz file of moments to use, bring up to date or make"),
                Option("tol", "float", "relative duality gap along the path", default=1e-4),
                Option("final_tol", "float", "relative duality gap of the saved fit", default=1e-7),
                Option("threads", "int", "threads (default: all cores)"),
                Option("memory_gb", "float", "memory to use (default: 60% of what is free)"),
                Option("batch_size", "int", "rows read at a time, or a step of saga; any number"),
                Option("lr", "float", "step size (of the SAGA solver only)", default=0.01),
                Option("num_workers", "int", "accepted, and ignored", default=16),
            ),
        ),
        OptionSection(
            "early_stopping",
            "when the SAGA solver stops (other solvers stop on the duality gap)",
            (
                Option("check_every", "int", "epochs between checks (SAGA only)", default=2),
                Option("eps", "float", "change that counts as converged (SAGA only)", default=1e-5),
            ),
        ),
    ),
)

MOMENTS = Command(
    "datamodels.regression.moments",
    "keep the moments of rows in a file, to merge with those of others and to fit from",
    (
        OptionSection(
            "moments",
            "the rows and targets to take, and where to",
            (
                Option("data_path", "path", ".beton file or store folder", required=True),
                Option("x_name", "str", "covariates, when data_path is a store", default="masks"),
                Option("y_name", "str", "outputs, when data_path is a store", default="margins"),
                Option(
                    "rows",
                    "str",
                    "rows of the store, e.g. 0-9999 (inclusive); incomplete ones are left out "
                    "(default: all complete rows)",
                ),
                Option("target_start_ind", "int", "first target", default=0),
                Option("target_end_ind", "int", "end of the targets (-1: all)", default=-1),
                Option("folds", "int", "keep so many folds apart, for cross-validation"),
                Option("seed", "int", "of the folds", default=0),
                Option("groups", "str", "integer array of the store: the group of each row"),
                Option("out", "path", ".npz file to write; must not exist already", required=True),
                Option("memory_gb", "float", "memory to use (default: 60% of what is free)"),
                Option("threads", "int", "threads to use (default: all cores)"),
            ),
        ),
    ),
)

MERGE = Command(
    "datamodels.regression.merge",
    "merge moments of different rows, or results of different targets",
    (
        OptionSection(
            "merge",
            "what to merge, and where to",
            (
                Option(
                    "inputs",
                    "str",
                    "files of moments, or folders of results: A,B,...",
                    required=True,
                ),
                Option("out", "path", "what to write; must not exist already", required=True),
            ),
        ),
    ),
)

LDS = Command(
    "datamodels.evaluation.lds",
    "score datamodels on models they have not seen (linear datamodeling score)",
    (
        OptionSection(
            "lds",
            "what to score, and on which models",
            (
                Option("datamodels", "path", "datamodels.pt to score"),
                Option("scores", "path", ".npy of (n_train, n_targets) attribution scores"),
                Option("store", "path", "the store with masks and outputs", required=True),
                Option(
                    "rows",
                    "str",
                    "rows to use, e.g. 1600-1999; evaluation: those that a view of published "
                    "files holds out (default: complete rows not in the fit; of a view, where it "
                    "is not known which these are, evaluation; all for scores)",
                ),
                Option("x_name", "str", "array of masks (default: the fit's, or masks)"),
                Option("y_name", "str", "array of outputs (default: the fit's, or margins)"),
                Option(
                    "exclude_own",
                    "flag",
                    "targets are the training examples: leave each one's own mask column out",
                    default=False,
                ),
                Option(
                    "mask_id",
                    "str",
                    "integer array: rows of one id are trainings of one mask, whose outputs are "
                    "averaged (default: mask_id, if the store has it)",
                ),
                Option("correlation", "str", "spearman, kendall or pearson", default="spearman"),
                Option(
                    "pooled",
                    "flag",
                    "print the correlation over all models and targets at once as well",
                    default=False,
                ),
                Option("resamples", "int", "bootstrap resamples of the models", default=1000),
                Option("seed", "int", "seed of the bootstrap", default=0),
                Option("out", "path", ".npy to write the score of every target to"),
            ),
        ),
    ),
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

_RETRAINED_OUT = "store of the retrainings to make; must not exist already"

COUNTERFACTUALS = Command(
    "datamodels.evaluation.counterfactuals",
    "prepare retrainings that check what datamodels predict of removed training examples",
    (
        OptionSection(
            "counterfactuals",
            "what to remove, and how often to retrain without it",
            (
                Option("datamodels", "path", "datamodels.pt to check", required=True),
                Option("store", "path", "store they were fitted on (default: that of the fit)"),
                Option("x_name", "str", "array of masks (default: the fit's, or masks)"),
                Option("y_name", "str", "array of outputs (default: the fit's, or margins)"),
                Option("out", "path", _RETRAINED_OUT, required=True),
                Option(
                    "targets",
                    "str",
                    "targets of the datamodels, e.g. 0-9,200 (inclusive) (default: 20 at even "
                    "distances)",
                ),
                Option("sizes", "str", "how many to remove: K,K,...", default="5,10,20,40"),
                Option(
                    "methods",
                    "str",
                    "which: helpful, harmful, random, nearest (default: helpful and random, and "
                    "nearest where features are given)",
                ),
                Option("train_features", "path", ".npy, a row a training example, for nearest"),
                Option("test_features", "path", ".npy, a row an output of the store, for nearest"),
                Option(
                    "alpha",
                    "float",
                    "share of the training set that models begin with, drawn anew each repeat "
                    "(1: all of it)",
                    default=1.0,
                ),
                Option("base", "path", ".npy mask (n_train,) of what models begin with instead"),
                Option("repeats", "int", "retrainings of each removal", default=5),
                Option(
                    "controls", "int", "retrainings with nothing removed, each repeat", default=4
                ),
                Option("seed", "int", "of random removals and base subsets", default=0),
            ),
        ),
    ),
    strict=True,
)

SUPPORT = Command(
    "datamodels.evaluation.support",
    "find the fewest training examples whose removal is predicted to flip a prediction",
    (
        OptionSection(
            "support",
            "which predictions, from where, and how surely",
            (
                Option("datamodels", "path", "datamodels.pt that predict", required=True),
                Option("store", "path", "store they were fitted on (default: that of the fit)"),
                Option("x_name", "str", "array of masks (default: the fit's, or masks)"),
                Option("y_name", "str", "array of outputs (default: the fit's, or margins)"),
                Option("targets", "str", "targets of the datamodels, e.g. 0-9,200 (default: all)"),
                Option(
                    "alpha",
                    "float",
                    "share of the training set that models are trained on (1: all of it; default: "
                    "that of the fit)",
                ),
                Option("base", "path", ".npy mask (n_train,) of what models begin with instead"),
                Option(
                    "outputs",
                    "path",
                    ".npy (n_targets,) of mean outputs with nothing removed (default: predicted)",
                ),
                Option(
                    "safety",
                    "float",
                    "margin of safety below 0, in standard deviations of the residual",
                    default=2.0,
                ),
                Option("out", "path", ".npz to write; must not exist already"),
                Option("show", "int", "targets in the table, smallest supports first", default=20),
                Option("plan", "path", "store to make, for retrainings that check the supports"),
                Option("repeats", "int", "retrainings without each support", default=5),
                Option(
                    "controls", "int", "retrainings with nothing removed, each repeat", default=4
                ),
                Option("seed", "int", "of base subsets", default=0),
            ),
        ),
    ),
    strict=True,
)

RETRAINED = Command(
    "datamodels.evaluation.retrained",
    "compare retrainings, prepared by counterfactuals or support, with what was predicted",
    (
        OptionSection(
            "retrained",
            "the retrainings to read",
            (
                Option("store", "path", "the store of the retrainings", required=True),
                Option("out", "path", "folder for table and picture; must not exist already"),
                Option("picture", "bool", "draw predicted against actual changes", default=True),
                Option("resamples", "int", "bootstrap resamples of the targets", default=1000),
                Option("seed", "int", "of the bootstrap", default=0),
            ),
        ),
    ),
    positional="retrained.store",
    strict=True,
)

LEARNING_CURVE = Command(
    "datamodels.evaluation.learning_curve",
    "measure LDS and error against the number of models, and say what more models would bring",
    (
        OptionSection(
            "curve",
            "the store, the fits and the scores",
            (
                Option("data_path", "path", "the store's folder", required=True),
                Option("out", "path", "results; must not exist already", required=True),
                Option("x_name", "str", "array of masks", default="masks"),
                Option("y_name", "str", "array of outputs", default="margins"),
                Option(
                    "mask_id",
                    "str",
                    "integer array: rows of one id are trainings of one mask, kept together and "
                    "averaged (default: mask_id, if the store has it)",
                ),
                Option(
                    "num_held_out",
                    "int",
                    "score on so many of the last complete rows (default: a fifth of them)",
                ),
                Option("sizes", "str", "numbers of models, A,B,... (default: 9, up to all)"),
                Option(
                    "goals",
                    "str",
                    "models needed for LDS of A,B,... (default: the next two twentieths)",
                ),
                Option(
                    "law", "str", "to extrapolate by: saturating or power", default="saturating"
                ),
                Option("correlation", "str", "spearman, kendall or pearson", default="spearman"),
                Option("resamples", "int", "bootstrap resamples of the held-out rows", default=400),
                Option(
                    "seed",
                    "int",
                    "of the rows that choose lambda, the folds and the bootstrap",
                    default=0,
                ),
                Option("target_start_ind", "int", "first target", default=0),
                Option("target_end_ind", "int", "end of the targets (-1: all)", default=-1),
                Option("k", "int", "number of lambdas on the path", default=100),
                Option(
                    "eps",
                    "float",
                    "the path falls by eps^(1/k) a step, from lambda_max",
                    default=1e-5,
                ),
                Option(
                    "estimator", "str", "lasso, or a baseline: ridge, difference", default="lasso"
                ),
                Option("engine", "str", "auto, cpu or torch", default="auto"),
                Option("device", "str", "of the torch engine, e.g. cuda:1"),
                Option(
                    "folds",
                    "int",
                    "choose lambda by cross-validation over so many folds (default: on a fifth of "
                    "the models of each fit)",
                ),
                Option("memory_gb", "float", "memory to use (default: 60% of what is free)"),
                Option("threads", "int", "threads to use (default: all cores)"),
            ),
        ),
    ),
    strict=True,
)

LINEAR_SHARE = Command(
    "datamodels.evaluation.linear_share",
    "say how much of the outputs' variance is noise, non-linear, linear, and explained",
    (
        OptionSection(
            "share",
            "the store and, to compare, the datamodels",
            (
                Option("store", "path", "the store with masks and outputs", required=True),
                Option("datamodels", "path", "datamodels.pt: how much these explain"),
                Option(
                    "rows",
                    "str",
                    "rows to use, e.g. 0-999 (default: all complete rows); what datamodels explain "
                    "is measured on those of them that took no part in the fit",
                ),
                Option("x_name", "str", "array of masks (default: the fit's, or masks)"),
                Option("y_name", "str", "array of outputs (default: the fit's, or margins)"),
                Option(
                    "mask_id",
                    "str",
                    "integer array: rows of one id are trainings of one mask (default: mask_id, "
                    "if the store has it; without one, noise and non-linear are one share)",
                ),
                Option("out", "path", ".json to write the shares to"),
            ),
        ),
    ),
    strict=True,
)

TOP = Command(
    "datamodels.analysis.top",
    "list the training examples that help and harm a target most, with their weights",
    (
        OptionSection(
            "top",
            "which targets to look at",
            (
                Option("datamodels", "path", "datamodels.pt to read", required=True),
                Option("targets", "str", "targets, e.g. 0-9,20 (inclusive)", required=True),
                Option("k", "int", "examples of each kind, at most", default=10),
                Option("labels", "path", ".npy of the labels of the training examples"),
                Option("test_labels", "path", ".npy of the labels of the targets"),
                Option("json", "flag", "print JSON", default=False),
                Option("csv", "flag", "print comma-separated values", default=False),
            ),
        ),
    ),
    aliases={"json": "top.json", "csv": "top.csv"},
    strict=True,
)

CLUSTERS = Command(
    "datamodels.analysis.clusters",
    "find subpopulations: principal components and clusters of the weights, as table and picture",
    (
        OptionSection(
            "clusters",
            "what to embed, and how to show it",
            (
                Option("datamodels", "path", "datamodels.pt to read", required=True),
                Option("out", "path", "folder to write; must not exist already", required=True),
                Option(
                    "of",
                    "str",
                    "what to embed by its weights: train (examples) or targets",
                    default="train",
                ),
                Option(
                    "exclude_own",
                    "flag",
                    "targets are the training examples: leave each one's own weight out",
                    default=False,
                ),
                Option("components", "int", "principal components to compute", default=10),
                Option(
                    "normalize",
                    "bool",
                    "bring the weights of each to length 1 before the components",
                    default=True,
                ),
                Option("n_clusters", "int", "clusters to find", default=10),
                Option("neighbors", "int", "of each one in the graph of clusters", default=10),
                Option("k", "int", "members to show at each end of a component", default=7),
                Option("seed", "int", "of clusters and map", default=0),
                Option("images", "path", ".npy of the images of what is embedded"),
                Option("labels", "path", ".npy of the labels of what is embedded"),
                Option("shown", "str", "components in the picture, e.g. 0-2,5", default="0-3"),
                Option(
                    "map",
                    "str",
                    "of the picture: tsne, or pca; auto is tsne up to 10,000 members",
                    default="auto",
                ),
                Option("title", "str", "a line above the picture"),
                Option("cmap", "str", "matplotlib's name of a grey scale", default="gray"),
            ),
        ),
    ),
    strict=True,
)

LEAKAGE = Command(
    "datamodels.analysis.leakage",
    "rank pairs of training example and target that may be copies: weights beyond all others",
    (
        OptionSection(
            "leakage",
            "where to look",
            (
                Option("datamodels", "path", "datamodels.pt to read", required=True),
                Option(
                    "expected",
                    "float",
                    "list pairs as large as fewer than so many would be by chance",
                    default=0.05,
                ),
                Option("n", "int", "list so many pairs instead, however large"),
                Option(
                    "exclude_own",
                    "flag",
                    "targets are the training examples: look for duplicates among them",
                    default=False,
                ),
                Option("out", "path", ".csv to write the list to"),
            ),
        ),
    ),
    strict=True,
)

MISLABELLED = Command(
    "datamodels.analysis.mislabelled",
    "rank training examples that may be mislabelled, by their weights",
    (
        OptionSection(
            "mislabelled",
            "the weights to judge by, one of them or both",
            (
                Option(
                    "own",
                    "path",
                    "datamodels.pt whose targets are the training examples' own outputs",
                ),
                Option("test", "path", "datamodels.pt whose targets are test examples"),
                Option("labels", "path", ".npy of the labels of the training examples"),
                Option("n", "int", "examples to list", default=20),
                Option("out", "path", ".csv to write all scores to"),
            ),
        ),
    ),
    strict=True,
)

COMPARE = Command(
    "datamodels.analysis.compare",
    "compare two datamodels of the same data: what one relies on and the other does not",
    (
        OptionSection(
            "compare",
            "the two, and where to",
            (
                Option("a", "path", "datamodels.pt", required=True),
                Option("b", "path", "another, of the same examples and targets", required=True),
                Option("components", "int", "directions of difference, each way", default=5),
                Option("k", "int", "examples and targets to list for each", default=8),
                Option("labels", "path", ".npy of the labels of the training examples"),
                Option("out", "path", ".npz to write distances and directions to"),
            ),
        ),
    ),
    strict=True,
)

INFLUENCE = Command(
    "datamodels.analysis.influence",
    "estimate weights another way, with standard errors: difference of means, or ridge",
    (
        OptionSection(
            "influence",
            "the rows to use, and how",
            (
                Option("data_path", "path", "store folder or .beton file", required=True),
                Option("x_name", "str", "array of masks", default="masks"),
                Option("y_name", "str", "array of outputs", default="margins"),
                Option("rows", "str", "rows to use, e.g. 0-9999 (default: all complete rows)"),
                Option("estimator", "str", "difference (of means) or ridge", default="difference"),
                Option("lam", "float", "lambda of ridge, without a unit (default: by GCV)"),
                Option("target_start_ind", "int", "first target", default=0),
                Option("target_end_ind", "int", "end of the targets (-1: all)", default=-1),
                Option("memory_gb", "float", "memory to use (default: 60% of what is free)"),
                Option("out", "path", ".npz to write; must not exist already", required=True),
            ),
        ),
    ),
    strict=True,
)

REPORT = Command(
    "datamodels.analysis.report",
    "write one HTML file that shows what datamodels say and how far to trust them",
    (
        OptionSection(
            "report",
            "what to show, and how",
            (
                Option("datamodels", "path", "datamodels.pt to show", required=True),
                Option("store", "path", "the store they were fitted to", required=True),
                Option("out", "path", "the .html to write; must not exist", required=True),
                Option("images", "path", ".npy of the images of the training examples"),
                Option("test_images", "path", ".npy of the images of the targets"),
                Option("labels", "path", ".npy of the labels of the training examples"),
                Option("test_labels", "path", ".npy of the labels of the targets"),
                Option("class_names", "path", "text file that names label 0, 1, ..., one a line"),
                Option(
                    "renderer",
                    "str",
                    "module:function that draws an example, called as function('train', index) or "
                    "('test', index): returns an image, bytes of a PNG file, text or HTML",
                ),
                Option(
                    "own",
                    "path",
                    "datamodels.pt whose targets are the training examples' own outputs, to find "
                    "wrong labels by",
                ),
                Option("curve", "path", "folder of a learning curve"),
                Option("clusters", "path", "folder of clusters of the training examples"),
                Option(
                    "exclude_own",
                    "flag",
                    "targets are the training examples: leave out the weight of each on itself",
                    default=False,
                ),
                Option(
                    "rows",
                    "str",
                    "models to score on, e.g. 1600-1999, or evaluation, as of the command "
                    "evaluation.lds (default: complete rows not in the fit)",
                ),
                Option("x_name", "str", "array of masks (default: the fit's, or masks)"),
                Option("y_name", "str", "array of outputs (default: the fit's, or margins)"),
                Option("targets", "str", "targets with pages, e.g. 0-99 (default: the first 1000)"),
                Option("k", "int", "helpful and harmful examples of each target", default=8),
                Option("title", "str", "heading of the report"),
                Option(
                    "cmap",
                    "str",
                    "of grey images: gray, gray_r (dark on light) or another of matplotlib's",
                    default="gray",
                ),
            ),
        ),
    ),
    strict=True,
)

COMMANDS = (
    INITIALIZE_STORE,
    WORKER,
    LAUNCH,
    ESTIMATE,
    WRITE_DATASET,
    COMPUTE_DATAMODELS,
    MOMENTS,
    MERGE,
    LDS,
    STATUS,
    GROW,
    VERIFY,
    MERGE_STORES,
    COUNTERFACTUALS,
    SUPPORT,
    RETRAINED,
    LEARNING_CURVE,
    LINEAR_SHARE,
    TOP,
    CLUSTERS,
    LEAKAGE,
    MISLABELLED,
    COMPARE,
    INFLUENCE,
    REPORT,
    *PUBLISHED_COMMANDS,
)


def known_names() -> set[str]:
    """Full names of all options of all commands."""
    return {name for command in COMMANDS for name in command.options()}
