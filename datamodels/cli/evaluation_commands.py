"""Commands of ``datamodels.evaluation`` and their options, as data."""

from datamodels.cli.option import Command, Option, OptionSection

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
                    "files holds out (default: complete rows not in the fit; where it is not known "
                    "which these are, evaluation of a view, and all of another store)",
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
                Option(
                    "mask_id",
                    "str",
                    "integer array: rows of one id are trainings of one mask; residuals are of "
                    "masks that were not fitted (default: mask_id, if the store has it)",
                ),
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
                    "score on so many of the last complete rows (default: a fifth of them; of a "
                    "view of published files those that it holds out, and no others)",
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
                    "of the rows that choose lambda, the folds, the bootstrap and the "
                    "extrapolation",
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
                    "rows to use, e.g. 0-999, or evaluation of a view (default: all complete rows; "
                    "evaluation, where it is not known what the datamodels were fitted to); what "
                    "datamodels explain is measured on those that took no part in the fit",
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
