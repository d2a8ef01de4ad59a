"""Tables for the terminal."""

from typing import Any

from rich.table import Table


def errors_table(errors: dict[str, dict[str, dict[str, Any]]]) -> Table:
    """Errors in per cent with their 95% intervals: a row for each method, a column for each split."""
    table = Table("method", *errors, title="error in per cent [95% interval]")
    for method in next(iter(errors.values())):
        cells = [f"{e[method]['error']:.2f} [{e[method]['low']:.2f}, {e[method]['high']:.2f}]" for e in errors.values()]
        table.add_row(method.replace("_", " "), *cells)
    return table
