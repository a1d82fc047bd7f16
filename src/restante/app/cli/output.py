"""Lists on standard output: for people as a table, for programs a line each."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from restante.app.cli.options import is_terminal


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, empty: str) -> None:
    """Show `rows` on a terminal under `headings`; elsewhere as lines divided by tabs.

    On a terminal a column is left out that is empty in all rows; lines of programs have all.
    empty: what is said where there are no rows, on standard error, as it is no row.
    The texts must be free of control characters; see `restante.app.logs.one_line`.
    """
    if not rows:
        print(empty, file=sys.stderr)
        return
    if not is_terminal(sys.stdout):
        for row in rows:
            print("\t".join(row))
        return
    from rich.console import Console  # noqa: PLC0415 - only people get a table
    from rich.table import Table  # noqa: PLC0415

    columns = [column for column in zip(headings, *rows, strict=True) if any(column[1:])]
    table = Table()
    for heading, *_ in columns:
        table.add_column(heading, overflow="fold")  # what doesn't fit is never cut off
    for cells in zip(*(column[1:] for column in columns), strict=True):
        table.add_row(*cells)
    Console(markup=False).print(table)
