"""A table with a column for each method, and a row for each thing that is said of it."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from tetrad.locales import width_of, wrap

_WIDTH = 120  # of a table that no terminal shows


def print_column_table(heads: Sequence[str], rows: Mapping[str, Sequence[Any]]) -> None:
    """Print on stdout; `rows` are the cells by their label, and long cells are wrapped."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    labels_width = max(map(width_of, rows))
    column_width = max(10, (console.width - labels_width - 4) // len(heads) - 3)  # 3: blanks and a line
    table = Table("", show_lines=True)
    for head in heads:
        table.add_column(head, overflow="fold")
    for label, cells in rows.items():
        table.add_row(label, *("\n".join(wrap(str(cell), column_width)) for cell in cells))
    console.print(table, markup=False, highlight=False)
