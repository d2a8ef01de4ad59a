"""Figures about sequences of symbols."""

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.plots.style import INK, SERIES, figure_of, message_figure, tidy


def error_by_length(errors: Mapping[str, Mapping[str, float]]) -> Figure:
    """Whole-sequence error, in per cent, by the number of symbols, with its 95% interval and the number of images.

    Args:
      errors: ``{error, low, high, n}`` by length, as `common.training.evaluation.sequence_errors` has them.
    """
    if not errors:
        return message_figure("No sequences to show")
    lengths = sorted(errors, key=int)
    values, low, high = (np.array([errors[n][name] for n in lengths], np.float64) for name in ("error", "low", "high"))
    figure = figure_of(max(4.6, 0.9 * len(lengths) + 1.6), 3.4, gap=0.08)
    axes = figure.add_subplot()
    places = np.arange(len(lengths))
    # An interval may begin a rounding error beyond its middle.
    around = np.maximum(np.stack([values - low, high - values]), 0.0)
    axes.bar(places, values, width=0.62, color=SERIES[0])
    axes.errorbar(places, values, around, fmt="none", ecolor=INK, elinewidth=1.0, capsize=3)
    for place, value, top in zip(places, values, high, strict=True):
        text = f"{value:.1f}" if value >= 10 else f"{value:.2f}"
        axes.annotate(text, (place, top), (0, 3), textcoords="offset points", ha="center", fontsize=8.5, color=INK)
    axes.set_xticks(places, [f"{n}\n{int(errors[n]['n']):,} images" for n in lengths])
    axes.set_ylim(0.0, 1.15 * float(high.max()) or 1.0)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    axes.set_xlabel("symbols in the sequence", fontsize=9, color=INK)
    axes.set_ylabel("whole-sequence error", fontsize=9, color=INK)
    tidy(axes, "Error by length")
    return figure
