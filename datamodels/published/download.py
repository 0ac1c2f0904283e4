"""``python -m datamodels.published download``: fetch published files, or rows of them.

What is there is not fetched again. What it will cost is shown first, and asked about on a
terminal; ``--yes`` is the answer of scripts. ``--dry_run`` ends where money would be spent. What
the bucket lacks keeps nothing else from being fetched; the status is 1 then.
"""

import shutil
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile

from datamodels.cli.amounts import bytes_text
from datamodels.cli.progress import ProgressLine
from datamodels.cli.published_commands import PUBLISHED_DOWNLOAD
from datamodels.cli.runner import Values, run, section, warn
from datamodels.errors import DatamodelsError, UsageError
from datamodels.files import missing_folders, remove_empty
from datamodels.published.catalogue import USD_PER_GIB, PublishedFile
from datamodels.published.evaluation_rows import NOTHING_TOLD, Told
from datamodels.published.layout import PublishedLayout
from datamodels.published.links import NoLinksError
from datamodels.published.partial_file import Source
from datamodels.published.plan import Item, Plan, make_plan
from datamodels.published.retries import persistently
from datamodels.published.s3 import Bucket
from datamodels.published.selection import Rows, select
from datamodels.published.tables import columns, cost_text, rows_text
from datamodels.published.transfer import Transfer
from datamodels.published.view import refresh_view

_LIMITS = {"workers": (1, 256), "chunk_mib": (1, 4096), "retries": (0, 1000)}
_NO_ANSWER = "this costs money, and there is no terminal to ask on: add --yes. Nothing was fetched"


def main() -> int:
    """The command; returns its exit status."""
    return run(PUBLISHED_DOWNLOAD, _download)


def _download(values: Values) -> int:
    options = section(values, "download")
    _check_limits(options)
    root = Path(options["root"])
    refuse_file(root)
    rows = None if options["rows"] is None else Rows(options["rows"])
    told = Told(options["evaluation"], options["n_evaluation"])
    files = select(options["dataset"], options["alpha"], options["kinds"], options["splits"])
    may_ask = not options["yes"] and _on_terminal()
    will_write = not options["dry_run"] and (options["yes"] or may_ask)

    @cache
    def bucket() -> Bucket:  # made only where something is missing
        if will_write:
            check_writable(root, files)
        return Bucket(connections=options["workers"])

    @cache
    def head(key: str) -> Source:
        return persistently(lambda: bucket().head(key), options["retries"])

    def read(source: Source, start: int, stop: int) -> bytes:
        return persistently(
            lambda: b"".join(bucket().read(source, start, stop)), options["retries"]
        )

    def planned(*, agreed: bool) -> Plan:
        """Without agreement no byte of an object is read."""
        return make_plan(root, files, rows, head=head, read=read if agreed else None,
                         evaluation=told)  # fmt: skip

    plan = planned(agreed=options["yes"] and not options["dry_run"])
    for absent in (*plan.not_there, *plan.absent):
        warn(absent.reason)
    if plan.items:
        print("\n".join(_lines(plan, root)), flush=True)
        if options["dry_run"]:
            print("nothing was fetched: this was a dry run")
            return _status(plan)
        if not options["yes"]:
            if not plan.at_most:
                check_space(plan.size, root)
            _agree(plan, may_ask=may_ask)
            plan = planned(agreed=True)  # others may have fetched some of it meanwhile
        check_space(plan.size, root)
        _fetch(bucket(), plan, root, options)
    elif plan.complete and not plan.absent:
        print(f"nothing is missing: all that was asked for is in {root}")
    if root.is_dir() and not options["dry_run"]:
        show_views(root, files, told)
    return _status(plan)


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


def _fetch(bucket: Bucket, plan: Plan, root: Path, options: Values) -> None:
    transfer = Transfer(
        bucket,
        plan,
        workers=options["workers"],
        chunk=options["chunk_mib"] * 2**20,
        retries=options["retries"],
    )
    try:
        with _ended_by_sigterm(), ProgressLine("B") as progress:
            transfer.run(lambda received: progress("fetching", min(received, plan.size), plan.size))
    except BaseException:
        came = bytes_text(transfer.kept)
        print(f"{came} came and are kept; the same command goes on from there", file=sys.stderr)
        with suppress(DatamodelsError, OSError):  # files that got their names meanwhile
            for setting in {(item.published.dataset, item.published.alpha) for item in plan.items}:
                refresh_view(root, *setting)
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


def refuse_file(root: Path) -> None:
    """UsageError where ``root`` is no folder, and cannot be one."""
    above = (missing_folders(root) or [root / "x"])[-1].parent
    if not above.is_dir():
        raise UsageError(
            f"{root} cannot be a folder: {above} is a file. Name another --download.root"
        )


def check_writable(root: Path, files: Iterable[PublishedFile]) -> None:
    """DatamodelsError unless ``files`` can be written below ``root``: to know it once they come
    would be late, as they are paid for."""
    for folder in {PublishedLayout(root).file(file.key).parent for file in files}:
        made = missing_folders(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise DatamodelsError(
                f"{folder} cannot be written ({error.strerror}), and nothing was fetched. Let "
                "yourself write there, or name another --download.root"
            ) from None
        finally:
            remove_empty(made)


def check_space(size: int, root: Path) -> None:
    """DatamodelsError unless the disk of ``root`` has room for ``size`` more bytes."""
    folder = (missing_folders(root) or [root / "x"])[-1].parent
    free = shutil.disk_usage(folder).free
    if size > free:
        raise DatamodelsError(
            f"{bytes_text(size)} are to be fetched, and {folder} has {bytes_text(free)} free. Free "
            "some, name a place on another disk, or fetch fewer files or rows (--download.rows)"
        )


def _lines(plan: Plan, root: Path) -> list[str]:
    rows = [
        (item.published.key, _what(item), bytes_text(item.size), cost_text(item.size))
        for item in plan.items
    ]
    rows.append(("together", "", bytes_text(plan.size), cost_text(plan.size)))
    return [
        *(f"{file.key} is there already" for file in plan.complete),
        *columns(rows, "llrr"),
        f"into {root}, at {USD_PER_GIB} USD a GiB from Amazon S3 to the internet, which the AWS "
        "account of your credentials pays",
    ]


def _what(item: Item) -> str:
    if item.at_most:
        return "rows of it, at most all"
    if item.rows is None:
        return "the rest of it" if item.begun else "all of it"
    rows = rows_text(item.rows)
    return f"{'row' if rows.isdigit() else 'rows'} {rows}{', the rest' if item.begun else ''}"


def _agree(plan: Plan, *, may_ask: bool) -> None:
    """Return only where whoever pays agrees."""
    if not plan.size:
        return
    if not may_ask:
        raise UsageError(_NO_ANSWER)
    try:
        answer = input("Fetch and pay? [y/N] ")
    except EOFError:  # Ctrl-D, which ends no line
        print()
        answer = ""
    except KeyboardInterrupt:
        print()
        raise
    if answer.strip().lower() not in ("y", "yes"):
        raise DatamodelsError("nothing was fetched, as you said")


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


def _check_limits(options: Values) -> None:
    for name, (least, most) in _LIMITS.items():
        if not least <= options[name] <= most:
            raise UsageError(
                f"--download.{name}={options[name]} is out of range; write {least} to {most}"
            )
