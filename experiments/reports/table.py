"""A table that its reader can sort and filter, with the mouse or the keyboard; without scripts a plain table."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from experiments.reports.page import scrollable, value_text

SCRIPT = "table.js"


class Number(NamedTuple):
    """A number that is shown as `text`, such as `3.50 to 4.25`, and sorted by its `value`."""

    value: int | float
    text: str


class Link(NamedTuple):
    """Text that opens a file: its `path` is relative to the folder of the page."""

    text: str
    path: str | Path


Cell = str | int | float | bool | Number | Link | None


def sortable_table(name: str, caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table with a box that filters its rows, each column of which can be sorted. The page needs `SCRIPT`.

    Numbers are sorted by value and before text, text as people count (`run 2` before `run 10`); what is missing or not
    finite comes last in either direction. The filter keeps the rows that hold each of its words.

    Args:
      name: id of the table.
      caption: what it shows.
      header: a heading for each column.
      rows: of cells; the first cell of each names the row. None is missing.

    Raises:
      ValueError: a row is not as long as the header.
    """
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under {len(header)} headings: {list(row)!r}")
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(header)
    numeric = [{_number(cell) is None for cell in column if cell is not None} == {False} for column in columns]
    heads = "".join(
        f'<th scope="col"{_kind(right)}>{escape(heading)}</th>' for heading, right in zip(header, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_cell, row, numeric, [True] + [False] * len(row)))}</tr>\n" for row in rows)
    field, table = f"{escape(name)}-filter", escape(name)
    return (
        f'<p class="control filter" hidden><label for="{field}">Filter</label> '
        f'<input id="{field}" type="search" autocomplete="off" spellcheck="false" aria-controls="{table}"> '
        f'<output for="{field}"></output></p>\n'
        + scrollable(
            f'<table id="{table}" class="sortable"><caption>{escape(caption)}</caption>\n'
            f"<thead><tr>{heads}</tr></thead>\n<tbody>\n{body}</tbody></table>",
            caption,
        )
    )


def _number(cell: Cell) -> int | float | None:
    """The number that a cell is sorted by, None where it holds none."""
    if isinstance(cell, Number):
        return cell.value
    return cell if isinstance(cell, (int, float)) and not isinstance(cell, bool) else None


def _kind(right: bool) -> str:
    return ' class="number"' if right else ""


def _cell(cell: Cell, right: bool, is_heading: bool) -> str:
    """One cell; `data-value` is the number it is sorted by."""
    attributes = _kind(right)
    value = _number(cell)
    if cell is None or (value is not None and not math.isfinite(value)):
        attributes += " data-missing"
    elif value is not None:
        attributes += f' data-value="{float(value)!r}"'
    if cell is None:
        content = "–"
    elif isinstance(cell, Link):
        # Quoted, a path stays a path: it cannot spell a scheme, a query or a fragment.
        content = f'<a href="{escape(quote(str(cell.path)))}">{escape(cell.text)}</a>'
    else:
        content = escape(cell.text if isinstance(cell, Number) else value_text(cell))
    return f'<th scope="row"{attributes}>{content}</th>' if is_heading else f"<td{attributes}>{content}</td>"
