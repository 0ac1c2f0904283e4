import pytest

from datamodels.cli.catalogue import COMPUTE_DATAMODELS, WORKER
from datamodels.cli.runner import misspelled


def outcome(capsys, command, name, **where):
    """What one given name leads to: "error", "warning" or "nothing"."""
    faults = misspelled(command, [name], **where)
    said = capsys.readouterr().err
    return "error" if faults else "warning" if said.startswith("warning: ") else "nothing"


@pytest.mark.parametrize(
    ("name", "on_command_line", "in_file"),
    [
        ("cfg.k", "nothing", "nothing"),
        ("cfg.out_path", "nothing", "nothing"),  # of another command of ours
        ("cfg.epss", "error", "error"),
        ("data.num_tran", "error", "error"),
        ("cfg.tolerance", "warning", "warning"),  # in our section, and near to nothing
        ("data.train_dataset", "warning", "warning"),
        ("cgf.eps", "error", "warning"),  # a near miss of the section
        ("early_stoping.check_every", "error", "warning"),
        ("training.epochs", "warning", "nothing"),
        ("verbose", "warning", "nothing"),
        ("out_dir", "error", "nothing"),
    ],
)
def test_names_that_nobody_declared(capsys, name, on_command_line, in_file):
    assert outcome(capsys, COMPUTE_DATAMODELS, name) == on_command_line
    assert outcome(capsys, COMPUTE_DATAMODELS, name, in_file=True) == in_file


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("worker.logdr", "error"),
        ("worker.banana", "warning"),
        ("wroker.index", "nothing"),  # until the module is imported
        ("trainer.multiple", "nothing"),
        ("data.num_tran", "nothing"),  # may be an option of the user's module
        ("verbose", "nothing"),
        ("logdir", "nothing"),
    ],
)
def test_a_users_module_may_own_any_other_section(capsys, name, expected):
    assert outcome(capsys, WORKER, name) == expected


def test_an_option_under_another_of_our_sections_is_named():
    from datamodels.cli.catalogue import COMPUTE_DATAMODELS
    from datamodels.cli.runner import misspelled

    assert misspelled(COMPUTE_DATAMODELS, ["cfg.seed"]) == [
        "unknown option --cfg.seed: did you mean --data.seed?"
    ]
