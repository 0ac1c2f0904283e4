import sys
import warnings

import fastargs.state
import pytest

from datamodels.cli.catalogue import COMPUTE_DATAMODELS, WORKER
from datamodels.cli.option import Command, Option, OptionSection
from datamodels.cli.runner import misspelled, run
from datamodels.cli.shared_config import SharedConfig


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


SHORT = Command(
    "datamodels.short",
    "a command with a word and a short name",
    (
        OptionSection(
            "short",
            "",
            (
                Option("logdir", "path", "a folder", required=True),
                Option("json", "flag", "as JSON", default=False),
                Option("rows", "int", "a number", default=7),
            ),
        ),
    ),
    positional="short.logdir",
    aliases={"json": "short.json", "n": "short.rows"},
)


def values_of(monkeypatch, *argv):
    """The values that ``SHORT`` is run with; or the exit status."""
    found = []
    monkeypatch.setattr(sys, "argv", ["short", *argv])
    monkeypatch.setitem(fastargs.state.STATE, "config", SharedConfig())
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    status = run(SHORT, found.append)
    return found[0] if found else status


@pytest.mark.parametrize(
    "argv",
    [
        ["DIR", "--json", "--n=3"],
        ["--json", "DIR", "--n", "3"],
        ["--n", "3", "--short.json", "DIR"],
        ["--short.logdir=DIR", "--json=yes", "--short.rows=3"],
        ["--n=9", "DIR", "--json=false", "--json", "--short.rows=3"],
    ],
)
def test_a_word_and_short_names_set_options(monkeypatch, argv):
    assert values_of(monkeypatch, *argv) == {
        "short.logdir": "DIR", "short.json": True, "short.rows": 3}  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "needle"),
    [
        ([], "--short.logdir is required"),
        (["--json"], "--short.logdir is required"),
        (["a", "b"], "one word at most"),
        (["a", "--short.logdir=b"], "both set short.logdir"),
        (["a", "-x"], "'-x' is no option"),
        (["a", "--jsn"], "did you mean --json?"),
        (["a", "--short.jsno"], "did you mean --short.json?"),
        (["a", "--n=x"], "--short.rows=x is not an integer"),
        (["a", "--n"], "--n needs a value"),
        ([""], "--short.logdir= is not a path"),
    ],
)
def test_wrong_words_and_short_names_are_named(monkeypatch, capsys, argv, needle):
    assert values_of(monkeypatch, *argv) == 2
    assert needle in capsys.readouterr().err


def test_short_names_hold_on_the_command_line_only(monkeypatch, tmp_path):
    (tmp_path / "c.yml").write_text("json: true\nn: 3\nshort: {logdir: there}\n")
    assert values_of(monkeypatch, "-C", str(tmp_path / "c.yml")) == {
        "short.logdir": "there", "short.json": False, "short.rows": 7}  # fmt: skip
    monkeypatch.setenv("short.logdir", "of the environment")
    assert values_of(monkeypatch, "DIR")["short.logdir"] == "of the environment"


def test_help_tells_words_and_short_names(monkeypatch, capsys):
    assert values_of(monkeypatch, "--help") == 0
    said = capsys.readouterr().out
    assert "python -m datamodels.short [LOGDIR] " in said
    assert "--json is short for --short.json." in said


def test_a_command_names_only_options_of_its_own():
    with pytest.raises(ValueError, match="must be options"):
        Command("m", "", SHORT.sections, positional="short.folder")
    with pytest.raises(ValueError, match="all its own"):
        Command("m", "", SHORT.sections, positional="short.logdir", user_options=True)
