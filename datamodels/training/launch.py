"""``python -m datamodels.training.launch``: run ``main`` for every missing row, wherever."""

import shlex
import sys
from dataclasses import fields

from datamodels.cli.catalogue import LAUNCH
from datamodels.cli.command_line import without_options
from datamodels.cli.runner import Values, run, section
from datamodels.errors import DatamodelsError
from datamodels.training.launcher.config import LaunchConfig, LaunchResult
from datamodels.training.launcher.fill import fill_store, run_launch
from datamodels.training.launcher.slurm_options import SlurmOptions
from datamodels.training.launcher.summary import failures
from datamodels.training.launcher.worker_options import refuse_worker_options
from datamodels.training.store import Store
from datamodels.training.supervisor import terminated_as_exit

__all__ = ["fill_store", "main"]

# What is asked of a cluster alone; other options of SlurmOptions are those of every engine.
_SLURM = (
    "partition", "account", "time", "gpus", "memory", "cpus", "sbatch", "resubmissions",
    "signal_seconds", "poll_seconds",
)  # fmt: skip


def main() -> int:
    """The command; returns its exit status."""
    return run(LAUNCH, _launch)


def _launch(values: Values) -> int:
    given = section(values, "launch") | section(values, "worker")
    slurm = {f.name: given[f.name] for f in fields(SlurmOptions) if f.name in _SLURM}
    given["slurm"] = SlurmOptions(**slurm)
    config = LaunchConfig(**{f.name: given[f.name] for f in fields(LaunchConfig)})
    refuse_worker_options(LAUNCH, "launch")
    options = without_options(sys.argv[1:], LAUNCH.options())
    try:
        with terminated_as_exit():
            result = run_launch(config, options)
        if result.interrupted:
            raise KeyboardInterrupt
    except (KeyboardInterrupt, SystemExit):  # Ctrl-C, SIGTERM
        _say_how_to_go_on(config)
        raise
    _report(result, config)
    handed_over = result.command or (result.jobs and not config.wait)
    return 0 if result.is_complete or handed_over else 1


def _say_how_to_go_on(config: LaunchConfig) -> None:
    try:
        store = Store.open(config.logdir)
        done = f"{int(store.completed.sum())} of {store.num_models} rows are complete"
    except DatamodelsError:
        done = "interrupted"
    again = shlex.join(["python", "-m", LAUNCH.module, *sys.argv[1:]])
    print(f"\n{done}; the same command goes on with the others:\n  {again}", file=sys.stderr)


def _report(result: LaunchResult, config: LaunchConfig) -> None:
    if result.command:
        print(result.command)
        return
    # Of parallel, standard output holds the line for the shell and nothing else.
    stream = sys.stderr if config.engine == "parallel" else sys.stdout
    print(f"{result.complete} of {result.asked} rows are complete", file=stream)
    if result.jobs and not result.is_complete:
        print(f"submitted: job {', '.join(result.jobs)}; the same command follows it")
    if result.set_aside:
        layout = Store.open(config.logdir).layout
        print(failures(layout, result.set_aside, result.reasons), file=sys.stderr)


if __name__ == "__main__":
    raise SystemExit(main())
