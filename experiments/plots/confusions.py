"""Confusion matrices."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.plots.arrays import Counts, Labels
from experiments.plots.names import shown_names
from experiments.plots.style import BELIEF_MAP, INK, figure_of, number_text


def confusion_counts(labels: Labels, predictions: Labels, classes: int) -> Counts:
    """Count predictions `[classes, classes]`: entry (i, j) is the number of images of class i predicted as class j."""
    counts = np.zeros((classes, classes), np.int64)
    np.add.at(counts, (np.asarray(labels), np.asarray(predictions)), 1)
    return counts


def confusion_matrix(
    labels: Labels, predictions: Labels, class_names: Sequence[str] | None = None, path: str = ""
) -> Figure:
    """Draw true classes (rows) against predicted classes (columns), for `labels` and `predictions` `[N]`.

    Colour is the fraction of the row, on a scale that keeps rare mistakes visible; the counts are written for up
    to 20 classes. The title begins with `path`, of what path of glimpses the predictions are, if given.
    """
    if class_names is None:
        highest = max(int(np.max(labels, initial=0)), int(np.max(predictions, initial=0)))
        class_names = [str(number) for number in range(highest + 1)]
    classes = len(class_names)
    class_names = shown_names(class_names, classes)
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
    bar.set_label("fraction of the true class (colour scale not linear: power 0.35)", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8)
    return figure
