"""Figures of a sweep: error against each axis, heat maps of two axes, learning curves."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import ScaledTranslation

from experiments.plots.names import shown_text
from experiments.plots.style import COUNT_MAP, FAINT, INK, SERIES, figure_of, message_figure, number_text, tidy
from experiments.sweeps.labels import label, positions
from experiments.sweeps.outcomes import Setting
from experiments.sweeps.statistics import mean_interval
from experiments.sweeps.study import Axis

MOST_LINES = 12
# Most seeds that are listed in a cell of a heat map.
MOST_SEEDS = 3
# Characters of a tick label above which labels would overlap, and stand upright.
LONGEST_LABEL = 12
# Characters of the longest name of a value, such as a path; of a longer one the middle is left out.
LONGEST_NAME = 30
# Points between the mean and the seeds to its right, and between the seeds of two lines, so that no bar hides them.
SEED_SHIFT = 5.0
Records = Sequence[Mapping[str, Any]]


def colours(count: int) -> list[str]:
    """Return `count` colours: those of the other figures if they suffice, else a ramp."""
    if count <= len(SERIES):
        return list(SERIES[:count])
    ramp = matplotlib.colormaps["viridis"]
    return [matplotlib.colors.to_hex(ramp(place)) for place in np.linspace(0.0, 0.9, count)]


def _ticks(axis: Axis) -> list[str]:
    return [shown_text(", ".join(map(str, values)), LONGEST_NAME) for values in axis.values]


def _legend(names: Sequence[str], values: Sequence[Any]) -> str:
    return shown_text(label(names, values), 2 * LONGEST_NAME)


def _coordinates(sweep_axes: Sequence[Axis], setting: Setting) -> tuple[int, ...]:
    """Return the place of a setting along each axis."""
    places, start = [], 0
    for axis in sweep_axes:
        stop = start + len(axis.names)
        places.append(axis.values.index(setting.values[start:stop]))
        start = stop
    return tuple(places)


def error_against(sweep_axes: Sequence[Axis], settings: Sequence[Setting], index: int) -> Figure:
    """Draw test error against an axis of the sweep, with 95% intervals over seeds.

    Each combination of the values of the other axes is a line.

    Points beside the means are single seeds. The frame holds every seed; intervals that leave it are cut, so that the
    wide intervals of few seeds do not flatten the figure. Of more than `MOST_LINES` combinations one line is the mean,
    without an interval, since they are not repetitions of each other.

    Args:
      sweep_axes: the axes of the sweep.
      settings: with their outcomes.
      index: the place of the axis that is drawn.
    """
    axis = sweep_axes[index]
    lines: dict[tuple[int, ...], dict[int, list[float]]] = {}
    for setting in settings:
        place = _coordinates(sweep_axes, setting)
        rest = place[:index] + place[index + 1 :]
        if setting.outcomes:
            lines.setdefault(rest, {})[place[index]] = list(setting.by_seed().values())
    if not lines:
        return message_figure("No cell has finished yet")
    shown, ordered = positions([values[0] for values in axis.values])
    figure = figure_of(6.4, 4.0, gap=0.08)
    axes = figure.add_subplot()
    others = [other for number, other in enumerate(sweep_axes) if number != index]
    if len(lines) > MOST_LINES:
        places = sorted({place for line in lines.values() for place in line})
        means = [float(np.mean([np.mean(line[p]) for line in lines.values() if p in line])) for p in places]
        axes.plot([shown[p] for p in places], means, "-o", color=SERIES[0])
        axes.set_title(f"mean of {len(lines)} settings of the rest", loc="right", fontsize=8.5, color=FAINT)
    else:
        for number, (colour, (rest, line)) in enumerate(zip(colours(len(lines)), sorted(lines.items()), strict=True)):
            names = [name for other in others for name in other.names]
            values = [value for other, place in zip(others, rest, strict=True) for value in other.values[place]]
            _draw_line(axes, shown, line, colour, _legend(names, values), shift=SEED_SHIFT * (number + 1))
        _frame_seeds(axes, [error for line in lines.values() for errors in line.values() for error in errors])
        if all(len(errors) < 2 for line in lines.values() for errors in line.values()):
            axes.set_title("one seed: no interval over seeds", loc="right", fontsize=8.5, color=FAINT)
        if others:
            axes.legend(fontsize=8, frameon=True, framealpha=0.85, edgecolor="none")
    if not ordered or len(shown) <= 10:
        ticks = _ticks(axis)
        upright = max(map(len, ticks)) > LONGEST_LABEL
        axes.set_xticks(shown, ticks, rotation=90 if upright else 0, fontsize=7.5 if upright else None)
    axes.set_xlabel(", ".join(axis.names), fontsize=9, color=INK)
    axes.set_ylabel("test error (%)", fontsize=9, color=INK)
    tidy(axes, f"Error against {' and '.join(axis.names)}")
    return figure


def _draw_line(
    axes: Axes, shown: Sequence[float], line: Mapping[int, list[float]], colour: str, name: str, shift: float
) -> None:
    places = sorted(line)
    x = [shown[place] for place in places]
    intervals = [interval for place in places if (interval := mean_interval(line[place]))]
    means = [interval.mean for interval in intervals]
    # A single seed has no interval, so its bar has no length.
    around = np.nan_to_num([[i.mean - i.low for i in intervals], [i.high - i.mean for i in intervals]])
    axes.errorbar(x, means, around, fmt="-o", color=colour, linewidth=1.6, markersize=5, capsize=3, label=name or None)
    figure = axes.get_figure()
    beside = axes.transData + ScaledTranslation(shift / 72, 0.0, figure.dpi_scale_trans)  # type: ignore[union-attr]
    for at, place in zip(x, places, strict=True):
        if len(line[place]) > 1:
            seeds = ([at] * len(line[place]), line[place])
            axes.plot(*seeds, "o", color=colour, markersize=3.5, mec="white", mew=0.5, zorder=4, transform=beside)


def _frame_seeds(axes: Axes, errors: Sequence[float]) -> None:
    """Limit the y axis to the seeds and as much again on either side, within 0 to 100 per cent."""
    low, high = min(errors), max(errors)
    if high > low:
        margin = 0.04 * (high - low)
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, 2 * low - high, -margin), min(top, 2 * high - low, 100 + margin))


def heat_map(sweep_axes: Sequence[Axis], settings: Sequence[Setting], rows: int, columns: int) -> Figure:
    """Draw the mean test error over two axes of the sweep, averaged over seeds and all other axes.

    Where nothing but seeds is averaged, up to `MOST_SEEDS` of them are listed below the mean.
    """
    row, column = sweep_axes[rows], sweep_axes[columns]
    errors: dict[tuple[int, int], list[list[float]]] = {}
    for setting in settings:
        if setting.outcomes:
            place = _coordinates(sweep_axes, setting)
            errors.setdefault((place[rows], place[columns]), []).append(list(setting.by_seed().values()))
    if not errors:
        return message_figure("No cell has finished yet")
    table = np.full((len(row.values), len(column.values)), np.nan)
    for at, averaged in errors.items():
        table[at] = np.mean([np.mean(seeds) for seeds in averaged])
    listed = {
        at: "  ".join(f"{seed:.1f}" for seed in averaged[0])
        for at, averaged in errors.items()
        if len(sweep_axes) == 2 and 2 <= len(averaged[0]) <= MOST_SEEDS
    }
    width, height = (1.15, 0.6) if listed else (0.72, 0.5)
    figure = figure_of(2.2 + width * table.shape[1], 1.6 + height * table.shape[0], gap=0.08)
    axes = figure.add_subplot()
    picture = axes.imshow(table, cmap=f"{COUNT_MAP}_r", aspect="auto", interpolation="nearest")
    low, high = float(np.nanmin(table)), float(np.nanmax(table))
    for (y, x), value in np.ndenumerate(table):
        if not math.isnan(value):
            # From 0.15 on, since the middle of this map is dark already.
            shade = 0.15 + 0.85 * (value - low) / (high - low) if high > low else 0.0
            seeds = listed.get((y, x))
            number_text(axes, float(x), float(y) - (0.14 if seeds else 0.0), f"{value:.2f}", 8.5, shade)
            if seeds:
                number_text(axes, float(x), float(y) + 0.22, seeds, 6.5, shade)
    axes.set_xticks(range(table.shape[1]), _ticks(column))
    axes.set_yticks(range(table.shape[0]), _ticks(row))
    axes.set_xlabel(", ".join(column.names), fontsize=9, color=INK)
    axes.set_ylabel(", ".join(row.names), fontsize=9, color=INK)
    tidy(axes, "Mean test error (%)", grid=False)
    figure.colorbar(picture, ax=axes, shrink=0.9, pad=0.02).ax.tick_params(labelsize=8)
    return figure


def sweep_curves(names: Sequence[str], settings: Sequence[tuple[Setting, Sequence[Records]]], best: int = 16) -> Figure:
    """Draw validation error over training: the mean over seeds of each setting, and each seed as a thin line.

    Args:
      names: the fields that vary.
      settings: each setting with the records of `metrics.jsonl` of its cells.
      best: the largest number of settings to draw; those of the lowest final error are drawn.
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
                axes.plot(list(curve), list(curve.values()), color=colour, alpha=0.45, linewidth=0.8)
        style = "-" if len(steps) > 1 else "o"
        axes.plot(steps, mean, style, color=colour, linewidth=1.6, label=_legend(names, setting.values) or None)
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
