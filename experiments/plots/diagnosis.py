"""The figure of a diagnosis."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.output.text import range_text
from experiments.plots.names import shown_text
from experiments.plots.style import INK, SERIES, figure_of, plain_log_axis, tidy

# Characters of the name of a choice of locations.
LONGEST_NAME = 40


def diagnosis_figure(diagnosis: Mapping[str, Any], names: Mapping[str, str]) -> Figure:
    """Draw a diagnosis (`experiments.evaluation.diagnosis.diagnose`): errors in per cent with 95% intervals.

    Args:
      diagnosis: its measurements.
      names: of the rows of its ``by_locations``.
    """
    by_glimpse = diagnosis["by_glimpse"]
    panels = ["by_locations", "errors"]
    panels += ["on_digit"] if "on_digit" in by_glimpse[0] else []
    panels += [name for name in ("by_place", "by_clutter") if name in diagnosis]
    columns = 3 if len(panels) > 2 else 2
    rows = -(-len(panels) // columns)
    figure = figure_of(4.4 * columns, 3.3 * rows, gap=0.1)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for name, axes in zip(panels, grid, strict=False):
        if name == "by_locations":
            _draw_locations(axes, diagnosis["by_locations"], names)
        elif name == "errors":
            _draw_by_glimpse(axes, by_glimpse)
        elif name == "on_digit":
            _draw_on_digit(axes, by_glimpse)
        elif name == "by_place":
            _draw_places(axes, diagnosis["by_place"])
        else:
            _draw_clutter(axes, diagnosis["by_clutter"])
    return figure


def _spread(entries: Sequence[Mapping[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """Return errors, and what their intervals add below and above them."""
    value, low, high = (np.array([entry[name] for entry in entries], float) for name in ("error", "low", "high"))
    # An interval may begin a rounding error beyond its middle.
    return value, np.maximum(np.stack([value - low, high - value]), 0.0)


def _in_per_cent(axes: Axes, x: bool = False) -> None:
    (axes.xaxis if x else axes.yaxis).set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))


def _draw_locations(axes: Axes, by_locations: Mapping[str, Any], names: Mapping[str, str]) -> None:
    value, around = _spread(list(by_locations.values()))
    places = np.arange(len(value))
    axes.barh(places, value, color=SERIES[0], height=0.6)
    axes.errorbar(value, places, xerr=around, fmt="none", ecolor=INK, elinewidth=1.0, capsize=3)
    for place, error, top in zip(places, value, value + around[1], strict=True):
        axes.annotate(f"{error:.2f}", (top, place), (3, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set_yticks(places, [shown_text(names[name], LONGEST_NAME) for name in by_locations], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.2 * float((value + around[1]).max()) or 1.0)
    _in_per_cent(axes, x=True)
    tidy(axes, "Error by the choice of locations")


def _draw_by_glimpse(axes: Axes, by_glimpse: Sequence[Mapping[str, Any]]) -> None:
    steps = np.arange(1, len(by_glimpse) + 1)
    for colour, name, label in zip(SERIES, ("greedy", "mean"), ("greedy", "mean of episodes"), strict=False):
        value, around = _spread([entry[name] for entry in by_glimpse])
        axes.errorbar(steps, value, around, fmt="-o", markersize=4, color=colour, capsize=2, label=label)
    lowest, highest = (float(limit) for limit in axes.dataLim.intervaly)
    if lowest > 0 and highest > 8 * lowest:
        plain_log_axis(axes)
    else:
        axes.set_ylim(0, min(1.3 * highest or 1.0, 105))
    _in_per_cent(axes)
    axes.set_ylabel("error", fontsize=9, color=INK)
    axes.set_xticks(steps)
    axes.set_xlabel("glimpses taken", fontsize=9, color=INK)
    axes.legend(fontsize=8.5, frameon=False)
    tidy(axes, "Error after each glimpse")


def _draw_on_digit(axes: Axes, by_glimpse: Sequence[Mapping[str, Any]]) -> None:
    steps = np.arange(1, len(by_glimpse) + 1)
    axes.plot(steps, [entry["on_digit"] for entry in by_glimpse], "-o", markersize=4, color=SERIES[0])
    axes.set_ylim(0, 105)
    distances = [f"{entry['distance_px']:.1f}" for entry in by_glimpse]
    axes.set_xticks(steps, [f"{step}\n{distance}" for step, distance in zip(steps, distances, strict=True)])
    axes.set_xlabel("glimpse, and mean distance to the digit's centre in pixels", fontsize=9, color=INK)
    _in_per_cent(axes)
    tidy(axes, "Sampled locations on the digit")


def _draw_places(axes: Axes, places: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    errors = np.array([[np.nan if entry["error"] is None else entry["error"] for entry in row] for row in places])
    axes.imshow(errors, cmap="Blues", vmin=0, vmax=2 * np.nanmax(errors) or 1.0)
    for (row, column), error in np.ndenumerate(errors):
        entry = places[row][column]
        text = f"{error:.2f}%\n{entry['n']:,} images" if entry["n"] else "no images"
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=INK)
    axes.set_xticks([])
    axes.set_yticks([])
    tidy(axes, "Error by the digit's place", grid=False)


def _draw_clutter(axes: Axes, groups: Sequence[Mapping[str, Any]]) -> None:
    value, around = _spread(groups)
    places = np.arange(len(groups))
    axes.bar(places, value, width=0.62, color=SERIES[0])
    axes.errorbar(places, value, around, fmt="none", ecolor=INK, elinewidth=1.0, capsize=3)
    axes.set_xticks(places, [range_text(100 * group["from"], 100 * group["to"]) for group in groups], fontsize=8)
    axes.set_ylim(0, 1.15 * float((value + around[1]).max()) or 1.0)
    axes.set_xlabel("fraction of the digit's box under distractors", fontsize=9, color=INK)
    _in_per_cent(axes)
    tidy(axes, "Error by clutter")
