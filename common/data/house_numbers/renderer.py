"""Rendered house numbers: a substitute for SVHN where it is not available.

`draw_scene` renders one picture of a number of one to five digits: a typeface, colours, perhaps a plate, a wall,
perspective, light and shadows, other characters around it, and the artefacts of a cheap camera. The picture is then
cropped around the number as Goodfellow et al., "Multi-digit Number Recognition from Street View Imagery using Deep
Convolutional Neural Networks" (2014), crop SVHN: the bounding box of all digits, enlarged and resized to a
square.

A scene depends only on its key, a few integers. All sizes are relative to the height of a digit, so one key gives the
same scene at all image sizes.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from common.data.house_numbers.camera import take_photograph
from common.data.house_numbers.fonts import FACES, Face
from common.data.house_numbers.signs import Sign, fit_glyph, paint_sign

MAX_DIGITS = 5
# Counts in SVHN's training set: numbers of length 1 to 5, and digits 0 to 9.
LENGTHS = np.array([5137, 18130, 8691, 1434, 10], float)
DIGITS = np.array([4948, 13861, 10585, 8497, 7458, 6882, 5727, 5595, 5045, 4659], float)
# Version of the renderer: raise it whenever a scene changes.
RENDERER = 2
# Major and minor version of Pillow that defines those scenes: other versions bring another FreeType and libjpeg, and so
# other pixels. Change it only together with RENDERER, or cached pools would be taken for new ones.
RENDERER_PILLOW = "13.0"

_LENGTH_CDF, _DIGIT_CDF = np.cumsum(LENGTHS) / LENGTHS.sum(), np.cumsum(DIGITS) / DIGITS.sum()
_FIRST_CDF = np.cumsum(DIGITS[1:]) / DIGITS[1:].sum()
# Side of an image in pixels.
MIN_SIZE, MAX_SIZE = 8, 128
# Largest number of pixels of a tightly cropped scene before it is resized.
_MAX_PIXELS = 9_000


class Scene(NamedTuple):
    """One rendered number.

    Attributes:
        image: uint8 `[size, size, 3]`, RGB.
        digits: its digits in reading order: from left to right, or downwards for vertical numbers.
        boxes: float32 `[len(digits), 4]`: left, top, right, bottom of each digit in pixels of the image.
    """

    image: UInt8[np.ndarray, "H W 3"]
    digits: tuple[int, ...]
    boxes: Float[np.ndarray, "S 4"]


def draw_scene(key: tuple[int, ...], size: int, growth: float = 1.3, faces: tuple[Face, ...] = FACES) -> Scene:
    """Render one scene.

    Args:
        key: non-negative integers, such as seed, split and index.
        size: rows and columns of the image, 8 to 128.
        growth: side of the picture relative to the bounding box of the number: 1.3, or 2.6 for a wide view.
        faces: the faces to choose from.

    Returns:
        The scene.
    """
    rng = np.random.default_rng(key)
    digits = draw_digits(rng)
    height = float(np.clip(np.exp(np.log(30) + 0.45 * rng.standard_normal()), 12, 60))
    plane = 8 + 1.25 * height  # Height of a digit in pixels of the plane.
    number = _set_number(rng, digits, faces[rng.integers(len(faces))], plane)
    matrix = _draw_view(rng, height, plane)
    corners = np.array([_corners(rectangle) for rectangle in number.rectangles])
    seen = _project(matrix, corners.reshape(-1, 2)).reshape(-1, 4, 2)
    boxes = np.concatenate([seen.min(axis=1), seen.max(axis=1)], axis=1)
    region = _region(rng, boxes, growth)
    columns, rows = region[2:] - region[:2]
    # Render large numbers smaller: more pixels than the result has would be wasted.
    scale = min(1.0, math.sqrt(_MAX_PIXELS * (growth / 1.3) ** 2 / (columns * rows)))
    fit = np.array([[scale, 0, -scale * region[0]], [0, scale, -scale * region[1]], [0, 0, 1]])
    shape = max(round(rows * scale), 6), max(round(columns * scale), 6)
    picture = paint_sign(rng, number, fit @ matrix, shape, height * scale, plane, faces)
    taken = take_photograph(rng, picture, height * scale)
    resampling = Image.Resampling.BICUBIC if rng.random() < 0.5 else Image.Resampling.BILINEAR
    image = np.asarray(taken.resize((size, size), resampling))
    per_pixel = size / np.array([columns, rows, columns, rows])
    placed = (boxes - np.tile(region[:2], 2)) * per_pixel
    return Scene(image, digits, placed.astype(np.float32))


def draw_digits(rng: np.random.Generator) -> tuple[int, ...]:
    """Draw a number with the lengths and digits of SVHN in their frequencies, except that the first digit is not 0.

    Zeros are therefore 3.7% of all digits, not 6.8% as in SVHN.
    """
    length = 1 + int(np.searchsorted(_LENGTH_CDF, rng.random()))
    first = 1 + int(np.searchsorted(_FIRST_CDF, rng.random()))
    return (first, *(int(digit) for digit in np.searchsorted(_DIGIT_CDF, rng.random(length - 1))))


def _set_number(rng: np.random.Generator, digits: tuple[int, ...], face: Face, plane: float) -> Sign:
    """Place the digits side by side, sometimes as steps, rarely as a column; centred at (0, 0)."""
    spacing = plane * (0.16 * rng.random() + (0.3 * rng.random() if rng.random() < 0.15 else 0.0))
    width = 0.8 + 0.4 * rng.random()
    loose = 0.05 * plane if rng.random() < 0.25 else 0.005 * plane
    turn = 5.0 * (rng.random() < 0.2)
    layout = rng.random()
    step = plane * 0.5 * rng.standard_normal() if layout < 0.06 else 0.0
    downwards = layout > 0.98 and len(digits) > 1
    layer, left = Sign([], []), 0.0
    for i, digit in enumerate(digits):
        mask, top, advance = fit_glyph(rng, face, str(digit), plane, width, turn)
        place = (left + loose * rng.standard_normal(), top + step * i + loose * rng.standard_normal())
        if downwards:
            place = (loose * rng.standard_normal() - mask.width / 2, top + 1.15 * plane * i)
        layer.masks.append(mask)
        layer.rectangles.append((*place, *mask.size))
        left += max(advance, 0.9 * mask.width) + spacing
    edges = np.array([(x, y, x + w, y + h) for x, y, w, h in layer.rectangles])
    middle = (edges[:, :2].min(axis=0) + edges[:, 2:].max(axis=0)) / 2
    return layer._replace(rectangles=[(x - middle[0], y - middle[1], w, h) for x, y, w, h in layer.rectangles])


def _draw_view(rng: np.random.Generator, height: float, plane: float) -> np.ndarray:
    """Draw the homography from the plane to the picture, `[3, 3]`: rotation, shear and perspective."""
    angle = np.deg2rad(np.clip(5 * rng.standard_normal(), -25, 25))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear = np.array([[1.0, 0.1 * rng.standard_normal()], [0.06 * rng.standard_normal(), 1.0]])
    stretch = np.diag([np.clip(1 - 0.2 * abs(rng.standard_normal()), 0.5, 1.0), 1.0])
    matrix = np.eye(3)
    matrix[:2, :2] = height / plane * turn @ shear @ stretch
    # Depth changes by this fraction across one height of a digit.
    matrix[2, :2] = np.clip(0.035 * rng.standard_normal(2), -0.08, 0.08) / plane
    return matrix


def _region(rng: np.random.Generator, boxes: np.ndarray, growth: float) -> np.ndarray:
    """Draw left, top, right, bottom of the crop: the bounding box, as inexact as drawn by hand, enlarged."""
    union = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    sides = union[2:] - union[:2]
    union = union + np.tile(sides, 2) * 0.025 * rng.standard_normal(4)
    middle, half = (union[:2] + union[2:]) / 2, np.maximum(growth * (union[2:] - union[:2]) / 2, 3.0)
    return np.concatenate([middle - half, middle + half])


def _corners(rectangle: tuple[float, float, int, int]) -> list[tuple[float, float]]:
    x, y, width, height = rectangle
    return [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]


def _project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points `[N, 2]` by a homography."""
    seen = points @ matrix[:, :2].T + matrix[:, 2]
    return seen[:, :2] / seen[:, 2:]
