"""Pages of one file: the frame, the style and the pieces that every report is made of.

A piece is HTML in which all text is escaped; a page is a title and sections of pieces.
"""

import base64
import io
import json
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from string import Template
from typing import Any, NamedTuple

from PIL import Image as PillowImage

PARTS = Path(__file__).parent


class Section(NamedTuple):
    """A section of a page.

    Attributes:
      name: its id, which links can point to.
      heading: of the section, and its name in the navigation.
      content: HTML.
    """

    name: str
    heading: str
    content: str


def page(title: str, subtitle: str, summary: str, sections: Iterable[Section], scripts: Sequence[str] = ()) -> str:
    """A whole page: it needs no other file and can fetch none.

    Args:
      title: of the page, as text.
      subtitle: a line below it, as text.
      summary: HTML that stands before the sections, without a heading of its own.
      sections: in their order.
      scripts: names of JavaScript files beside this module, which run in this order. No other script can run.
    """
    sections = list(sections)
    codes = [f"\n{part(name)}" for name in scripts]
    digests = [base64.b64encode(sha256(code.encode()).digest()).decode() for code in codes]
    return Template(part("template.html")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        style=part("style.css"),
        allowed=" ".join(f"'sha256-{digest}'" for digest in digests) or "'none'",
        links=" ".join(f'<a href="#{escape(each.name)}">{escape(each.heading)}</a>' for each in sections),
        summary=summary,
        sections="\n".join(map(_section, sections)),
        scripts="\n".join(f"<script>{code}</script>" for code in codes),
    )


def part(name: str) -> str:
    """The text of a file beside this module."""
    return (PARTS / name).read_text(encoding="utf-8")


def _section(section: Section) -> str:
    name, heading = escape(section.name), escape(section.heading)
    return (
        f'<section id="{name}" aria-labelledby="{name}-heading">\n<h2 id="{name}-heading">{heading}</h2>\n'
        f"{section.content}\n</section>"
    )


def notice(text: str) -> str:
    """A paragraph that says what is missing."""
    return f'<p class="notice">{escape(text)}</p>'


def scrollable(table: str, name: str) -> str:
    """A table that scrolls sideways where it is too wide, with the keyboard too; `name` is its name for readers."""
    return f'<div class="scroll" role="region" aria-label="{escape(name)}" tabindex="0">{table}</div>'


def fact_list(facts: Iterable[tuple[str, str]]) -> str:
    """Names and their values, as text, beside each other."""
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{items}</dl>'


def picture(data: bytes, text: str, caption: str) -> str:
    """The PNG or GIF `data`, embedded, with its alternative `text` and a caption."""
    with PillowImage.open(io.BytesIO(data)) as opened:
        (width, height), kind = opened.size, str(opened.format).lower()
    source = f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
    return (
        f'<figure><div class="wide"><img src="{source}" width="{width}" height="{height}" alt="{escape(text)}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def embedded_json(name: str, value: Any) -> str:
    """`value` as an element with the id `name`, whose text a script can parse."""
    data = json.dumps(value, separators=(",", ":"), allow_nan=False)
    # Escaped so that no text in it can end the element.
    data = re.sub("[<>&\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", data)
    return f'<script type="application/json" id="{escape(name)}">{data}</script>'


def value_text(value: Any) -> str:
    """`value` as a reader wants it: text as it is, long fractions to six digits, anything else as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, ensure_ascii=False)
