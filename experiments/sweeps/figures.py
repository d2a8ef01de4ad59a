"""Figures of a sweep: error against each axis, heat maps of two, learning curves."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from experiments.plots.style import COUNT_MAP, FAINT, INK, SERIES, figure_of, message_figure, number_text, tidy
from experiments.sweeps.outcomes import Setting
from experiments.sweeps.statistics import mean_interval
from experiments.sweeps.study import Dimension

MOST_LINES = 12
Records = Sequence[Mapping[str, Any]]


# Characters of a tick label above which labels would overlap, and stand upright.
LONGEST_LABEL = 12


def colours(count: int) -> list[str]:
    """``count`` colours: those of the other figures where they suffice, else a ramp."""
    if count <= len(SERIES):
        return list(SERIES[:count])
    ramp = matplotlib.colormaps["viridis"]
    return [matplotlib.colors.to_hex(ramp(place)) for place in np.linspace(0.0, 0.9, count)]


def positions(values: Sequence[Any]) -> tuple[list[float], bool]:
    """Where values stand on an axis, and whether by their size: numbers, or lengths that are all in pixels."""
    texts = [str(value) for value in values]
    for pattern in (r"(.+)px", r"(.+)"):
        matches = [re.fullmatch(pattern, text) for text in texts]
        try:
            numbers = [float(match[1]) for match in matches if match]
        except ValueError:
            continue
        if len(numbers) == len(values) and all(map(math.isfinite, numbers)):
            return numbers, True
    return [float(index) for index in range(len(values))], False


def label(names: Sequence[str], values: Sequence[Any]) -> str:
    """Fields and their values in words."""
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def _coordinates(dimensions: Sequence[Dimension], setting: Setting) -> tuple[int, ...]:
    """The place of a setting along each dimension."""
    places, start = [], 0
    for dimension in dimensions:
        stop = start + len(dimension.names)
        places.append(dimension.values.index(setting.values[start:stop]))
        start = stop
    return tuple(places)


def error_against(dimensions: Sequence[Dimension], settings: Sequence[Setting], index: int) -> Figure:
    """Test error against dimension ``index`` with t intervals over seeds; a line for each combination of the others.

    Dots are single seeds. Where there are more than `MOST_LINES` combinations, one line is their mean, without an
    interval, since they are not repetitions of each other.
    """
    dimension = dimensions[index]
    lines: dict[tuple[int, ...], dict[int, list[float]]] = {}
    for setting in settings:
        place = _coordinates(dimensions, setting)
        rest = place[:index] + place[index + 1 :]
        if setting.outcomes:
            lines.setdefault(rest, {})[place[index]] = list(setting.by_seed().values())
    if not lines:
        return message_figure("No cell has finished yet")
    shown, ordered = positions([values[0] for values in dimension.values])
    figure = figure_of(6.4, 4.0, gap=0.08)
    axes = figure.add_subplot()
    others = [other for number, other in enumerate(dimensions) if number != index]
    if len(lines) > MOST_LINES:
        places = sorted({place for line in lines.values() for place in line})
        means = [float(np.mean([np.mean(line[p]) for line in lines.values() if p in line])) for p in places]
        axes.plot([shown[p] for p in places], means, "-o", color=SERIES[0])
        axes.set_title(f"mean of {len(lines)} settings of the rest", loc="right", fontsize=8.5, color=FAINT)
    else:
        for colour, (rest, line) in zip(colours(len(lines)), sorted(lines.items()), strict=True):
            names = [name for other in others for name in other.names]
            values = [value for other, place in zip(others, rest, strict=True) for value in other.values[place]]
            _draw_line(axes, shown, line, colour, label(names, values))
        if others:
            axes.legend(fontsize=8, frameon=True, framealpha=0.85, edgecolor="none")
    if not ordered or len(shown) <= 10:
        ticks = [", ".join(map(str, values)) for values in dimension.values]
        upright = max(map(len, ticks)) > LONGEST_LABEL
        axes.set_xticks(shown, ticks, rotation=90 if upright else 0, fontsize=7.5 if upright else None)
    axes.set_xlabel(", ".join(dimension.names), fontsize=9, color=INK)
    axes.set_ylabel("test error (%)", fontsize=9, color=INK)
    tidy(axes, f"Error against {' and '.join(dimension.names)}")
    return figure


def _draw_line(axes: Axes, shown: Sequence[float], line: Mapping[int, list[float]], colour: str, name: str) -> None:
    places = sorted(line)
    x = [shown[place] for place in places]
    intervals = [mean_interval(line[place]) for place in places]
    means = [interval.mean for interval in intervals if interval]
    half = [i.high - i.mean if i and not math.isnan(i.high) else 0.0 for i in intervals]
    axes.errorbar(x, means, half, fmt="-o", color=colour, linewidth=1.6, markersize=5, capsize=3, label=name or None)
    for at, place in zip(x, places, strict=True):
        if len(line[place]) > 1:
            axes.plot([at] * len(line[place]), line[place], ".", color=colour, alpha=0.45, markersize=4, zorder=1)


def heat_map(dimensions: Sequence[Dimension], settings: Sequence[Setting], rows: int, columns: int) -> Figure:
    """Mean test error over dimensions ``rows`` and ``columns``: over seeds, and over all other dimensions."""
    row, column = dimensions[rows], dimensions[columns]
    errors: dict[tuple[int, int], list[float]] = {}
    for setting in settings:
        if setting.outcomes:
            place = _coordinates(dimensions, setting)
            mean = float(np.mean(list(setting.by_seed().values())))
            errors.setdefault((place[rows], place[columns]), []).append(mean)
    if not errors:
        return message_figure("No cell has finished yet")
    table = np.full((len(row.values), len(column.values)), np.nan)
    for at, values in errors.items():
        table[at] = np.mean(values)
    figure = figure_of(2.2 + 0.72 * table.shape[1], 1.6 + 0.5 * table.shape[0], gap=0.08)
    axes = figure.add_subplot()
    picture = axes.imshow(table, cmap=f"{COUNT_MAP}_r", aspect="auto", interpolation="nearest")
    low, high = float(np.nanmin(table)), float(np.nanmax(table))
    for (y, x), value in np.ndenumerate(table):
        if not math.isnan(value):
            shade = (value - low) / (high - low) if high > low else 0.0
            number_text(axes, float(x), float(y), f"{value:.2f}", 8.5, shade)
    axes.set_xticks(range(table.shape[1]), [", ".join(map(str, values)) for values in column.values])
    axes.set_yticks(range(table.shape[0]), [", ".join(map(str, values)) for values in row.values])
    axes.set_xlabel(", ".join(column.names), fontsize=9, color=INK)
    axes.set_ylabel(", ".join(row.names), fontsize=9, color=INK)
    tidy(axes, "Mean test error (%)", grid=False)
    figure.colorbar(picture, ax=axes, shrink=0.9, pad=0.02).ax.tick_params(labelsize=8)
    return figure


def sweep_curves(names: Sequence[str], settings: Sequence[tuple[Setting, Sequence[Records]]], best: int = 16) -> Figure:
    """Validation error over training: the mean over seeds of each setting, and each seed thinly.

    Args:
      names: the fields that vary.
      settings: each setting with the records of ``metrics.jsonl`` of its cells.
      best: how many settings to draw at most, those of the lowest final error.
    """
    drawn = []
    for setting, runs in settings:
        curves = [{r["step"]: r["validation_error"] for r in run if "validation_error" in r} for run in runs]
        curves = [curve for curve in curves if curve]
        if curves:
            common = sorted(set.intersection(*(set(curve) for curve in curves)))
            mean = [float(np.mean([curve[step] for curve in curves])) for step in common]
            drawn.append((setting, curves, common, mean))
    if not drawn:
        return message_figure("No validation recorded yet")
    kept = sorted(drawn, key=lambda entry: entry[3][-1] if entry[3] else math.inf)[:best]
    shown = [entry for entry in drawn if entry in kept]
    figure = figure_of(7.2, 4.4, gap=0.08)
    axes = figure.add_subplot()
    for colour, (setting, curves, steps, mean) in zip(colours(len(shown)), shown, strict=True):
        if len(curves) > 1:
            for curve in curves:
                axes.plot(list(curve), list(curve.values()), color=colour, alpha=0.3, linewidth=0.7)
        style = "-" if len(steps) > 1 else "o"
        axes.plot(steps, mean, style, color=colour, linewidth=1.6, label=label(names, setting.values) or None)
    if all(value > 0 for *_, mean in shown for value in mean):
        axes.set_yscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("{x:g}")
    axes.set_xlabel("training step", fontsize=9, color=INK)
    axes.set_ylabel("validation error (%)", fontsize=9, color=INK)
    tidy(axes, "Validation error over training")
    if len(shown) < len(drawn):
        axes.set_title(f"the best {len(shown)} of {len(drawn)} settings", loc="right", fontsize=8.5, color=FAINT)
    if names:
        axes.legend(fontsize=7.5, frameon=True, framealpha=0.85, edgecolor="none")
    return figure
