"""Parts that all figures share: colours, axes, images, retina boxes and paths.

Pixel coordinates are edge coordinates, `(x + 1) / 2 * width`: pixel column `j` covers `[j, j + 1)`, and every
image is shown with `extent=(0, width, height, 0)` so that a box or a location lands on the pixels it means.
"""

import textwrap
from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from experiments.plots.arrays import GlimpseBoxes, Image, PixelPath, to_rgb

# The palette of Okabe and Ito, whose colours differ under every common colour blindness.
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
INK, FAINT = "#1f2430", "#6b7280"
RIGHT, WRONG = "#00664b", "#b03a00"  # darker green and vermilion, legible as text on white
UNSEEN = (0.16, 0.22, 0.34)  # what no patch has covered: a blue that no gray image holds
LETTER = 0.68  # width of a bold letter as a fraction of its size
BELIEF_MAP, COUNT_MAP = "Blues", "magma"


def glimpse_colours(count: int) -> list[str]:
    """Return hex colours of glimpses `0 .. count - 1`, from teal to light yellow, all legible on black."""
    ramp = matplotlib.colormaps["viridis"]
    return [matplotlib.colors.to_hex(ramp(position)) for position in np.linspace(0.48, 1.0, max(count, 1))]


def show_image(axes: Axes, image: Image) -> None:
    """Draw `image` `[H, W, C]` in pixel edge coordinates, without ticks or interpolation."""
    height, width = image.shape[:2]
    axes.imshow(to_rgb(image), extent=(0, width, height, 0), interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color="#9aa0ab", linewidth=0.6)


def draw_boxes(axes: Axes, boxes: GlimpseBoxes, colour: str, strength: float = 1.0) -> None:
    """Outline the `boxes` `[K, 4]` of one glimpse, (left, top, right, bottom) in pixels; coarse ones are thin."""
    for scale, (left, top, right, bottom) in enumerate(np.asarray(boxes, np.float64)):
        axes.add_patch(
            Rectangle(
                (left, top),
                right - left,
                bottom - top,
                fill=False,
                edgecolor=colour,
                linewidth=max(1.6 - 0.4 * scale, 0.7) * (0.4 + 0.6 * strength),
                alpha=strength * max(0.7**scale, 0.35),
                joinstyle="miter",
            )
        )


def spread(points: PixelPath, gap: float, height: int, width: int) -> PixelPath:
    """Return places in the image for the numbers of `points` `[T, 2]`, near them and about `gap` apart."""
    points = np.asarray(points, np.float64)
    count = len(points)
    low = np.minimum(gap / 2, [width / 2, height / 2])
    high = np.array([width, height]) - low
    # Points on one spot move in different directions: multiples of the golden angle.
    angles = np.arange(count) * 2.399963
    nudge = 1e-3 * gap * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    places = points
    for _ in range(200):
        nudged = places + nudge
        apart = nudged[:, None] - nudged[None]
        distance = np.linalg.norm(apart, axis=-1) + np.eye(count) * 2 * gap
        close = np.maximum(gap - distance, 0.0)
        if close.max(initial=0.0) < 0.02 * gap:
            break
        places = np.clip(places + 0.4 * (apart * (close / distance)[..., None]).sum(axis=1), low, high)
    moved = np.linalg.norm(places - points, axis=-1, keepdims=True)
    return np.where(moved > 0.01 * gap, places, points)


def draw_path(
    axes: Axes, path: PixelPath, colours: Sequence[str], places: PixelPath | None = None, size: float = 8.5
) -> None:
    """Draw the locations of `path` `[T, 2]`, in pixels, as numbers joined in their order.

    The numbers stand at `places` `[T, 2]` if given (see `spread`), each joined to a dot on its location.
    """
    axes.plot(path[:, 0], path[:, 1], color="black", linewidth=1.8, alpha=0.5, zorder=3)
    axes.plot(path[:, 0], path[:, 1], color="white", linewidth=0.8, alpha=0.8, zorder=3)
    if places is None:
        places = path
    for (x, y), (to_x, to_y), colour in zip(path, places, colours, strict=False):
        if (x, y) != (to_x, to_y):
            axes.plot([x, to_x], [y, to_y], color=colour, linewidth=0.7, zorder=3.5)
            axes.plot(x, y, "o", color=colour, markersize=2.2, markeredgewidth=0, zorder=3.6)
    for number, ((x, y), colour) in enumerate(zip(places, colours, strict=False), start=1):
        axes.text(
            x,
            y,
            str(number),
            color=colour,
            fontsize=size,
            fontweight="bold",
            ha="center",
            va="center",
            zorder=4 + number,
            clip_on=True,
            path_effects=[withStroke(linewidth=2.8, foreground="black")],
        )


def number_text(axes: Axes, x: float, y: float, text: str, size: float, shade: float) -> None:
    """Write `text` at data coordinates (x, y), light if its cell has a dark `shade` (0 white .. 1 dark)."""
    light = shade > 0.55
    effects = [withStroke(linewidth=1.2, foreground=(0, 0, 0, 0.25))] if light else []
    axes.text(
        x,
        y,
        text,
        ha="center",
        va="center",
        fontsize=size,
        color="white" if light else INK,
        path_effects=effects,
    )


def tidy(axes: Axes, title: str = "", grid: bool = True) -> None:
    """Remove the upper and right frame, and add a faint grid and a left-aligned title."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#9aa0ab")
    axes.tick_params(colors=INK, labelsize=9, which="both", width=0.6)
    axes.set_axisbelow(True)
    if grid:
        axes.grid(True, color="#e3e6eb", linewidth=0.7)
    if title:
        axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")


def in_lines(text: str, width: float, size: float) -> str:
    """Break a bold text of `size` points into lines of at most `width` inches."""
    return "\n".join(textwrap.wrap(text, int(72 * width / (LETTER * size))))


def upright_height(labels: Sequence[str], size: float, shortest: int = 3) -> float:
    """Return the inches that labels of `size` points need when they stand upright; 0 if they are short and lie."""
    longest = max(map(len, labels))
    return LETTER * size / 72 * longest if longest >= shortest else 0.0


def plain_log_axis(axes: Axes) -> None:
    """Make the y axis logarithmic with plain numbers at its ticks; zeros are not drawn."""
    axes.set_yscale("log", nonpositive="mask")
    low, high = axes.get_ylim()
    narrow = high / max(low, 1e-12) < 300
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def figure_of(width: float, height: float, gap: float = 0.04) -> Figure:
    """Return an empty figure, `width` by `height` inches, that lays out its axes with `gap` inches round each."""
    engine = ConstrainedLayoutEngine(w_pad=gap, h_pad=gap, wspace=0.02, hspace=0.02)
    return Figure(figsize=(width, height), layout=engine)


def message_figure(text: str) -> Figure:
    """Return a figure with a text only, for when there is nothing to draw."""
    figure = Figure(figsize=(6, 2))
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=12, color=FAINT)
    return figure
