"""Figures of a run. Heat maps and confusions are drawn here, curves and episodes in modules of their own.

Every function takes NumPy arrays and returns a `matplotlib.figure.Figure`, without matplotlib's global state.
"""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.plots.animation import episode_gif
from experiments.plots.curves import accuracy_by_glimpse, learning_curves
from experiments.plots.episodes import episode_sheet, reconstruct, reconstruct_episode, retina_sheet
from experiments.plots.style import (
    BELIEF_MAP,
    COUNT_MAP,
    FAINT,
    INK,
    Counts,
    Labels,
    Locations,
    Points,
    figure_of,
    message_figure,
    names_of,
    number_text,
    save_figure,
    to_pixels,
)

__all__ = [
    "accuracy_by_glimpse",
    "confusion_counts",
    "confusion_matrix",
    "episode_gif",
    "episode_sheet",
    "learning_curves",
    "location_heatmaps",
    "location_histogram",
    "reconstruct",
    "reconstruct_episode",
    "retina_sheet",
    "save_figure",
]


def location_histogram(locations: Points, height: int, width: int, cell: int = 1) -> Counts:
    """How many of `locations` `[N, 2]`, (x, y) in [-1, 1], fall in each square of `cell` pixels.

    Returns counts `[ceil(height / cell), ceil(width / cell)]` that sum to N: a location outside the image
    counts in the nearest square.
    """
    pixels = np.clip(np.floor(to_pixels(locations, height, width)), 0, [width - 1, height - 1]).astype(int) // cell
    counts = np.zeros((-(-height // cell), -(-width // cell)), np.int64)
    np.add.at(counts, (pixels[:, 1], pixels[:, 0]), 1)
    return counts


def location_heatmaps(
    locations: Locations,
    height: int,
    width: int,
    cell: int | None = None,
    taken: Labels | None = None,
    glimpses_per_target: int | None = None,
) -> Figure:
    """Where the greedy path looks: a heat map of `locations` `[T, N, 2]` over the image for each glimpse number.

    Each square of a map is `cell` pixels wide (if None, so that about 30 make a side). All maps share one
    scale of the share of images, in per cent; it is a square root, which gives counts even noise, and a
    glimpse that puts most images in one square (a fixed start) does not stretch it. Of sequences, whose symbols have
    `glimpses_per_target` each, shares are of the images that take the glimpse, the first `taken` `[N]` of each.
    """
    glimpses, images = locations.shape[:2]
    if taken is not None and images:
        glimpses = int(taken.max())
    if not glimpses or not images:
        return message_figure("No locations to show")
    cell = cell or max(1, round(max(height, width) / 30))
    kept = [np.full(images, True) if taken is None else taken > step for step in range(glimpses)]
    counts = [location_histogram(locations[step, keep], height, width, cell) for step, keep in enumerate(kept)]
    shares = np.stack([count * (100.0 / keep.sum()) for count, keep in zip(counts, kept, strict=True)])
    peaks = shares.max(axis=(1, 2))
    high = float(np.max(peaks[peaks < 50.0], initial=0.0)) or float(peaks.max())
    norm = PowerNorm(0.5, 0.0, high)
    columns = {1: 1, 2: 2, 3: 3, 4: 4, 6: 3, 7: 4, 8: 4}.get(glimpses, 5)
    rows = math.ceil(glimpses / columns)
    figure = figure_of(2.3 * columns + 0.9, (2.1 * height / width + 0.4) * rows + 0.4, gap=0.06)
    figure.suptitle("Where the greedy path looks", fontsize=11, color=INK, fontweight="bold")
    grid = figure.subplots(rows, columns, squeeze=False)
    extent = (0, shares.shape[2] * cell, shares.shape[1] * cell, 0)
    for index, axes in enumerate(grid.flat):
        if index >= glimpses:
            axes.set_visible(False)
            continue
        picture = axes.imshow(shares[index], extent=extent, norm=norm, cmap=COUNT_MAP, interpolation="nearest")
        axes.set(xlim=(0, width), ylim=(height, 0), xticks=[0, width], yticks=[0, height])
        axes.tick_params(labelsize=7.5, colors=FAINT, length=2)
        symbol = f" (symbol {index // glimpses_per_target + 1})" if glimpses_per_target else ""
        axes.set_title(f"glimpse {index + 1}{symbol}", fontsize=10, color=INK)
    bar = figure.colorbar(
        picture,
        ax=list(grid.flat),
        shrink=0.9,
        pad=0.02,
        aspect=24,
        extend="max" if high < peaks.max() else "neither",
    )
    whole = f"of {images:,}" if taken is None else "of those that take the glimpse"
    bar.set_label(f"images looked at here ({whole}; square-root scale)", fontsize=9, color=INK)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    bar.ax.tick_params(labelsize=8)
    return figure


def confusion_counts(labels: Labels, predictions: Labels, classes: int) -> Counts:
    """Counts `[classes, classes]`: entry (i, j) is how many images of class i were taken for class j."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    for name, values in (("labels", labels), ("predictions", predictions)):
        if values.size and (values.min() < 0 or values.max() >= classes):
            raise ValueError(f"{name} must lie in 0..{classes - 1}, got {values.min()}..{values.max()}")
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (labels, predictions), 1)
    return counts


def confusion_matrix(
    labels: Labels, predictions: Labels, class_names: Sequence[str] | None = None, path: str = ""
) -> Figure:
    """True class (rows) against predicted class (columns), for `labels` and `predictions` `[N]`.

    Colour is the share of the row, on a scale that keeps rare mistakes visible; the counts are written for up
    to 20 classes. The title begins with `path`, of what path of glimpses the predictions are, if given.
    """
    if class_names is None:
        highest = max(int(np.max(labels, initial=0)), int(np.max(predictions, initial=0)))
        class_names = names_of(None, highest + 1)
    classes = len(class_names)
    counts = confusion_counts(labels, predictions, classes)
    totals = counts.sum(axis=1, keepdims=True)
    shares = 100.0 * counts / np.maximum(totals, 1)
    side = float(np.clip(2.2 + 0.42 * classes, 4.6, 9.5))
    figure = figure_of(side + 1.1, side + 0.3, gap=0.08)
    axes = figure.add_subplot()
    norm = PowerNorm(0.35, 0.0, 100.0)
    picture = axes.imshow(shares, cmap=BELIEF_MAP, norm=norm, interpolation="nearest")
    if classes <= 20:
        size = 9.0 if classes <= 12 else 7.0
        for (row, column), count in np.ndenumerate(counts):
            if count:
                number_text(axes, float(column), float(row), str(count), size, float(norm(shares[row, column])))
    shown = np.arange(0, classes, 1 if classes <= 30 else 5 if classes <= 60 else 10)
    names = [class_names[int(index)] for index in shown]
    turn = 90 if max(len(name) for name in names) > 3 else 0
    axes.set_xticks(shown, names, rotation=turn, fontsize=8)
    axes.set_yticks(shown, names, fontsize=8)
    axes.set_xticks(np.arange(1, classes) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, classes) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0 if classes <= 20 else 0.3)
    axes.tick_params(which="minor", length=0)
    axes.set_xlabel("predicted", fontsize=10, color=INK)
    axes.set_ylabel("true", fontsize=10, color=INK)
    wrong = int(counts.sum() - np.trace(counts))
    rate = 100.0 * wrong / max(int(counts.sum()), 1)
    title = f"{path}: " if path else ""
    title += f"{wrong:,} of {int(counts.sum()):,} wrong ({rate:.2f}%)"
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    bar = figure.colorbar(picture, ax=axes, shrink=0.8, pad=0.02, ticks=[0, 0.1, 1, 5, 20, 50, 100])
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    bar.set_label("share of the true class (colour scale not linear: power 0.35)", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8)
    return figure
