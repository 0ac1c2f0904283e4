import argparse
import sys

import fastargs.state
import pytest
from fastargs import Param, Section, get_current_config

from datamodels.cli.catalogue import WORKER
from datamodels.cli.shared_config import SharedConfig, current_config, declare
from datamodels.errors import UsageError
from datamodels.training.utils import make_config


@pytest.fixture(autouse=True)
def fresh_config(monkeypatch):
    """Each test starts with fastargs as a new process has it."""
    monkeypatch.setitem(fastargs.state.STATE, "config", None)


def argv(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["prog", *words])


def test_what_was_declared_before_is_kept(monkeypatch):
    Section("early").params(a=Param(int, default=1))
    old = get_current_config()
    config = current_config()
    assert isinstance(config, SharedConfig)
    assert get_current_config() is config
    argv(monkeypatch, "--early.a=5")
    make_config(quiet=True)
    assert config["early.a"] == 5
    assert old["early.a"] == 5  # whoever holds the old object sees the same values


def test_options_declared_late_are_found_by_a_later_call(monkeypatch):
    argv(monkeypatch, "--late.a=5", "--worker.index=3", "--verbose", "stray")
    declare(WORKER)
    current_config().collect_argv()
    Section("late").params(a=Param(int, required=True))
    config = current_config().collect_argv()
    assert config["late.a"] == 5
    assert config["worker.index"] == 3


@pytest.mark.parametrize("words", [["--verbose"], ["--other.x", "3"], ["-q"], ["stray"]])
def test_a_users_own_parser_passes_over_what_nobody_declared(monkeypatch, words):
    declare(WORKER)
    Section("mine").params(n=Param(int, default=1), on=Param(bool, is_flag=True))
    argv(monkeypatch, "--worker.index=3", "--mine.n=4", "--mine.on", *words)
    config = get_current_config()
    parser = argparse.ArgumentParser()
    config.augment_argparse(parser)
    config.collect_argparse_args(parser)
    assert (config["mine.n"], config["mine.on"], config["worker.index"]) == (4, True, 3)


@pytest.mark.parametrize(("given", "value"), [("False", False), ("no", False), ("1", True)])
def test_booleans_mean_what_they_say(monkeypatch, given, value):
    Section("training").params(lr_tta=Param(bool, default=True))
    argv(monkeypatch, f"--training.lr_tta={given}")
    assert make_config(quiet=True)["training.lr_tta"] is value


def test_a_boolean_that_is_none_is_an_error(monkeypatch):
    Section("training").params(lr_tta=Param(bool, default=True))
    argv(monkeypatch, "--training.lr_tta=maybe")
    with pytest.raises(UsageError, match="maybe"):
        make_config(quiet=True)


def test_a_flag_in_a_file_is_not_overruled_by_its_absence(monkeypatch, tmp_path):
    (tmp_path / "c.yml").write_text("mine:\n  quick: true\n")
    Section("mine").params(quick=Param(bool, is_flag=True))
    argv(monkeypatch, "-C", str(tmp_path / "c.yml"))
    config = get_current_config()
    assert make_config(quiet=True)["mine.quick"] is True
    config = get_current_config()
    parser = argparse.ArgumentParser()
    config.augment_argparse(parser)
    config.collect_argparse_args(parser)
    assert config["mine.quick"] is True


def test_precedence(monkeypatch, tmp_path):
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.yml").write_text(
            f"s:\n  file: {value}\n  cli: {value}\n  env: {value}\n"
        )
    Section("s").params(**{name: Param(int, default=0) for name in ("file", "cli", "env", "none")})
    argv(monkeypatch, "-C", str(tmp_path / "a.yml"), "-C", str(tmp_path / "b.yml"),
         "--s.cli=3", "--s.env=3")  # fmt: skip
    monkeypatch.setenv("s.env", "4")
    config = make_config(quiet=True)
    assert [config[f"s.{name}"] for name in ("none", "file", "cli", "env")] == [0, 2, 3, 4]


def test_a_missing_required_option_ends_with_status_2_and_plain_text(monkeypatch, capsys):
    Section("s").params(n=Param(int, required=True))
    argv(monkeypatch)
    with pytest.raises(SystemExit) as caught:
        make_config()
    assert caught.value.code == 2
    assert "s.n" in capsys.readouterr().err


def test_tables_have_no_escape_codes_in_a_log(monkeypatch, capsys):
    Section("s", "a section").params(n=Param(int, "a number", default=3))
    argv(monkeypatch)
    make_config()
    said = capsys.readouterr().err
    assert "s.n" in said
    assert "\x1b" not in said
    argv(monkeypatch, "--help")
    with pytest.raises(SystemExit) as caught:
        make_config()
    assert caught.value.code == 0
    help_text = capsys.readouterr().out
    assert "a number" in help_text
    assert "\x1b" not in help_text


def test_conf_path_is_read_first(monkeypatch, tmp_path):
    (tmp_path / "c.yml").write_text("s.n: 5\ns.m: 5\n")
    Section("s").params(n=Param(int), m=Param(int))
    argv(monkeypatch, "--s.m=6")
    config = make_config(quiet=True, conf_path=tmp_path / "c.yml")
    assert (config["s.n"], config["s.m"]) == (5, 6)
