"""Tables that a reader can sort and filter, with the mouse or the keyboard; without scripts they are plain tables."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

SCRIPT = "table.js"
MISSING = "–"


class Number(NamedTuple):
    """A number that is shown as `text`, such as `3.50 to 4.25`, and sorted by its `value`."""

    value: int | float
    text: str


class Link(NamedTuple):
    """Text that opens a file; `path` is relative to the folder of the page."""

    text: str
    path: str | Path


Entry = str | int | float | bool | Number | Link | None


class Column(NamedTuple):
    """A column; numeric ones are aligned to the right."""

    heading: str
    is_numeric: bool


class Cell(NamedTuple):
    """A cell as the template shows it.

    Attributes:
      text: what is shown.
      value: the finite number that the cell is sorted by, with all its digits; None for text.
      is_missing: true where there is nothing to sort by.
      href: the address of a link; None for no link.
    """

    text: str
    value: str | None
    is_missing: bool
    href: str | None


class Table(NamedTuple):
    """A table for the macro `sortable_table` of `table.html`."""

    name: str
    caption: str
    columns: list[Column]
    rows: list[list[Cell]]


def sortable_table(name: str, caption: str, header: Sequence[str], rows: Sequence[Sequence[Entry]]) -> Table:
    """Prepare a table whose columns can be sorted and whose rows can be filtered. The page needs `SCRIPT`.

    Numbers are sorted by value and before text. Text is sorted with its numbers by value (`run 2` before `run 10`).
    Missing and non-finite entries come last in either direction. The filter keeps the rows that hold each of its words.

    Args:
      name: id of the table.
      caption: what it shows.
      header: a heading for each column.
      rows: of entries, as many as headings; the first entry names the row, and None is missing.
    """
    entries = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    numeric = [{_number(entry) is None for entry in column if entry is not None} == {False} for column in entries]
    columns = [Column(heading, right) for heading, right in zip(header, numeric, strict=True)]
    return Table(name, caption, columns, [[_cell(entry) for entry in row] for row in rows])


def value_text(value: Any) -> str:
    """Return a value as text: long fractions to six digits, strings as they are, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False)


def _number(entry: Entry) -> int | float | None:
    """Return the number that an entry is sorted by, or None."""
    if isinstance(entry, Number):
        return entry.value
    return entry if isinstance(entry, (int, float)) and not isinstance(entry, bool) else None


def _cell(entry: Entry) -> Cell:
    number = _number(entry)
    finite = number is not None and math.isfinite(number)
    missing = entry is None or (number is not None and not finite)
    value = repr(float(number)) if number is not None and finite else None
    if entry is None:
        return Cell(MISSING, value, missing, None)
    if isinstance(entry, Link):
        # A quoted path stays a path: it cannot spell a scheme, a query or a fragment.
        return Cell(entry.text, value, missing, quote(str(entry.path)))
    return Cell(entry.text if isinstance(entry, Number) else value_text(entry), value, missing, None)
