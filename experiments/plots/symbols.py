"""Marks of sequences in figures of episodes: the symbol that a glimpse belongs to, and the predicted symbols."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from experiments.evaluation.reading import Reading
from experiments.plots.arrays import Labels, PixelPath
from experiments.plots.style import INK, RIGHT, WRONG


def symbol_colour(place: int, reading: Reading) -> str:
    """Return the colour of the symbol predicted at a place, by its correctness."""
    return RIGHT if reading.is_correct_at(place) else WRONG


def symbol_text(place: int, reading: Reading, names: Sequence[str]) -> str:
    """Return the symbol predicted at a place, with a tick or a cross."""
    tick = "✓" if reading.is_correct_at(place) else "✗"
    return f"{names[reading.predicted[place]]} {tick}"


def glimpse_title(step: int, reading: Reading, names: Sequence[str]) -> tuple[str, str]:
    """Return the title of glimpse `step`, from 0, and its colour; in sequences the title names the symbol."""
    if reading.end is None:
        return f"glimpse {step + 1}", INK
    place = reading.target_at(step)
    if not reading.ends_target(step):
        return f"{step + 1}, symbol {place + 1}", INK
    return f"{step + 1}, symbol {place + 1}: {symbol_text(place, reading, names)}", symbol_colour(place, reading)


def draw_symbols(
    axes: Axes, places: PixelPath, reading: Reading, names: Sequence[str], until: int | None = None
) -> None:
    """Write each predicted symbol of a sequence beside the number of its last glimpse.

    Args:
      axes: with the image.
      places: of the glimpse numbers, `[T, 2]` in pixels.
      reading: of the episode.
      names: of the symbols.
      until: the last glimpse taken so far; None for all.
    """
    if reading.end is None:
        return
    read = reading.predicted if until is None else reading.predicted_by(until)
    height = axes.get_ylim()[0]
    for place in range(len(read)):
        x, y = places[(place + 1) * reading.glimpses_per_target - 1]
        up, colour = y > height / 2, symbol_colour(place, reading)
        axes.annotate(
            symbol_text(place, reading, names),
            (x, y),
            xytext=(0, 7 if up else -7),
            textcoords="offset points",
            ha="center",
            va="bottom" if up else "top",
            fontsize=7.5,
            fontweight="bold",
            color="white",
            zorder=200,
            annotation_clip=False,
            bbox={"boxstyle": "round,pad=0.18", "facecolor": colour, "linewidth": 0, "alpha": 0.9},
        )


def mark_symbols(axes: Axes, shown: Labels, reading: Reading, names: Sequence[str]) -> None:
    """Mark the symbols on a heat map of beliefs, with glimpses in rows and the classes `shown` in columns.

    A line divides the glimpses of two symbols, a frame marks the true symbol, and the predicted one stands on the
    right.
    """
    last = len(shown) - 0.5
    for place in range(len(reading.label)):
        top = place * reading.glimpses_per_target - 0.5
        if place:
            axes.plot([-0.5, last], [top, top], color="#5b6472", linewidth=1.0)
        if place >= len(reading.predicted):
            continue
        if reading.has_target(place):
            column = int(np.flatnonzero(shown == reading.label[place])[0])
            frame = Rectangle(
                (column - 0.5, top),
                1,
                reading.glimpses_per_target,
                fill=False,
                edgecolor=RIGHT,
                linewidth=1.4,
                zorder=5,
            )
            axes.add_patch(frame)
        axes.annotate(
            symbol_text(place, reading, names),
            (last, top + reading.glimpses_per_target / 2),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            fontweight="bold",
            color=symbol_colour(place, reading),
            annotation_clip=False,
        )
