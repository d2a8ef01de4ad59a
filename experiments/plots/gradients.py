"""The figure of `experiments.studies.gradient_variance`."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator

from experiments.plots.style import INK, SERIES, figure_of, tidy

COLOURS = (*SERIES, "#e69f00", "#56b4e9", INK)
MARKERS = "osD^vPX"


def variance_figure(record: Mapping[str, Any]) -> Figure:
    """Draw variance (above) and signal-to-noise ratio (below) against M, for each sigma and estimator.

    Both axes are logarithmic; a ratio that the noise of the reference hides (0 or less) is not drawn.

    Args:
      record: what `experiments.studies.gradient_variance` writes as JSON.
    """
    settings = record["settings"]
    sigmas, names = settings["sigma"], settings["estimators"]
    figure = figure_of(1.2 + 3.4 * len(sigmas), 6.6, gap=0.08)
    panels = figure.subplots(2, len(sigmas), sharex=True, sharey="row", squeeze=False)
    for row, (key, title) in enumerate((("variance", "Variance"), ("snr", "Signal-to-noise ratio"))):
        log = any(each[key] > 0 for each in record["results"])
        for column, sigma in enumerate(sigmas):
            axes = panels[row, column]
            for index, name in enumerate(names):
                found = [each for each in record["results"] if (each["sigma"], each["estimator"]) == (sigma, name)]
                points = sorted((each["replicates"], each[key]) for each in found if each[key] > 0)
                style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}
                axes.plot(*zip(*points, strict=True) if points else ((), ()), label=name, **style, **LINE)
            _finish(axes, settings["replicates"], f"{title}, sigma {sigma}", log)
        panels[row, 0].set_ylabel(
            ("trace of the covariance", "|gradient|\u00b2 / variance")[row], fontsize=9, color=INK
        )
    for axes in panels[-1]:
        axes.set_xlabel("replicates M of each image", fontsize=9, color=INK)
    handles, labels = panels[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 7), fontsize=9, frameon=False)
    return figure


LINE = {"linewidth": 1.5, "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.6}


def _finish(axes: Axes, replicates: Sequence[int], title: str, log: bool) -> None:
    axes.set_xscale("log", base=2)
    if log:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_locator(FixedLocator(sorted(replicates)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    tidy(axes, title)
