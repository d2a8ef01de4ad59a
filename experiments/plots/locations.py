"""Heat maps of the locations of a policy."""

import math

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from experiments.plots.arrays import Counts, Labels, Locations, Points, to_pixels
from experiments.plots.style import COUNT_MAP, FAINT, INK, figure_of, message_figure


def location_histogram(locations: Points, height: int, width: int, cell: int = 1) -> Counts:
    """Count the `locations` `[N, 2]`, (x, y) in [-1, 1], in each square of `cell` pixels.

    Return counts `[ceil(height / cell), ceil(width / cell)]` that sum to N: a location outside the image
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
    """Draw a heat map of the greedy `locations` `[T, N, 2]` over the image for each glimpse number.

    Each square of a map is `cell` pixels wide (if None, so that about 30 make a side). All maps share one
    scale of the fraction of images, in per cent; it is a square root, on which the noise of counts is even, and a
    glimpse that puts most images in one square (a fixed start) does not stretch it. Of sequences, whose symbols have
    `glimpses_per_target` each, fractions are of the images that take the glimpse, the first `taken` `[N]` of each.
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
    figure.suptitle("Locations of the greedy path", fontsize=11, color=INK, fontweight="bold")
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
    bar.set_label(f"images with a location here ({whole}; square-root scale)", fontsize=9, color=INK)
    bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}%"))
    bar.ax.tick_params(labelsize=8)
    return figure
