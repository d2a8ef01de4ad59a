"""Sheets of differentiable attention: grids and outputs of spatial transformers, and soft attention weights."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from experiments.plots.arrays import to_pixels
from experiments.plots.style import INK, figure_of, in_lines, show_image

# Lines of the grid that are drawn in each direction.
LINES = 5


def transformer_sheet(
    images: UInt8[np.ndarray, "N H W C"],
    origins: Sequence[Float[np.ndarray, "N h w 2"]],
    outputs: Sequence[Float[np.ndarray, "N h w C"]],
    title: str = "",
    verdicts: Sequence[tuple[str, str]] = (),
    boxes: Float[np.ndarray, "N 4"] | None = None,
) -> Figure:
    """Draw a column for each image: the image with the sampling grids, and below it the output of each transformer.

    Args:
      images: the input.
      origins: of each transformer, where on the image lies what it read, normalised (x, y).
      outputs: of each transformer, what it read, black at 0 and white at 1.
      title: above all.
      verdicts: of each image, what stands above it and in which colour.
      boxes: the true ones, drawn dashed: left, top, right, bottom in pixels.
    """
    rows, columns = 1 + len(origins), len(images)
    figure = figure_of(1.1 * columns, 1.2 * rows + 0.3 * bool(title))
    if title:
        figure.suptitle(title, x=0.02, ha="left", fontsize=10, fontweight="bold", color=INK)
    axes = figure.subplots(rows, columns, squeeze=False)
    for index, image in enumerate(images):
        show_image(axes[0, index], image)
        for number, grid in enumerate(origins):
            _draw_grid(axes[0, index], grid[index], image.shape[:2], f"C{number}")
        for number, output in enumerate(outputs):
            show_image(axes[1 + number, index], (255 * np.clip(output[index], 0, 1)).round().astype(np.uint8))
        if boxes is not None:
            left, top, right, bottom = boxes[index]
            box = Rectangle((left, top), right - left, bottom - top, fill=False, edgecolor="white", linestyle="--")
            axes[0, index].add_patch(box)
    _write_verdicts(axes[0], verdicts)
    axes[0, 0].set_ylabel("input")
    for number in range(len(origins)):
        axes[1 + number, 0].set_ylabel(f"transformer {number + 1}", color=f"C{number}")
    return figure


def _write_verdicts(axes: Sequence[Axes] | np.ndarray, verdicts: Sequence[tuple[str, str]]) -> None:
    for above, (text, colour) in zip(axes, verdicts, strict=False):
        above.set_title(in_lines(text, 1.05, 6.0), color=colour, fontsize=6)


def _draw_grid(axes: Axes, grid: Float[np.ndarray, "h w 2"], shape: tuple[int, ...], colour: str) -> None:
    height, width = shape
    points = to_pixels(grid, height, width)
    for axis in (0, 1):
        for place in np.linspace(0, grid.shape[axis] - 1, LINES).round().astype(int):
            line = np.take(points, place, axis=axis)
            axes.plot(line[:, 0], line[:, 1], color=colour, linewidth=0.8)
    axes.set(xlim=(0, width), ylim=(height, 0))


def attention_sheet(
    images: UInt8[np.ndarray, "N H W C"],
    maps: Float[np.ndarray, "N A rows columns"],
    cell: int,
    patches: Float[np.ndarray, "A N G G C"] | None = None,
    verdicts: Sequence[tuple[str, str]] = (),
) -> Figure:
    """Draw a column for each image: the image, and below it the attention weights of each glimpse or head.

    Args:
      images: the input.
      maps: weights of squares of pixels, from the image's upper left corner on; the last may reach beyond the image.
        Each is drawn on a scale of its own, with its largest weight divided by a uniform weight as a number.
      cell: side of those squares, in pixels.
      patches: the patch of each glimpse, drawn below its weights, each from 0 to its largest value.
      verdicts: of each image, what stands above it and in which colour.
    """
    height, width = images.shape[1:3]
    each = 1 if patches is None else 2
    rows, columns = 1 + each * maps.shape[1], len(images)
    figure = figure_of(1.1 * columns, 1.2 * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for index, image in enumerate(images):
        show_image(axes[0, index], image)
        for number, weights in enumerate(maps[index]):
            over = axes[1 + each * number, index]
            show_image(over, image)
            extent = (0, cell * weights.shape[1], cell * weights.shape[0], 0)
            strength = weights / max(float(weights.max()), 1e-12)
            over.imshow(strength, "inferno", vmin=0, vmax=1, extent=extent, alpha=0.7, interpolation="bilinear")
            over.set(xlim=(0, width), ylim=(height, 0))
            peak = f"{float(weights.max()) * weights.size:.1f}x"
            over.annotate(peak, (0.03, 0.03), xycoords="axes fraction", fontsize=6.5, color="white", ha="left")
            if patches is not None:
                patch = patches[number, index]
                show_image(axes[2 + each * number, index], np.clip(patch / max(float(patch.max()), 1e-12), 0, 1))
    _write_verdicts(axes[0], verdicts)
    axes[0, 0].set_ylabel("input")
    for number in range(maps.shape[1]):
        axes[1 + each * number, 0].set_ylabel(f"{'head' if patches is None else 'glimpse'} {number + 1}")
        if patches is not None:
            axes[2 + each * number, 0].set_ylabel("patch")
    return figure
