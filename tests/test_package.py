import importlib
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import datamodels
from datamodels.cli.catalogue import COMMANDS
from tests.conftest import ROOT, assert_fails

NOTHING_REQUIRED = ["datamodels.published list"]
MODULES = [command.module for command in COMMANDS]


def test_import_loads_nothing_heavy():
    code = "import sys, datamodels; print(*sorted(set(sys.modules) & {'torch', 'numba', 'numpy'}))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert said.stdout.strip() == "", said


PACKAGES = ["datamodels", *(f"datamodels.{name}" for name in
            ("training", "regression", "evaluation", "analysis"))]  # fmt: skip


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_exist_and_unknown_ones_do_not(name):
    package = importlib.import_module(name)
    for public in package.__all__:
        assert getattr(package, public) is not None
    assert not hasattr(package, "nothing")


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_is_quick(name):
    code = f"import sys, {name}; print(*sorted(set(sys.modules) & {{'torch', 'numba', 'scipy'}}))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (said.returncode, said.stdout.strip()) == (0, ""), said


def test_it_is_typed():
    assert (Path(datamodels.__file__).parent / "py.typed").exists()


def test_the_commands_are_listed_a_line_each(run):
    result = run("")
    assert result.returncode == 0
    for module in MODULES:
        assert sum(module in line for line in result.stdout.splitlines()) == 1
    assert_fails(run("", "nonsense"), 2, "nonsense")


@pytest.mark.parametrize("module", MODULES)
def test_every_command_explains_itself(run, module):
    short = module.removeprefix("datamodels.")
    told = run(short, "--help")
    assert told.returncode == 0
    assert told.stderr == ""  # no warning of a name imported twice
    command = next(command for command in COMMANDS if command.module == module)
    for name in command.options():
        assert name in told.stdout
    assert run(short, "--version").stdout.strip() == f"datamodels {datamodels.__version__}"


@pytest.mark.parametrize("module", [m for m in MODULES if m not in NOTHING_REQUIRED])
def test_a_missing_required_option_is_a_failure(run, module):
    assert_fails(run(module.removeprefix("datamodels.")), 2, "is required")


@pytest.mark.parametrize("module", MODULES)
def test_a_misspelled_option_names_the_nearest(run, module):
    command = next(command for command in COMMANDS if command.module == module)
    option = max(command.options(), key=len)
    misspelled = option[:-2] + option[-1]
    result = run(module.removeprefix("datamodels."), f"--{misspelled}=1")
    assert_fails(result, 2, f"did you mean --{option}?")


def test_modules_and_functions_never_share_a_name():
    # Users import the function from there, and callers agreed on the name.
    allowed = {"datamodels.regression.write_dataset", "datamodels.analysis.sparsity"}
    for module in pkgutil.walk_packages(datamodels.__path__, "datamodels."):
        last = module.name.rpartition(".")[2]
        if module.name not in allowed and last != "__main__":
            assert not callable(getattr(importlib.import_module(module.name), last, None))


def test_output_that_nobody_reads_is_no_traceback():
    words = f"{sys.executable} -m datamodels.training.worker --help | head -1"
    said = subprocess.run(words, shell=True, capture_output=True, text=True, cwd=ROOT)
    assert said.stderr == ""
