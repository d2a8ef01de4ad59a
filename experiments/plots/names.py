"""Names as figures can show them: in one short line, with the glyphs of their font."""

import functools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.font_manager import get_font

from experiments.plots.arrays import names_of

# Characters of the longest name in a figure; of a longer one the middle is left out.
LONGEST = 16


def shown_names(class_names: Sequence[str] | None, classes: int) -> list[str]:
    """Return the names of classes as figures show them, all different; the numbers `0 .. classes - 1` if None.

    A class whose name the font cannot write, or whose short name is also another's, is shown as ``class 3``.
    """
    names = names_of(class_names, classes)
    shown = [shown_text(name, LONGEST) if _missing(name) == set() else "" for name in names]
    counts = Counter(shown)
    return [text if text and counts[text] == 1 else f"class {index}" for index, text in enumerate(shown)]


def shown_text(text: str, longest: int | None = None) -> str:
    """Return a text in one line, with question marks for what the font lacks; of a long one the middle is left out."""
    line = " ".join(text.split())
    missing = _missing(line)
    line = "".join("?" if character in missing else character for character in line)
    if longest is None or len(line) <= longest:
        return line
    return f"{line[: longest // 2]}…{line[len(line) - (longest - 1) // 2 :]}"


def _missing(text: str) -> set[str]:
    """Return the characters of a text, besides white space, for which the font has no glyph."""
    return {character for character in text if not character.isspace() and ord(character) not in _glyphs()}


@functools.cache
def _glyphs() -> frozenset[int]:
    """Return the code points of the font of all figures, Matplotlib's own."""
    return frozenset(get_font(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")).get_charmap())
