"""The final table of `carillon send`: delivered, suppressed, failed and why, and the rows that were not taken."""

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from carillon.sending.job import Outcomes

_SHOWN = 20


def print_report(console: Console, outcomes: "Outcomes") -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("outcome")
    table.add_column("count", justify="right")
    table.add_column("why", overflow="fold")
    for (status, reason), count in sorted(outcomes.ended.items()):
        table.add_row(status, str(count), reason)
    if outcomes.unsettled:
        table.add_row("pending", str(outcomes.unsettled), "still on the way; the same command asks again")
    if outcomes.refused:
        table.add_row("refused", str(len(outcomes.refused)), "see the lines below")
    if outcomes.bad_rows:
        table.add_row("bad rows", str(len(outcomes.bad_rows)), "see the lines below")
    console.print(table)
    if outcomes.sent_before:
        console.print(f"{outcomes.sent_before} of these had been accepted before; nothing was sent twice.")
    not_taken = sorted([*outcomes.bad_rows, *outcomes.refused], key=lambda row: row.line)
    for row in not_taken[:_SHOWN]:
        console.print(f"line {row.line}: {row.reason}", markup=False, highlight=False)
    if len(not_taken) > _SHOWN:
        console.print(f"… and {len(not_taken) - _SHOWN} more lines")
