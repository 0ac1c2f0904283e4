"""``python -m datamodels.training.estimate``: what a store will cost, before it is begun.

Runs ``main`` for a few rows into a store that is thrown away, with as many workers at once as there
will be, and prints seconds a model, the time that numbers of models take here, and the disk.
"""

import json
import sys
from statistics import fmean

from datamodels.cli.amounts import bytes_text, span_text
from datamodels.cli.catalogue import ESTIMATE
from datamodels.cli.command_line import without_options
from datamodels.cli.runner import Values, run, section
from datamodels.training.cost import Cost, estimate_cost
from datamodels.training.launcher.worker_options import refuse_worker_options
from datamodels.training.supervisor import terminated_as_exit


def main() -> int:
    """The command; returns its exit status."""
    return run(ESTIMATE, _estimate)


def _estimate(values: Values) -> None:
    given = section(values, "estimate")
    as_json = given.pop("json")
    refuse_worker_options(ESTIMATE, "estimate")
    options = without_options(sys.argv[1:], ESTIMATE.options(), flags=ESTIMATE.flags())
    with terminated_as_exit():
        cost = estimate_cost(given.pop("main_import"), **given, options=options)
    print(json.dumps(cost.to_json()) if as_json else "\n".join(_lines(cost)))


def _lines(cost: Cost) -> list[str]:
    times = cost.times
    later = times.later_calls
    count = len(times.workers)
    gpus = len(times.gpus)
    shared = f" on {gpus} {'GPU' if gpus == 1 else 'GPUs'}" if gpus else ""
    of_batch = f", {times.batch} models a call" if times.batch > 1 else ""
    begin = f"{_seconds(times.import_seconds)} until the module is imported"
    if times.first_call_seconds > 0:
        begin += f", and {_seconds(times.first_call_seconds)} more in the first call"
    lines = [
        f"{count} {'worker' if count == 1 else 'workers'} at once{shared}{of_batch}, timed on "
        f"{len(later)} calls in all after the first of each:",
        f"  start-up     {begin}",
        f"  a model      {_seconds(fmean(later))} on each worker, on average "
        f"({_seconds(min(later))} to {_seconds(max(later))})",
        f"  together     {3600 * times.rows_per_second:,.0f} models an hour",
    ]
    lines += [
        f"  GPU {name:<8} {bytes_text(most)} of {bytes_text(total)}"
        for name, most, total in zip(
            times.gpus, times.gpu_bytes, times.gpu_total_bytes, strict=False
        )
    ]
    lines += ["", f"  {'models':>9}  {'time here':<13}  arrays"]
    lines += [_row(cost, number) for number in cost.numbers()]
    lines += ["", *_disk(cost)]
    if cost.pair_table_bytes is not None:
        lines.append(
            f"  regression   {bytes_text(cost.pair_table_bytes)} of memory for all pairs of "
            f"{cost.n_train:,} training examples (twice that with folds)"
        )
    return lines


def _row(cost: Cost, number: int) -> str:
    line = (
        f"  {number:>9,}  {span_text(cost.seconds(number)):<13}  "
        f"{bytes_text(cost.array_bytes(number)):<10}"
    )
    return f"{line}  planned" if number == cost.planned else line.rstrip()


def _disk(cost: Cost) -> list[str]:
    planned = cost.array_bytes(cost.planned)
    beside = cost.times.file_bytes
    lines = [
        f"  disk         {cost.row_bytes:,} bytes a model in the arrays; {planned:,} bytes for the "
        f"{cost.planned:,} planned",
        f"               {bytes_text(round(beside))} a model in other files (its own folder, "
        f"records): {bytes_text(round(beside * cost.planned))}",
        f"               {bytes_text(cost.free_bytes)} free on the disk of {cost.place}",
    ]
    if planned + beside * cost.planned > cost.free_bytes:
        lines.append("               that is too little, if nothing of it is there yet")
    return lines


def _seconds(seconds: float) -> str:
    if seconds >= 120:
        return span_text(seconds)
    return f"{seconds:.3g} s" if seconds >= 1e-3 else f"{1e3 * seconds:.2g} ms"


if __name__ == "__main__":
    raise SystemExit(main())
