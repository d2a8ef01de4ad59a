"""Rendering of reports: Jinja2 templates, with every value escaped, become pages of one file."""

import base64
import io
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
from markupsafe import Markup
from PIL import Image as PillowImage

FOLDER = Path(__file__).parent


class Script(NamedTuple):
    """A script of a page.

    Attributes:
      code: what stands between the tags.
      digest: SHA-256 of the code in base64, by which the page's Content-Security-Policy allows it.
    """

    code: Markup
    digest: str


class Picture(NamedTuple):
    """An embedded picture.

    Attributes:
      source: a data URI.
      kind: `png` or `gif`.
      width, height: in pixels.
    """

    source: str
    kind: str
    width: int
    height: int


class Figure(NamedTuple):
    """A picture with its heading and its caption."""

    heading: str
    caption: str
    picture: Picture


@cache
def environment() -> jinja2.Environment:
    """Return the Jinja2 environment of the templates, in which a missing value is an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return made


def render_page(
    template: str | jinja2.Template,
    title: str,
    subtitle: str,
    sections: Mapping[str, str],
    scripts: Sequence[str] = (),
    **values: Any,
) -> str:
    """Render a template that extends `page.html`.

    Args:
      template: a file of the folder `templates`, or a template.
      title: of the page.
      subtitle: the line below the title.
      sections: headings by the id of their section, in the order of the navigation.
      scripts: files of the folder `static` that run in this order; no other script can run.
      **values: what the template shows.
    """
    return (
        environment()
        .get_template(template)
        .render(
            title=title,
            subtitle=subtitle,
            sections=sections,
            style=Markup(_static("style.css")),
            scripts=[_script(name) for name in scripts],
            **values,
        )
    )


def embed_picture(data: bytes) -> Picture:
    """Return a PNG or GIF file as an embedded picture."""
    with PillowImage.open(io.BytesIO(data)) as opened:
        (width, height), kind = opened.size, str(opened.format).lower()
    return Picture(f"data:image/{kind};base64,{base64.b64encode(data).decode()}", kind, width, height)


def _static(name: str) -> str:
    return (FOLDER / "static" / name).read_text(encoding="utf-8")


def _script(name: str) -> Script:
    code = f"\n{_static(name)}"
    return Script(Markup(code), base64.b64encode(sha256(code.encode()).digest()).decode())
