"""Pictures: figures as the bytes of files, the same whatever settings of Matplotlib the user has."""

import contextlib
import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from experiments.cli.command_line import explain
from experiments.cli.console import print_warning
from experiments.output.files import write_bytes

# Makes a figure, which becomes a PNG, or the bytes of a GIF.
Drawing = Callable[[], Figure | bytes]
DPI = 120


class DrawingError(ValueError):
    """A picture cannot be drawn."""


@contextlib.contextmanager
def own_style() -> Iterator[None]:
    """Draw with Matplotlib's defaults instead of the user's settings, and take every text as it is.

    Dollar signs in names are no formulas. Matplotlib's warnings, of glyphs or of too little space, are left out.
    """
    settings: dict[Any, Any] = {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    with matplotlib.rc_context(settings | {"text.parse_math": False}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def render(path: str | os.PathLike[str], drawing: Drawing) -> bytes:
    """Return the bytes of a picture: a PNG of a figure, or the GIF.

    Raises:
      DrawingError: it cannot be drawn; names the file, and says why.
    """
    try:
        with own_style():
            drawn = drawing()
            if isinstance(drawn, bytes):
                return drawn
            buffer = io.BytesIO()
            drawn.savefig(buffer, format="png", dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.12)
            return buffer.getvalue()
    except Exception as error:
        raise DrawingError(f"picture {os.fspath(path)!r} cannot be drawn: {explain(error)}") from error


def draw_picture(path: str | os.PathLike[str], drawing: Drawing) -> Path | None:
    """Draw a picture into a file. If it cannot be drawn, print why, and leave no older picture in its place.

    Raises:
      OSError: the file cannot be written.
    """
    try:
        return write_bytes(path, render(path, drawing))
    except DrawingError as error:
        print_warning(str(error))
        Path(path).unlink(missing_ok=True)
        return None


def draw_pictures(folder: Path, drawings: Mapping[str, Drawing]) -> None:
    """Draw pictures into a folder, by file name. One that cannot be drawn costs no other (see `draw_picture`)."""
    for name, drawing in drawings.items():
        draw_picture(folder / name, drawing)
