"""A command run in this process: a new one takes seconds to import numba and torch."""

import subprocess
import sys
import warnings

import pytest


def _show(message, *_, **__):
    print(f"warning: {message}", file=sys.stderr)


@pytest.fixture
def run_here(monkeypatch, capsys, tmp_path):
    """``run_here(compute_datamodels.main, "--cfg.k=5", ...)`` in ``tmp_path``; what came of it."""

    def run_main(main, *arguments):
        import fastargs
        import fastargs.state

        fastargs.state.set_current_config(fastargs.Config())
        monkeypatch.setattr(sys, "argv", [main.__module__, *map(str, arguments)])
        monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            monkeypatch.setattr(warnings, "showwarning", _show)
            status = main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(sys.argv, status, said.out, said.err)

    return run_main
