"""Pictures of a trained agent that looks at images whose classes are not known: a sheet, or an animation."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.plots.animation import figures_gif
from experiments.plots.arrays import to_pixels
from experiments.plots.names import shown_names, shown_text
from experiments.plots.style import (
    FAINT,
    INK,
    draw_boxes,
    draw_path,
    figure_of,
    glimpse_colours,
    in_lines,
    show_image,
    spread,
    tidy,
)

# Distance between the numbers of a path, as a fraction of the width of the image.
_GAP = 0.07
MOST_CLASSES = 10
# Characters of a title above its image.
LONGEST_TITLE = 40
CAPTION = "Numbers and colours: the order of the glimpses. Boxes of one colour: the scales of a glimpse."


class Seen(NamedTuple):
    """One image and what an agent did with it.

    Attributes:
      title: of the picture.
      image: uint8 ``[H, W, C]``.
      locations: ``[T, 2]``, normalised (x, y).
      boxes: ``[T, K, 4]`` in pixels.
      probabilities: ``[T, num_classes]``.
    """

    title: str
    image: np.ndarray
    locations: np.ndarray
    boxes: np.ndarray
    probabilities: np.ndarray


def look_sheet(seen: Sequence[Seen], class_names: Sequence[str], taken: int | None = None) -> Figure:
    """Draw each image with its path, and beside it the probabilities after each glimpse.

    Args:
      seen: the images.
      class_names: of the classes.
      taken: how many glimpses of each are shown; None for all.
    """
    names = shown_names(class_names, len(class_names))
    height, width = seen[0].image.shape[:2]
    rows = len(seen)
    figure = figure_of(6.4, (3.0 * height / width + 0.3) * rows, gap=0.06)
    grid = figure.subplots(rows, 2, squeeze=False, width_ratios=[1.0, 1.0])
    for each, (left, right) in zip(seen, grid, strict=True):
        _draw_image(left, each, taken or len(each.locations))
        _draw_probabilities(right, each.probabilities[: taken or len(each.locations)], names, len(each.locations))
    figure.supxlabel(CAPTION, fontsize=8.5, color=FAINT)
    return figure


def look_gif(
    seen: Sequence[Seen], class_names: Sequence[str], seconds: float = 0.8, last_seconds: float = 2.5
) -> bytes:
    """Draw an endless GIF with a frame for each glimpse, and return its bytes."""
    sheets = (look_sheet(seen, class_names, taken) for taken in range(1, len(seen[0].locations) + 1))
    return figures_gif(sheets, seconds, last_seconds)


def _draw_image(axes: Axes, seen: Seen, taken: int) -> None:
    height, width = seen.image.shape[:2]
    show_image(axes, seen.image)
    colours = glimpse_colours(len(seen.locations))
    for boxes, colour in zip(seen.boxes[:taken], colours, strict=False):
        draw_boxes(axes, boxes, colour, strength=0.7)
    path = to_pixels(seen.locations, height, width)[:taken]
    draw_path(axes, path, colours[:taken], spread(path, _GAP * width, height, width))
    title = in_lines(shown_text(seen.title, LONGEST_TITLE), 2.9, 10.5)
    axes.set_title(title, loc="left", fontsize=10.5, color=INK, fontweight="bold")


def _draw_probabilities(axes: Axes, probabilities: np.ndarray, class_names: Sequence[str], glimpses: int) -> None:
    """Draw the probabilities ``[t, num_classes]`` of the likeliest classes after each of t glimpses."""
    likeliest = np.sort(np.argsort(-probabilities.max(axis=0))[:MOST_CLASSES])
    shown = np.full((len(likeliest), glimpses), np.nan)
    shown[:, : len(probabilities)] = probabilities[:, likeliest].T
    axes.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (row, column), value in np.ndenumerate(shown):
        if value >= 0.05:
            colour = "white" if value > 0.55 else INK
            axes.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_xticks(range(glimpses), [str(number) for number in range(1, glimpses + 1)])
    axes.set_yticks(range(len(likeliest)), [class_names[place] for place in likeliest])
    axes.set_xlabel("glimpses taken", fontsize=9, color=INK)
    tidy(axes, "Probability of each class, %", grid=False)
