"""``report.html`` of a sweep: one file, without a network; its tables sort by any column."""

import base64
import math
import os
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import NamedTuple
from urllib.parse import quote

from experiments.plots_style import write_bytes

PARTS = Path(__file__).parent


class Entry(NamedTuple):
    """A table cell: its text, what it sorts by if not by that, and where it leads to."""

    text: str
    value: float | None = None
    link: str = ""


class Table(NamedTuple):
    """A sortable table."""

    heading: str
    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Entry]]


class Picture(NamedTuple):
    """A figure, as a PNG, with what it shows."""

    heading: str
    caption: str
    png: bytes


def number(value: float, digits: int = 2) -> Entry:
    """A number to so many digits, which sorts by all of them."""
    return Entry("–" if math.isnan(value) else f"{value:.{digits}f}", value)


def write_page(path: Path, title: str, facts: Iterable[tuple[str, str]], parts: Iterable[Table | Picture]) -> Path:
    """Writes the page.

    Args:
      path: where.
      title: its heading.
      facts: names and values at its top.
      parts: its sections, in order.
    """
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    sections = [f'<section aria-label="The sweep"><dl class="facts">{items}</dl></section>']
    sections += [_table(part) if isinstance(part, Table) else _picture(part) for part in parts]
    page = Template((PARTS / "page.html").read_text()).substitute(
        title=escape(title),
        folder=escape(path.parent.resolve().name),
        style=(PARTS.parent / "report_style.css").read_text(),
        script=(PARTS / "page.js").read_text(),
        sections="\n".join(sections),
    )
    return write_bytes(path, page.encode())


def link_to(target: Path, page: Path) -> str:
    """A relative link from a page to a file or folder."""
    return quote(os.path.relpath(target, page.parent))


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in table.columns)
    body = "".join(f"<tr>{''.join(map(_entry, row))}</tr>" for row in table.rows)
    return (
        f"<section><h2>{escape(table.heading)}</h2>"
        f'<div class="scroll"><table class="sortable"><caption>{escape(table.caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div></section>"
    )


def _entry(entry: Entry) -> str:
    # Empty where there is no number to sort by, which sorts last.
    value = "" if entry.value is None else f' data-value="{"" if math.isnan(entry.value) else repr(entry.value)}"'
    text = escape(entry.text)
    if entry.link:
        text = f'<a href="{escape(entry.link)}">{text}</a>'
    return f"<td{value}>{text}</td>"


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    alt = escape(f"{picture.heading}. {picture.caption}")
    return (
        f"<section><h2>{escape(picture.heading)}</h2>"
        f'<figure><img src="data:image/png;base64,{data}" alt="{alt}">'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure></section>"
    )
