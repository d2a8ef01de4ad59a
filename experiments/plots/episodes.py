"""Figures of single episodes: locations, glimpses and beliefs."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Integer
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from experiments.evaluation.reading import Reading, read_episode
from experiments.plots.arrays import (
    Boxes,
    Canvas,
    EpisodeBelief,
    EpisodeBoxes,
    EpisodePatches,
    GlimpseBoxes,
    GlimpsePatches,
    Glimpses,
    Images,
    Locations,
    Mask,
    Probabilities,
    Rgb,
    Targets,
    likeliest_classes,
    to_pixels,
    to_rgb,
)
from experiments.plots.names import shown_names
from experiments.plots.style import (
    BELIEF_MAP,
    FAINT,
    INK,
    RIGHT,
    UNSEEN,
    WRONG,
    draw_boxes,
    draw_path,
    figure_of,
    glimpse_colours,
    in_lines,
    message_figure,
    show_image,
    spread,
    upright_height,
)
from experiments.plots.symbols import draw_symbols, glimpse_title, mark_symbols

# Distance between the numbers of glimpses, as a fraction of the width of an image.
NUMBER_GAP = 0.075


def covered(boxes: GlimpseBoxes, height: int, width: int) -> Mask:
    """Return a mask `[height, width]` of the pixels whose centre is in any of `boxes` `[K, 4]`, in pixels."""
    mask = np.zeros((height, width), bool)
    for box in np.asarray(boxes, np.float64):
        rows, columns, _, _ = _samples(box, 1, height, width)
        mask[np.ix_(rows, columns)] = True
    return mask


def reconstruct(glimpse: GlimpsePatches, boxes: GlimpseBoxes, height: int, width: int) -> Canvas:
    """Reconstruct the image from one glimpse: sharp near its location, coarse around, zero where no patch reached.

    Args:
      glimpse: patches `[K, G, G, C]` in [0, 1]; row, then column.
      boxes: what each patch covers, `[K, 4]`: (left, top, right, bottom) in pixels; may reach outside.
      height, width: of the image, in pixels.

    Returns:
      `[height, width, C]`: each pixel takes the sample of the finest patch (smallest box) over its centre.
    """
    return reconstruct_episode(glimpse[None], np.asarray(boxes)[None], height, width)


def reconstruct_episode(glimpses: EpisodePatches, boxes: EpisodeBoxes, height: int, width: int) -> Canvas:
    """Reconstruct the image `[height, width, C]` in [0, 1] from T glimpses, as `reconstruct` does from one.

    `glimpses` is `[T, K, G, G, C]`, `boxes` `[T, K, 4]` in pixels. A finer patch covers a coarser one,
    whichever came first; of patches of one size the later covers the earlier.
    """
    patches = np.asarray(glimpses).reshape(-1, *glimpses.shape[2:])
    frames = np.asarray(boxes, np.float64).reshape(-1, 4)
    canvas = np.zeros((height, width, patches.shape[-1]), np.float32)
    areas = np.round((frames[:, 2] - frames[:, 0]) * (frames[:, 3] - frames[:, 1]), 6)
    for index in np.argsort(-areas, kind="stable"):
        rows, columns, sample_rows, sample_columns = _samples(frames[index], patches.shape[1], height, width)
        canvas[np.ix_(rows, columns)] = patches[index][np.ix_(sample_rows, sample_columns)]
    return canvas


def _samples(
    box: np.ndarray, side: int, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return rows and columns of the image with their centre in `box`, and the patch rows and columns over them."""
    left, top, right, bottom = box
    found: list[np.ndarray] = []
    for start, stop, length in ((top, bottom, height), (left, right, width)):
        centres = np.arange(length) + 0.5
        pixels = np.flatnonzero((centres >= start) & (centres < stop))
        samples = np.floor((centres[pixels] - start) / max(stop - start, 1e-9) * side).astype(int)
        found.append(np.stack([pixels, np.clip(samples, 0, side - 1)]))
    return found[0][0], found[1][0], found[0][1], found[1][1]


def seen_rgb(glimpses: EpisodePatches, boxes: EpisodeBoxes, height: int, width: int) -> Rgb:
    """Return `reconstruct_episode` in RGB `[height, width, 3]`, dark blue where no patch reached."""
    picture = to_rgb(reconstruct_episode(glimpses, boxes, height, width))
    picture[~covered(np.asarray(boxes).reshape(-1, 4), height, width)] = UNSEEN
    return picture


def verdict(reading: Reading, names: Sequence[str]) -> tuple[str, str]:
    """Return the title of an episode and its colour; a tick or a cross repeats the meaning of the colour."""
    true = reading.text(reading.label, names)
    if reading.is_correct:
        return f"✓ {true}", RIGHT
    return (
        f"✗ {true}, {'taken for' if reading.end is None else 'read as'} {reading.text(reading.predicted, names)}",
        WRONG,
    )


def verdict_so_far(
    label: Integer[np.ndarray, "*S"], beliefs: EpisodeBelief, step: int, names: Sequence[str]
) -> tuple[str, str]:
    """Return the `verdict` of an episode after glimpse `step`; for an unfinished sequence the symbols so far."""
    if not label.ndim:
        return verdict(read_episode(label, beliefs[: step + 1]), names)
    reading = read_episode(label, beliefs)
    if step + 1 >= reading.num_taken:
        return verdict(reading, names)
    true, read = reading.text(reading.label, names), " ".join(names[symbol] for symbol in reading.predicted_by(step))
    return f"{true}, read {read} …" if read else true, INK


def episode_sheet(
    images: Images,
    labels: Targets,
    locations: Locations,
    boxes: Boxes,
    probabilities: Probabilities,
    class_names: Sequence[str] | None = None,
    max_images: int = 12,
) -> Figure:
    """Draw the first `max_images` episodes: the path over each image, and beside it the belief after each glimpse.

    For a sequence the path ends at the predicted end, each predicted symbol stands at its last glimpse, and only the
    finest boxes are drawn.

    Args:
      images: uint8 `[N, H, W, C]`.
      labels: true classes `[N]`, or symbols `[N, S]`.
      locations: `[T, N, 2]`, (x, y) in [-1, 1].
      boxes: `[T, N, K, 4]`, (left, top, right, bottom) in pixels, finest scale first; may reach outside.
      probabilities: `[T, N, classes]`; the prediction is the likeliest class after the last glimpse, of a symbol after
        the last of its glimpses.
      class_names: one for each class; their numbers if None.
      max_images: how many episodes at most.
    """
    count = min(len(images), max_images)
    if not count:
        return message_figure("No episodes to show")
    names = shown_names(class_names, probabilities.shape[-1])
    columns = min(count, 3)
    rows = math.ceil(count / columns)
    height, width = images.shape[1:3]
    below = upright_height(names, 7.5)
    figure = figure_of(5.0 * columns + 0.8, (2.6 * height / width + 0.45 + below) * rows + 0.1, gap=0.07)
    grid = figure.add_gridspec(rows, 2 * columns, width_ratios=[1.0, 0.72] * columns)
    path = to_pixels(locations, height, width)
    for index in range(count):
        row, column = divmod(index, columns)
        reading = read_episode(np.asarray(labels[index]), probabilities[:, index])
        axes = figure.add_subplot(grid[row, 2 * column])
        show_image(axes, images[index])
        colours = glimpse_colours(len(locations))[: reading.num_taken]
        scales = None if reading.end is None else 1
        for step, colour in enumerate(colours):
            draw_boxes(axes, boxes[step, index, :scales], colour, strength=0.7)
        taken = path[: reading.num_taken, index]
        places = spread(taken, NUMBER_GAP * width, height, width)
        draw_path(axes, taken, colours, places)
        draw_symbols(axes, places, reading, names)
        title, colour = verdict(reading, names)
        axes.set_title(in_lines(title, 2.9, 10.5), loc="left", fontsize=10.5, color=colour, fontweight="bold")
        axes = figure.add_subplot(grid[row, 2 * column + 1])
        _draw_belief(axes, probabilities[:, index], reading, names)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0.0, 1.0), BELIEF_MAP),
        ax=figure.axes,
        shrink=0.9 / rows**0.5,
        pad=0.01,
        aspect=24,
    )
    bar.set_label("belief", fontsize=9, color=INK)
    bar.ax.tick_params(labelsize=8)
    return figure


def _draw_belief(axes: Axes, beliefs: np.ndarray, reading: Reading, names: Sequence[str]) -> None:
    """Draw a heat map of `beliefs` `[T, classes]`, a row for each glimpse, with a triangle at the true class.

    For a sequence the true symbols are framed and the predicted ones stand beside; rows after the end are empty.
    """
    shown = likeliest_classes(beliefs, reading.label)
    steps = len(beliefs)
    taken = np.where(np.arange(steps)[:, None] < reading.num_taken, beliefs, np.nan)
    axes.imshow(taken[:, shown], cmap=BELIEF_MAP, vmin=0.0, vmax=1.0, aspect="auto", interpolation="nearest")
    axes.set_xticks(np.arange(1, len(shown)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, steps) - 0.5, minor=True)
    axes.grid(which="minor", color="#d9dde3", linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    labels = [names[index] for index in shown]
    turn = 90 if upright_height(labels, 7.5) else 0
    axes.set_xticks(np.arange(len(shown)), labels, fontsize=7.5, rotation=turn)
    every = math.ceil(steps / 12)
    axes.set_yticks(np.arange(0, steps, every), [str(step + 1) for step in range(0, steps, every)], fontsize=7.5)
    axes.set_ylabel("glimpse", fontsize=7.5, color=FAINT, labelpad=4)
    axes.tick_params(length=2, pad=1.5)
    axes.spines[:].set(color="#9aa0ab", linewidth=0.6)
    if reading.end is not None:
        mark_symbols(axes, shown, reading, names)
        return
    (label,) = reading.label
    for index, text in zip(shown, axes.get_xticklabels(), strict=True):
        if index == label:
            text.set(color=RIGHT, fontweight="bold")
    column = int(np.flatnonzero(shown == label)[0])
    axes.annotate(
        "▼",
        (column, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 0.5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        fontsize=7,
        color=RIGHT,
    )


def retina_sheet(
    glimpses: Glimpses,
    images: Images,
    labels: Targets,
    boxes: Boxes,
    probabilities: Probabilities,
    class_names: Sequence[str] | None = None,
    max_images: int = 4,
    max_glimpses: int = 8,
) -> Figure:
    """Draw the glimpses of episodes: each painted into the frame of its image, and its patches below.

    Args:
      glimpses: `[T, N, K, G, G, C]` in [0, 1], finest scale first.
      images: uint8 `[N, H, W, C]`.
      labels: true classes `[N]`, or symbols `[N, S]`.
      boxes: `[T, N, K, 4]`, (left, top, right, bottom) in pixels.
      probabilities: `[T, N, classes]`; in a sequence glimpses after the predicted end are left out, and the predicted
        symbol stands above the last glimpse of each symbol.
      class_names: one for each class; their numbers if None.
      max_images, max_glimpses: how many rows and columns at most.

    The left column is the image itself, the right one all its drawn glimpses together. Dark blue was not read.
    """
    count, steps = min(len(images), max_images), min(len(glimpses), max_glimpses)
    if not count or not steps:
        return message_figure("No glimpses to show")
    height, width = images.shape[1:3]
    names, scales = shown_names(class_names, probabilities.shape[-1]), glimpses.shape[2]
    cell = 1.45
    strip = cell / scales if scales > 1 else cell / 3
    figure = figure_of(cell * (steps + 2) + 0.3, count * (cell * height / width + strip + 0.36) + 0.1, gap=0.035)
    grid = figure.add_gridspec(2 * count, steps + 2, height_ratios=[cell * height / width, strip] * count)
    colours = glimpse_colours(len(glimpses))
    for index in range(count):
        reading = read_episode(np.asarray(labels[index]), probabilities[:, index])
        taken = min(steps, reading.num_taken)
        axes = figure.add_subplot(grid[2 * index, 0])
        show_image(axes, images[index])
        axes.set_anchor("S")
        name = reading.text(reading.label, names)
        axes.set_title(in_lines(f"image: {name}", cell, 9.0), fontsize=9, color=INK, fontweight="bold")
        for step in range(taken):
            axes = figure.add_subplot(grid[2 * index, step + 1])
            show_image(axes, seen_rgb(glimpses[step : step + 1, index], boxes[step : step + 1, index], height, width))
            axes.spines[:].set(color=colours[step], linewidth=1.6)
            axes.set_anchor("S")
            title, colour = glimpse_title(step, reading, names)
            axes.set_title(title, fontsize=9, color=colour)
            axes = figure.add_subplot(grid[2 * index + 1, step + 1])
            show_image(axes, patch_strip(glimpses[step, index]))
            axes.spines[:].set_visible(False)
            axes.set_anchor("N")
        axes = figure.add_subplot(grid[2 * index, steps + 1])
        show_image(axes, seen_rgb(glimpses[:taken, index], boxes[:taken, index], height, width))
        axes.set_anchor("S")
        axes.set_title("all together", fontsize=9, color=INK, fontweight="bold")
    return figure


def patch_strip(glimpse: GlimpsePatches, gap: int = 1) -> Rgb:
    """Return the K patches of one glimpse side by side in RGB `[G, width, 3]`, finest left, `gap` white between."""
    patches = [to_rgb(patch) for patch in glimpse]
    white = np.ones((glimpse.shape[1], gap, 3), np.float32)
    pieces = [piece for patch in patches for piece in (patch, white)]
    return np.concatenate(pieces[:-1], axis=1)
