"""What a download will cost, and whether whoever pays agrees."""

from pathlib import Path

from datamodels.cli.amounts import bytes_text
from datamodels.errors import DatamodelsError, UsageError
from datamodels.published.catalogue import USD_PER_GIB
from datamodels.published.plan import Item, Plan
from datamodels.published.tables import columns, cost_text, rows_text

_NO_ANSWER = "this costs money, and there is no terminal to ask on: add --yes. Nothing was fetched"


def offer_lines(plan: Plan, root: Path) -> list[str]:
    """What is to be fetched into ``root``, and what that costs."""
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


def agree(plan: Plan, *, may_ask: bool) -> None:
    """Return only where whoever pays agrees; UsageError where nobody can be asked."""
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


def refuse_more(plan: Plan, shown: Plan) -> None:
    """DatamodelsError where ``plan`` would fetch more bytes than the one that was ``shown``."""
    if plan.size > shown.size:
        raise DatamodelsError(
            f"{bytes_text(plan.size)} are missing now, and {bytes_text(shown.size)} were agreed to:"
            " files came to the bucket or went from the disk meanwhile. Nothing was fetched; run "
            "the same command again, which shows what it costs now"
        )
