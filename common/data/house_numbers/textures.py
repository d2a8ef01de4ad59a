"""Walls behind house numbers: plaster, brick, stone, boards, wood, metal, leaves.

A wall is a function of the coordinates on it, so it has the same perspective as the number. Everything is drawn from
the generator that is passed and from a fixed bank of noise.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image

_BANK_SIDE = 512

# Colours of walls and doors, RGB; every wall varies around one of them.
WALL_COLOURS = np.array(
    [
        *[(232, 228, 218), (205, 196, 178), (184, 170, 148), (160, 150, 140), (222, 205, 170), (196, 160, 118)],
        *[(150, 84, 62), (134, 66, 52), (170, 110, 84), (118, 82, 60), (92, 62, 44), (72, 48, 36)],
        *[(128, 132, 136), (96, 100, 104), (66, 70, 76), (40, 42, 46), (206, 210, 214), (240, 240, 240)],
        *[(58, 70, 60), (98, 110, 90), (64, 76, 98), (104, 124, 144), (104, 44, 42), (164, 154, 106)],
    ],
    np.float32,
)


class WallPoints(NamedTuple):
    """The coordinates on the wall of each pixel.

    Attributes:
        u: float32 `[rows, columns]`: distance to the right, in heights of a digit.
        v: float32 `[rows, columns]`: distance downwards, in heights of a digit.
        height: height of a digit in pixels.
    """

    u: Float[np.ndarray, "rows columns"]
    v: Float[np.ndarray, "rows columns"]
    height: float


@functools.cache
def _bank(slope: float) -> Image.Image:
    """Return periodic noise in 0..255 whose amplitude falls with frequency as ``frequency ** -slope``."""
    rng = np.random.default_rng(20141224)
    rows, columns = np.fft.fftfreq(_BANK_SIDE)[:, None], np.fft.rfftfreq(_BANK_SIDE)[None]
    frequency = np.sqrt(rows**2 + columns**2)
    frequency[0, 0] = 1.0
    spectrum = np.fft.rfft2(rng.standard_normal((_BANK_SIDE, _BANK_SIDE))) / frequency**slope
    spectrum[0, 0] = 0.0
    waves = np.fft.irfft2(spectrum, (_BANK_SIDE, _BANK_SIDE))
    return Image.fromarray(np.clip(128 + 48 * waves / waves.std(), 0, 255).astype(np.uint8))


def draw_noise(
    rng: np.random.Generator, rows: int, columns: int, grain: float = 1.0, stretch: float = 1.0, slope: float = 1.0
) -> Float[np.ndarray, "rows columns"]:
    """Draw natural noise of mean about 0 and standard deviation about 1.

    Args:
        rng: the generator.
        rows: rows of the result.
        columns: columns of the result.
        grain: pixels of the result for each pixel of the noise; more is smoother.
        stretch: width of its features relative to their height.
        slope: how fast its amplitude falls with frequency; more is smoother.

    Returns:
        float32 `[rows, columns]`.
    """
    width = min(columns / (grain * max(stretch, 1.0)), _BANK_SIDE - 1.0)
    height = min(rows * min(stretch, 1.0) / grain, _BANK_SIDE - 1.0)
    left, top = rng.random() * (_BANK_SIDE - width), rng.random() * (_BANK_SIDE - height)
    box = (left, top, left + max(width, 1.0), top + max(height, 1.0))
    box = (box[0], box[1], min(box[2], _BANK_SIDE), min(box[3], _BANK_SIDE))
    part = _bank(slope).resize((columns, rows), Image.Resampling.BILINEAR, box=box)
    return (np.asarray(part, np.float32) - 128.0) / 48.0


def vary_colour(rng: np.random.Generator, colour: Float[np.ndarray, "3"], amount: float) -> Float[np.ndarray, "3"]:
    """Vary a colour `[3]` in 0..255: its brightness by about `amount`, its hue by a third of that."""
    shift = amount * rng.standard_normal() + 0.3 * amount * rng.standard_normal(3)
    return np.clip(colour + shift, 0, 255).astype(np.float32)


def draw_wall(rng: np.random.Generator, points: WallPoints) -> Float[np.ndarray, "rows columns 3"]:
    """Draw a wall of a random kind and colour.

    Args:
        rng: the generator.
        points: the coordinates on the wall of each pixel.

    Returns:
        float32 `[rows, columns, 3]`, about 0..255, not clipped.
    """
    base = vary_colour(rng, WALL_COLOURS[rng.integers(len(WALL_COLOURS))], 18.0)
    kind = _KINDS[np.searchsorted(_SHARES, rng.random())]
    light = kind(rng, points)
    if light.ndim == 3:
        return base + light
    # A texture changes in hue too, not only in brightness.
    tint = (1.0 + 0.15 * rng.standard_normal(3)).astype(np.float32)
    return base + light[..., None] * tint


def _plaster(rng: np.random.Generator, points: WallPoints) -> np.ndarray:
    rows, columns = points.u.shape
    coarse = draw_noise(rng, rows, columns, points.height / 6, slope=1.0)
    return (2 + 14 * rng.random()) * coarse + (8 * rng.random()) * draw_noise(rng, rows, columns, 1.0, slope=0.3)


def _brick(rng: np.random.Generator, points: WallPoints) -> np.ndarray:
    course = 0.35 + 1.2 * rng.random()  # Height of a brick, in digits.
    row = points.v / course + rng.random()
    column = points.u / (course * (2.2 + rng.random())) + 0.5 * (np.floor(row) % 2) + rng.random()
    joint = 0.06 + 0.1 * rng.random()
    in_row, in_column = row % 1.0, column % 1.0
    mortar = np.maximum(_edge(in_row, joint), _edge(in_column, 0.45 * joint))
    tones = rng.standard_normal((16, 16)).astype(np.float32) * (6 + 16 * rng.random())
    brick = tones[np.floor(row).astype(int) % 16, np.floor(column).astype(int) % 16]
    rows, columns = points.u.shape
    brick = brick + 8 * draw_noise(rng, rows, columns, 1.5, slope=0.6)
    return brick + mortar * ((-50 + 110 * rng.random()) - brick)


def _stone(rng: np.random.Generator, points: WallPoints) -> np.ndarray:
    size = 0.7 + 1.3 * rng.random()
    u, v = points.u / size, points.v / size
    left, top = np.floor(u).astype(int), np.floor(v).astype(int)
    corners = rng.random((8, 8, 2)).astype(np.float32)
    nearest = np.full(u.shape, 9.0, np.float32)
    second, owner = nearest.copy(), np.zeros(u.shape, int)
    # One stone in each cell of a grid (Worley noise); a pixel belongs to the nearest, in this cell or a neighbour.
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            row, column = (top + down) % 8, (left + right) % 8
            point = corners[row, column]
            distance = np.hypot(left + right + point[..., 0] - u, top + down + point[..., 1] - v)
            closer = distance < nearest
            second = np.where(closer, nearest, np.minimum(second, distance))
            owner = np.where(closer, row * 8 + column, owner)
            nearest = np.where(closer, distance, nearest)
    tones = rng.standard_normal(64).astype(np.float32) * (8 + 18 * rng.random())
    rows, columns = u.shape
    gap = np.clip(1.0 - (second - nearest) / (0.08 + 0.1 * rng.random()), 0, 1)
    return tones[owner] + 9 * draw_noise(rng, rows, columns, 1.5, slope=0.8) - gap * (10 + 60 * rng.random())


def _boards(rng: np.random.Generator, points: WallPoints) -> np.ndarray:
    across = points.v if rng.random() < 0.6 else points.u
    place = across / (0.4 + 2.0 * rng.random()) + rng.random()
    within = place % 1.0
    groove = _edge(within, 0.05 + 0.08 * rng.random())
    rows, columns = across.shape
    slope = (within - 0.5) * (-10 + 30 * rng.random())
    grain = (1 + 5 * rng.random()) * draw_noise(rng, rows, columns, 1.2, slope=0.8)
    return slope + grain - groove * (15 + 60 * rng.random())


def _wood(rng: np.random.Generator, points: WallPoints) -> np.ndarray:
    rows, columns = points.u.shape
    stretch = 6.0 if rng.random() < 0.5 else 1 / 6.0
    return (6 + 16 * rng.random()) * draw_noise(rng, rows, columns, points.height / 12, stretch, slope=0.9)


def _metal(rng: np.random.Generator, points: WallPoints) -> np.ndarray:
    rows, columns = points.u.shape
    brushed = draw_noise(rng, rows, columns, 1.0, 20.0, slope=0.5)
    sheen = draw_noise(rng, rows, columns, points.height, slope=1.5)
    return 5 * rng.random() * brushed + (5 + 25 * rng.random()) * sheen


def _panel(rng: np.random.Generator, points: WallPoints) -> np.ndarray:
    """Draw a door or frame: flat, with one or two straight edges."""
    rows, columns = points.u.shape
    light = 2 * draw_noise(rng, rows, columns, 2.0, slope=1.0)
    for _ in range(1 + (rng.random() < 0.5)):
        across = points.v if rng.random() < 0.5 else points.u
        place = (across - across.mean()) / max(float(np.ptp(across)), 1e-3) + 0.8 * (rng.random() - 0.5)
        light = light + (place > 0) * np.float32(40 * rng.standard_normal())
        light = light - _edge(place + 0.5, 0.03) * (60 * rng.random())
    return light


def _leaves(rng: np.random.Generator, points: WallPoints) -> np.ndarray:
    """Draw an out-of-focus background of several colours."""
    rows, columns = points.u.shape
    grain = points.height / (6 + 14 * rng.random())
    planes = [draw_noise(rng, rows, columns, grain, slope=1.2) for _ in range(2)]
    mix = rng.standard_normal((2, 3)).astype(np.float32) * 10 + 16
    return planes[0][..., None] * mix[0] + planes[1][..., None] * mix[1]


def _edge(place: np.ndarray, width: float) -> np.ndarray:
    """Return a soft 1 where a position in [0, 1] is within `width` of 0, else 0."""
    return np.clip(1.5 - place / width, 0, 1)


_KINDS: tuple[Callable[[np.random.Generator, WallPoints], np.ndarray], ...]
_KINDS = (_plaster, _brick, _stone, _boards, _wood, _metal, _panel, _leaves)
_SHARES = np.cumsum([0.3, 0.15, 0.08, 0.13, 0.1, 0.08, 0.12, 0.04])
