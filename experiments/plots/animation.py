"""Endless GIFs: of episodes, one frame for each glimpse; of training, one frame for each validation."""

import io
import os
from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as PillowImage

from experiments.evaluation.reading import glimpses_taken, read_episode
from experiments.output.files import write_bytes
from experiments.plots.arrays import (
    Boxes,
    Glimpses,
    Images,
    Locations,
    Probabilities,
    Targets,
    likeliest_classes,
    to_pixels,
)
from experiments.plots.episodes import NUMBER_GAP, seen_rgb, verdict_so_far
from experiments.plots.names import shown_names
from experiments.plots.style import (
    FAINT,
    INK,
    RIGHT,
    SERIES,
    draw_boxes,
    draw_path,
    glimpse_colours,
    in_lines,
    show_image,
    spread,
    upright_height,
)
from experiments.plots.symbols import draw_symbols


def episode_gif(
    images: Images,
    labels: Targets,
    locations: Locations,
    boxes: Boxes,
    glimpses: Glimpses,
    probabilities: Probabilities,
    class_names: Sequence[str] | None = None,
    path: str | os.PathLike[str] | None = None,
    max_images: int = 5,
    seconds: float = 1.0,
    last_seconds: float = 3.0,
) -> bytes:
    """Draw an endless animation of the first `max_images` episodes; frame t shows the state after glimpse t.

    From top to bottom: the image with the boxes of this glimpse and the path so far; all that the retina has
    read so far; the belief over classes (the likeliest ten, if there are many). Of sequences the belief is about the
    current symbol, and an episode that has ended stays as it is.

    Args:
      images: uint8 `[N, H, W, C]`.
      labels: true classes `[N]`, or symbols `[N, S]`.
      locations: `[T, N, 2]`, (x, y) in [-1, 1].
      boxes: `[T, N, K, 4]`, (left, top, right, bottom) in pixels.
      glimpses: `[T, N, K, G, G, C]` in [0, 1].
      probabilities: `[T, N, classes]`.
      class_names: one for each class; their numbers if None.
      path: where to write the file as well, if given.
      max_images: how many episodes at most.
      seconds, last_seconds: how long a frame, and the last one, stay.

    Returns:
      The bytes of a GIF of a frame for each glimpse, up to the end of the longest reading.
    """
    steps, count = len(locations), min(len(images), max_images)
    names = shown_names(class_names, probabilities.shape[-1])
    steps = int(glimpses_taken(labels[:count], probabilities[:, :count]).max())
    frames = [
        _frame(step, steps, count, images, labels, locations, boxes, glimpses, probabilities, names)
        for step in range(steps)
    ]
    data = _gif(frames, seconds, last_seconds)
    if path is not None:
        write_bytes(path, data)
    return data


def figures_gif(figures: Iterable[Figure], seconds: float = 0.4, last_seconds: float = 3.0, dpi: int = 80) -> bytes:
    """Return the bytes of an endless GIF of figures of one size; `seconds` and `last_seconds` as of `episode_gif`."""
    frames = []
    for figure in figures:
        figure.set_dpi(dpi)
        frames.append(_picture(FigureCanvasAgg(figure)))
    return _gif(frames, seconds, last_seconds)


def _gif(frames: Sequence[PillowImage.Image], seconds: float, last_seconds: float) -> bytes:
    durations = [round(1000 * seconds)] * (len(frames) - 1) + [round(1000 * last_seconds)]
    first, *rest = _indexed(frames)
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


def _picture(canvas: FigureCanvasAgg) -> PillowImage.Image:
    canvas.draw()
    return PillowImage.fromarray(np.asarray(canvas.buffer_rgba())[..., :3])


def _indexed(frames: Sequence[PillowImage.Image]) -> list[PillowImage.Image]:
    """Reduce frames to their 255 most common colours: one palette, so that no colour flickers."""
    pixels = np.concatenate([np.asarray(frame).reshape(-1, 3) for frame in frames])
    codes, counts = np.unique(
        (pixels >> 3 << 3).astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32), return_counts=True
    )
    common = codes[np.argsort(-counts, kind="stable")[:255]]
    colours = np.stack([common >> 16, common >> 8 & 255, common & 255], axis=1)
    colours = np.where(colours == 248, 255, colours).astype(np.uint8)
    palette = PillowImage.new("P", (1, 1))
    palette.putpalette(colours.tobytes())
    return [frame.quantize(palette=palette, dither=PillowImage.Dither.NONE) for frame in frames]


def _frame(
    step: int,
    steps: int,
    count: int,
    images: np.ndarray,
    labels: np.ndarray,
    locations: np.ndarray,
    boxes: np.ndarray,
    glimpses: np.ndarray,
    probabilities: np.ndarray,
    names: Sequence[str],
) -> PillowImage.Image:
    """Draw the first `count` episodes after glimpse `step` of `steps` as an RGB picture."""
    height, width = images.shape[1:3]
    side, below = 2.1, max(0.32, 0.08 + upright_height(names, 6.5))
    figure = Figure(figsize=(side * count + 0.3, 2 * side * height / width + 1.98 + below), dpi=100)
    canvas = FigureCanvasAgg(figure)
    grid = figure.add_gridspec(
        3,
        count,
        height_ratios=[side * height / width, side * height / width, 1.25],
        left=0.15 / figure.get_figwidth(),
        right=1 - 0.15 / figure.get_figwidth(),
        top=1 - 0.68 / figure.get_figheight(),
        bottom=below / figure.get_figheight(),
        wspace=0.07,
        hspace=0.05,
    )
    figure.text(
        0.15 / figure.get_figwidth(),
        1 - 0.12 / figure.get_figheight(),
        f"glimpse {step + 1} of {steps}",
        fontsize=12,
        fontweight="bold",
        color=INK,
        va="top",
    )
    colours = glimpse_colours(len(locations))
    for index in range(count):
        reading = read_episode(np.asarray(labels[index]), probabilities[:, index])
        # An episode that has ended stays as it is.
        now = min(step, reading.num_taken - 1)
        axes = figure.add_subplot(grid[0, index])
        show_image(axes, images[index])
        draw_boxes(axes, boxes[now, index], colours[now])
        path = to_pixels(locations[: reading.num_taken, index], height, width)
        places = spread(path, NUMBER_GAP * width, height, width)
        draw_path(axes, path[: now + 1], colours, places[: now + 1])
        draw_symbols(axes, places, reading, names, until=now)
        title, colour = verdict_so_far(np.asarray(labels[index]), probabilities[:, index], now, names)
        size = 9.5 if "\n" not in in_lines(title, side, 9.5) else 8.0
        axes.set_title(in_lines(title, side, size), loc="left", fontsize=size, color=colour, fontweight="bold")
        axes = figure.add_subplot(grid[1, index])
        show_image(axes, seen_rgb(glimpses[: now + 1, index], boxes[: now + 1, index], height, width))
        shown = likeliest_classes(probabilities[:, index], reading.label, limit=10 if reading.end is None else 12)
        true = reading.label[reading.target_at(now)]
        _draw_bars(figure.add_subplot(grid[2, index]), probabilities[now, index], shown, true, names)
    return _picture(canvas)


def _draw_bars(axes: Axes, belief: np.ndarray, shown: np.ndarray, label: int, names: Sequence[str]) -> None:
    """Draw belief `[classes]` as bars over the classes `shown`, the true class on a green ground."""
    bars = axes.bar(np.arange(len(shown)), belief[shown], width=0.82, color=SERIES[0])
    labels = [names[index] for index in shown]
    turn = 90 if upright_height(labels, 6.5) else 0
    axes.set_xticks(np.arange(len(shown)), labels, fontsize=7.5 if not turn else 6.5, rotation=turn)
    axes.tick_params(length=0, colors=FAINT, pad=2)
    axes.axvspan(*(np.flatnonzero(shown == label)[0] + np.array([-0.5, 0.5])), color=RIGHT, alpha=0.13, linewidth=0)
    for index, bar, text in zip(shown, bars, axes.get_xticklabels(), strict=True):
        if index == label:
            bar.set(facecolor=RIGHT, hatch="////", edgecolor="white", linewidth=0)
            text.set(color=RIGHT, fontweight="bold")
    axes.set(ylim=(0.0, 1.04), yticks=[0.5, 1.0], yticklabels=[])
    axes.set_axisbelow(True)
    axes.grid(True, axis="y", color="#e3e6eb", linewidth=0.7)
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.spines["bottom"].set_color("#9aa0ab")
