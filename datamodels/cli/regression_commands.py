"""Commands of ``datamodels.regression`` and their options, as data."""

from datamodels.cli.option import Command, Option, OptionSection

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
                    "rows of the store, e.g. 0-9999 (inclusive), or evaluation of a view; "
                    "incomplete ones are left out (default: all complete rows, but those that a "
                    "view holds out for evaluation)",
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
