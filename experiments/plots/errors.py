"""Errors after each glimpse and by length."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.plots.arrays import Errors
from experiments.plots.style import FAINT, INK, SERIES, figure_of, message_figure, plain_log_axis, tidy


def error_by_glimpse(
    errors: Errors,
    low: Errors | None = None,
    high: Errors | None = None,
    glimpses_per_target: int | None = None,
) -> Figure:
    """Draw the error, in per cent, of the belief after each of T glimpses of the greedy path.

    For sequences there is a curve for each symbol: the error of the belief about it after each of its glimpses.

    Args:
      errors: `[T]`.
      low, high: their 95% intervals, `[T]`.
      glimpses_per_target: glimpses of each symbol of a sequence; None for single classes.
    """
    errors = np.asarray(errors, np.float64)
    if not errors.size:
        return message_figure("No errors to show")
    glimpses = np.arange(1, len(errors) + 1)
    each = glimpses_per_target or len(errors)
    parts = [slice(start, start + each) for start in range(0, len(errors), each)]
    figure = figure_of(max(4.6, 0.6 * len(errors) + 2.0), 3.4, gap=0.08)
    axes = figure.add_subplot()
    for number, part in enumerate(parts):
        if low is not None and high is not None:
            label = None if number else "95% interval"
            shade: dict[str, Any] = {"color": SERIES[0], "alpha": 0.18 if each > 1 else 0.4, "label": label}
            if each > 1:
                axes.fill_between(glimpses[part], low[part], high[part], linewidth=0, **shade)
            else:  # A band of one point would be invisible.
                axes.vlines(glimpses[part], low[part], high[part], linewidth=6, **shade)
        axes.plot(glimpses[part], errors[part], "-o", color=SERIES[0], linewidth=1.8, markersize=5)
        if glimpses_per_target:
            axes.annotate(
                f"symbol {number + 1}",
                (glimpses[part].mean(), 1.0),
                xycoords=("data", "axes fraction"),
                xytext=(0, -2),
                textcoords="offset points",
                ha="center",
                va="top",
                fontsize=8.5,
                color=FAINT,
            )
        if number:
            axes.axvline(part.start + 0.5, color="#c9ced6", linewidth=1.0)
    if errors.min() > 0 and errors.max() / errors.min() > 8:
        axes.margins(y=0.16)
        plain_log_axis(axes)
    else:
        highest = float(errors.max() if high is None else np.max(high))
        axes.set_ylim(0.0, min(1.2 * highest or 1.0, 105.0))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    for glimpse, error in zip(glimpses, errors, strict=True):
        text = f"{error:.1f}" if error >= 10 else f"{error:.2f}"
        axes.annotate(
            text,
            (glimpse, error),
            xytext=(3, 5),  # To the upper right, where a falling curve is not.
            textcoords="offset points",
            ha="left",
            fontsize=8.5,
            color=INK,
        )
    axes.set_xticks(glimpses if len(errors) <= 20 else glimpses[:: math.ceil(len(errors) / 12)])
    axes.set_xlim(0.5, len(errors) + 0.7)
    if low is not None and high is not None:
        axes.legend(loc="upper right" if len(parts) == 1 else "best", fontsize=8.5, frameon=False)
    axes.set_xlabel("glimpses taken", fontsize=9, color=INK)
    axes.set_ylabel("error" if glimpses_per_target is None else "error of the symbol", fontsize=9, color=INK)
    tidy(axes, "Error after each glimpse of the greedy path")
    return figure


def error_by_length(errors: Mapping[str, Mapping[str, float]]) -> Figure:
    """Draw the whole-sequence error, in per cent, by the number of symbols, with its 95% interval.

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
