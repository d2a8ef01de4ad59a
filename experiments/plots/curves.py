"""Learning curves of a run."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from matplotlib.transforms import ScaledTranslation

from experiments.output.readouts import READOUTS
from experiments.plots.style import FAINT, INK, SERIES, figure_of, message_figure, plain_log_axis, tidy


class Panel(NamedTuple):
    """One set of axes among the learning curves."""

    title: str
    unit: str
    series: tuple[tuple[str, str], ...]  # (key of the record, name in the legend)
    log: bool = False


PANELS = (
    Panel(
        "Error",
        "error (%)",
        (
            ("accuracy", "training batches"),
            ("validation_sampled_error", f"validation, {READOUTS['sampled']}"),
            ("validation_greedy_error", f"validation, {READOUTS['greedy']}"),
            ("validation_error", f"validation, {READOUTS['average_probability']}"),
        ),
        log=True,
    ),
    Panel(
        "Loss",
        "loss",
        (
            ("loss", "total"),
            ("classification_loss", "classification"),
        ),
    ),
    Panel("Policy loss", "policy loss", (("policy_loss", "policy"),)),
    Panel("Value loss", "value loss", (("value_loss", "value network"),)),
    Panel("Reward", "reward an episode", (("reward", "reward"),)),
    Panel("Policy entropy", "entropy (nats)", (("entropy", "entropy"),)),
    Panel("Gradient norm", "global norm", (("grad_norm", "norm"),), log=True),
    Panel("Location noise", "sigma (px)", (("sigma_px", "sigma"),)),
    Panel("Learning rate", "learning rate", (("learning_rate", "rate"),)),
)


# From the x axis down to a legend, past the ticks and the name of the axis, in points.
LEGEND_DROP = -33.0
CAPTION = (
    "Training errors are of single sampled episodes with the location noise (sigma) of that step; "
    "validation errors are with the final sigma, greedy ones without noise."
)


def learning_curves(metrics: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the records of `metrics.jsonl` over training, one panel for each kind of quantity.

    A record has "step" and any of: accuracy (a fraction), validation_error, validation_greedy_error and
    validation_sampled_error (per cent), reward, loss, classification_loss, policy_loss, value_loss, entropy
    (nats), grad_norm, sigma_px (pixels), learning_rate. Accuracy is drawn as an error, in per cent, beside the
    validation errors. Missing and null values are left out, panels without data too.
    """
    shown = [panel for panel in PANELS if any(len(_series(metrics, key)[0]) for key, _ in panel.series)]
    if not shown:
        return message_figure("No metrics recorded yet")
    rows = _rows(len(shown))
    figure = figure_of(4.2 * max(rows), 3.1 * len(rows), gap=0.1)
    # Every row fills the width, however many panels it has.
    grid = figure.add_gridspec(len(rows), math.lcm(*rows))
    cells = [
        grid[row, column * grid.ncols // count : (column + 1) * grid.ncols // count]
        for row, count in enumerate(rows)
        for column in range(count)
    ]
    for cell, panel in zip(cells, shown, strict=True):
        axes = figure.add_subplot(cell)
        drawn = _draw_panel(axes, panel, metrics)
        axes.set_ylabel(panel.unit, fontsize=9, color=INK)
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.set_xlabel("training step", fontsize=9, color=INK)
        tidy(axes, panel.title)
        if drawn > 1:
            # Below the axes, where there are no curves.
            below = axes.transAxes + ScaledTranslation(0.0, LEGEND_DROP / 72, figure.dpi_scale_trans)
            legend = axes.legend(ncols=2, fontsize=8, frameon=False, borderaxespad=0.0, columnspacing=1.2)
            legend.set_loc("upper center")
            legend.set_bbox_to_anchor((0.5, 0.0), below)
    if all(len(_series(metrics, key)[0]) for key in ("sigma_px", "accuracy", "validation_error")):
        figure.supxlabel(CAPTION, fontsize=8.5, color=FAINT)
    return figure


def _rows(count: int) -> list[int]:
    """Return how many panels each row has: at most three, in even rows."""
    rows = math.ceil(count / 3) if count != 4 else 2
    return [count // rows + (row < count % rows) for row in range(rows)]


def _series(metrics: Sequence[Mapping[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Return steps and values of the records in which `key` is a finite number, in order of step."""
    points = []
    for record in metrics:
        step, value = record.get("step"), record.get(key)
        numbers = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in (step, value))
        if numbers and math.isfinite(step) and math.isfinite(value):  # type: ignore[arg-type]
            points.append((float(step), float(value)))  # type: ignore[arg-type]
    points.sort(key=lambda point: point[0])
    steps, values = np.array(points, np.float64).reshape(-1, 2).T
    return steps, 100.0 * (1.0 - values) if key == "accuracy" else values


def _draw_panel(axes: Axes, panel: Panel, metrics: Sequence[Mapping[str, Any]]) -> int:
    """Draw one panel and return how many of its series had data."""
    drawn, positive = 0, False
    for (key, name), colour in zip(panel.series, SERIES, strict=False):
        steps, values = _series(metrics, key)
        if not len(steps):
            continue
        drawn += 1
        positive |= bool((values > 0).any())
        if key.startswith("validation"):
            # Without episodes there is one way to read a model.
            name = name if any("validation_greedy_error" in record for record in metrics) else "validation"
            axes.plot(steps, values, "-o", color=colour, markersize=3.2, linewidth=1.6, label=name, zorder=3)
            continue
        smooth = _running_mean(values)
        if smooth is not values:
            axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.7)
        axes.plot(steps, smooth, "-" if len(steps) > 1 else "o", color=colour, linewidth=1.5, label=name)
    if panel.log and positive:
        plain_log_axis(axes)
    steps, values = _series(metrics, "validation_error")
    if panel.title == "Error" and len(steps):
        best = int(np.argmin(values))
        of = (
            f"{READOUTS['average_probability']}: "
            if any("validation_greedy_error" in record for record in metrics)
            else ""
        )
        text = f"{of}lowest {values[best]:.2f}% at step {EngFormatter(sep='')(steps[best])}"
        axes.set_title(text, loc="right", fontsize=8.5, color=FAINT)
        # Around one value a logarithmic axis takes a decade to either side.
        axes.set_ylim(top=min(axes.get_ylim()[1], 110.0))
    return drawn


def _running_mean(values: np.ndarray) -> np.ndarray:
    """Return the centred running mean over a fortieth of a long curve; a short curve is returned as it is."""
    if len(values) < 80:
        return values
    kernel = np.ones(2 * (len(values) // 80) + 1)
    total = np.convolve(values, kernel, mode="same")
    return total / np.convolve(np.ones_like(values), kernel, mode="same")
