"""``python -m datamodels.published download``: fetch published files, or rows of them.

What is there is not fetched again. What it will cost is shown first, and asked about on a
terminal; ``--yes`` is the answer of scripts. ``--dry_run`` ends where money would be spent. What
the bucket lacks keeps nothing else from being fetched; the status is 1 then.
"""

import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from datamodels.cli.amounts import bytes_text
from datamodels.cli.progress import ProgressLine
from datamodels.cli.published_commands import PUBLISHED_DOWNLOAD
from datamodels.cli.runner import Values, run, section, warn
from datamodels.errors import DatamodelsError
from datamodels.published.agreement import agree, offer_lines, refuse_more
from datamodels.published.catalogue import PublishedFile
from datamodels.published.evaluation_rows import ASSUMED, NOTHING_TOLD, Told
from datamodels.published.layout import PublishedLayout
from datamodels.published.limits import check_limits
from datamodels.published.links import NoLinksError
from datamodels.published.order import Order
from datamodels.published.place import check_space, refuse_file
from datamodels.published.plan import Plan
from datamodels.published.selection import Rows, select
from datamodels.published.transfer import Transfer
from datamodels.published.view import refresh_view


def main() -> int:
    """The command; returns its exit status."""
    return run(PUBLISHED_DOWNLOAD, _download)


def _download(values: Values) -> int:
    options = section(values, "download")
    check_limits("download", options)
    order = _order(options)
    plan = order.plan(agreed=options["yes"] and not options["dry_run"])
    for absent in (*plan.not_there, *plan.absent):
        warn(absent.reason)
    if plan.items:
        print("\n".join(offer_lines(plan, order.root)), flush=True)
        if options["dry_run"]:
            print("nothing was fetched: this was a dry run")
            return _status(plan)
        if not options["yes"]:
            plan = _agreed_plan(order, plan)
        check_space(plan.size, order.root)
        _fetch(order, plan, chunk=options["chunk_mib"] * 2**20)
    elif plan.complete and not plan.absent:
        print(f"nothing is missing: all that was asked for is in {order.root}")
    if order.root.is_dir() and not options["dry_run"]:
        show_views(order.root, order.files, order.told)
    return _status(plan)


def _order(options: Values) -> Order:
    """What the options ask for; UsageError where that cannot be."""
    root = Path(options["root"])
    refuse_file(root)
    rows = None if options["rows"] is None else Rows(options["rows"])
    told = Told(options["evaluation"], options["n_evaluation"])
    files = select(options["dataset"], options["alpha"], options["kinds"], options["splits"])
    for file in files:  # a view would refuse them too, but once they are paid for
        held_out = told.rows(PublishedLayout(root).view(file.dataset, file.alpha)) or ASSUMED
        held_out.of(file.n_models + file.n_evaluation)
    will_write = not options["dry_run"] and (options["yes"] or _on_terminal())
    return Order(
        root,
        tuple(files),
        rows,
        told,
        workers=options["workers"],
        retries=options["retries"],
        will_write=will_write,
    )


def _agreed_plan(order: Order, shown: Plan) -> Plan:
    """What is to be fetched once whoever pays agreed to what was ``shown``: no more than that."""
    if not shown.at_most:
        check_space(shown.size, order.root)
    agree(shown, may_ask=_on_terminal())
    plan = order.plan(agreed=True)  # others may have fetched some of it meanwhile
    refuse_more(plan, shown)
    return plan


def _on_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()  # None where it was closed


def _status(plan: Plan) -> int:
    """0; DatamodelsError where the bucket lacks what it should have, or all that was asked for."""
    if plan.absent:
        names = ", ".join(absent.published.key for absent in plan.absent)
        raise DatamodelsError(
            f"{len(plan.absent)} of the files asked for could not be had from the bucket: {names}. "
            "`python -m datamodels.published list --check` asks what is there"
        )
    if not plan.items and not plan.complete:
        raise DatamodelsError(
            "nothing was fetched: all that was asked for is reported missing from the bucket, and "
            "could not be had. `python -m datamodels.published list` shows what there is"
        )
    return 0


def _fetch(order: Order, plan: Plan, *, chunk: int) -> None:
    transfer = Transfer(
        order.bucket, plan, workers=order.workers, chunk=chunk, retries=order.retries
    )
    try:
        with _ended_by_sigterm(), ProgressLine("B") as progress:
            transfer.run(lambda received: progress("fetching", min(received, plan.size), plan.size))
    except BaseException:
        came = bytes_text(transfer.kept)
        print(f"{came} came and are kept; the same command goes on from there", file=sys.stderr)
        with suppress(DatamodelsError, OSError):  # files that got their names meanwhile
            for setting in {(item.published.dataset, item.published.alpha) for item in plan.items}:
                refresh_view(order.root, *setting, order.told)
        raise
    print(f"fetched {bytes_text(transfer.received)}")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM stop a transfer as Ctrl-C does: threads write what they hold, and it is said."""

    def end(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def show_views(root: Path, files: Iterable[PublishedFile], told: Told = NOTHING_TOLD) -> None:
    """Bring the views below ``root`` that show ``files`` up to date, and tell of them; of one that
    the file system has no links for, a warning. ``told``: see :func:`refresh_view`."""
    for dataset, alpha in dict.fromkeys((file.dataset, file.alpha) for file in files):
        try:
            view = refresh_view(root, dataset, alpha, told)
        except NoLinksError as error:  # the files are there, and good
            warn(str(error))
            continue
        if view is not None:
            print(f"as a store: {view}")
            for remark in view.remarks:
                warn(remark)
