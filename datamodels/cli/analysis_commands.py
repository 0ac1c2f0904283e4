"""Commands of ``datamodels.analysis`` and their options, as data."""

from datamodels.cli.option import Command, Option, OptionSection

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
                Option(
                    "components",
                    "int",
                    "directions of difference, each way (default: 5, or as many as there are)",
                ),
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
                Option(
                    "rows",
                    "str",
                    "rows to use, e.g. 0-9999, or evaluation of a view (default: all complete "
                    "rows, but those that a view holds out for evaluation)",
                ),
                Option(
                    "mask_id",
                    "str",
                    "integer array: rows of one id are trainings of one mask, whose outputs are "
                    "averaged (default: mask_id, if the store has it)",
                ),
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
