"""Signs: the characters of a number on a wall, with or without a plate, among other characters."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFilter

from common.data.house_numbers.fonts import CHARACTERS, GLYPH_HEIGHT, Face, load_glyphs
from common.data.house_numbers.textures import WallPoints, draw_noise, draw_wall, vary_colour

# Colours of paint, metal and enamel, RGB.
_INK = np.array(
    [
        *[(20, 20, 22), (20, 20, 22), (45, 40, 38), (250, 250, 248), (250, 250, 248), (235, 232, 220)],
        *[(186, 156, 96), (140, 114, 70), (190, 192, 196), (120, 122, 126), (36, 56, 112), (140, 40, 36)],
        *[
            (90, 56, 32),
            (24, 70, 44),
            (210, 186, 90),
            (60, 60, 66),
            (212, 206, 196),
            (244, 240, 232),
            (28, 32, 44),
            (72, 62, 52),
        ],
    ],
    np.float32,
)

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class Sign(NamedTuple):
    """Characters on the plane of the wall, centred at (0, 0).

    Attributes:
        masks: the shape of each character, mode L.
        rectangles: left, top, width and height of each, in pixels of the plane.
    """

    masks: list[Image.Image]
    rectangles: list[tuple[float, float, int, int]]


def fit_glyph(
    rng: np.random.Generator, face: Face, character: str, plane: float, width: float, turn: float
) -> tuple[Image.Image, float, float]:
    """Return the shape of a character at its size on the wall.

    Args:
        rng: the generator.
        face: its face.
        character: the character.
        plane: height of a digit in pixels.
        width: horizontal stretch, 1 for none.
        turn: standard deviation of its rotation, in degrees.

    Returns:
        The mask, the pixels from the top of the highest digit down to its top, and the pixels to the next character.
    """
    glyph = load_glyphs(face)[character]
    ratio = plane / GLYPH_HEIGHT
    size = max(round(glyph.mask.width * ratio * width), 1), max(round(glyph.mask.height * ratio), 2)
    mask = glyph.mask.resize(size, Image.Resampling.BILINEAR)
    if turn:
        mask = mask.rotate(turn * rng.standard_normal(), Image.Resampling.BILINEAR, expand=True)
    return mask, glyph.top * ratio, glyph.advance * ratio * width


def paint_sign(
    rng: np.random.Generator,
    number: Sign,
    matrix: Float[np.ndarray, "3 3"],
    shape: tuple[int, int],
    height: float,
    plane: float,
    faces: tuple[Face, ...],
) -> Float[np.ndarray, "rows columns 3"]:
    """Paint a number on a wall, seen through a homography, in even light.

    Args:
        rng: the generator.
        number: its digits.
        matrix: the homography from the plane of the wall to the picture, both in pixels.
        shape: rows and columns of the picture.
        height: height of a digit in pixels of the picture.
        plane: height of a digit in pixels of the plane.
        faces: the faces of other characters around the number.

    Returns:
        float32 `[rows, columns, 3]`, about 0..255, not clipped.
    """
    rows, columns = shape
    inverse = np.linalg.inv(matrix)
    x, y = np.arange(columns, dtype=np.float32) + 0.5, np.arange(rows, dtype=np.float32)[:, None] + 0.5
    depth = (inverse[2, 0] * x + inverse[2, 1] * y + inverse[2, 2]).astype(np.float32) * plane
    u = ((inverse[0, 0] * x + inverse[0, 1] * y + inverse[0, 2]) / depth).astype(np.float32)
    v = ((inverse[1, 0] * x + inverse[1, 1] * y + inverse[1, 2]) / depth).astype(np.float32)
    points = WallPoints(u, v, height)
    picture = draw_wall(rng, points)
    digits, plate, border, others = _see_layers(rng, number, inverse, points, plane, faces)
    ground = picture
    if plate is not None and border is not None:
        paper = vary_colour(rng, _INK[rng.integers(len(_INK))], 15.0)
        paper = paper + (2 + 8 * rng.random()) * draw_noise(rng, rows, columns, height / 8)[..., None]
        shade = 0.6 * rng.random() * _shift(plate, rng, 0.12 * height)
        picture = picture * (1 - shade)[..., None]
        picture = picture + plate[..., None] * (paper - picture)
        edge = vary_colour(rng, _INK[rng.integers(len(_INK))], 20.0)
        picture = picture + border[..., None] * (edge - picture)
        ground = paper
    if others is not None:
        ink = vary_colour(rng, _INK[rng.integers(len(_INK))], 30.0)
        picture = picture + (others * (0.5 + 0.5 * rng.random()))[..., None] * (ink - picture)
    return _lay_on(rng, picture, digits, ground, height)


def _lay_on(
    rng: np.random.Generator, picture: np.ndarray, mask: np.ndarray, ground: np.ndarray, height: float
) -> np.ndarray:
    """Paint or mount the digits: with a shadow, a lit edge, a sheen, and wear."""
    rows, columns = mask.shape
    ink = _contrasting(rng, ground)
    if rng.random() < 0.5:
        shade = (0.15 + 0.6 * rng.random()) * _shift(mask, rng, 0.1 * height)
        picture = picture * (1 - shade)[..., None]
    face = ink + (25 * rng.random()) * (mask * draw_noise(rng, rows, columns, height / 3, slope=1.5))[..., None]
    if rng.random() < 0.3:
        face = face + (mask - _shift(mask, rng, 0.06 * height))[..., None] * np.float32(60 * rng.standard_normal())
    alpha = mask * np.float32(0.75 + 0.25 * rng.random())
    if rng.random() < 0.2:
        wear = draw_noise(rng, rows, columns, height / 10, slope=1.0)
        alpha = alpha * np.clip(1.2 - 0.6 * rng.random() * np.maximum(wear, 0), 0, 1)
    return picture + alpha[..., None] * (face - picture)


def _contrasting(rng: np.random.Generator, ground: np.ndarray) -> np.ndarray:
    """Draw an ink that contrasts with the ground, more or less, also in gray and despite the ground's texture."""
    luma = ground @ _LUMA
    colour, least = ground.mean(axis=(0, 1)), 30 + 70 * rng.random() + 1.2 * float(luma.std())
    for _ in range(8):
        ink = vary_colour(rng, _INK[rng.integers(len(_INK))], 12.0)
        difference = ink - colour
        if 0.75 * abs(float(difference @ _LUMA)) + 0.25 * float(np.abs(difference).max()) > least:
            return ink
    return np.full(3, 245 if float(luma.mean()) < 120 else 15, np.float32)


def _see_layers(
    rng: np.random.Generator,
    number: Sign,
    inverse: np.ndarray,
    points: WallPoints,
    plane: float,
    faces: tuple[Face, ...],
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Return coverage in 0..1, float32 `[rows, columns]`, of digits, plate, plate border, and other characters."""
    rows, columns = points.u.shape
    left, top = (float(np.min(axis)) * plane for axis in (points.u, points.v))
    right, bottom = (float(np.max(axis)) * plane for axis in (points.u, points.v))
    left, top, right, bottom = left - 2, top - 2, right + 2, bottom + 2
    canvas = max(int(right - left) + 2, 4), max(int(bottom - top) + 2, 4)
    bands = [Image.new("L", canvas) for _ in range(4)]
    for mask, (x, y, _, _) in zip(number.masks, number.rectangles, strict=True):
        _stamp(bands[0], mask, x - left, y - top)
    has_plate, has_others = rng.random() < 0.4, rng.random() < 0.5
    edges = np.array([(x, y, x + w, y + h) for x, y, w, h in number.rectangles])
    box = np.concatenate([edges[:, :2].min(axis=0), edges[:, 2:].max(axis=0)])
    if has_plate:
        _draw_plate(rng, bands[1], bands[2], box - np.tile([left, top], 2), plane)
    if has_others:
        for mask, x, y in _set_others(rng, box, (left, top, right, bottom), plane, faces):
            _stamp(bands[3], mask, x - left, y - top)
    to_canvas = np.array([[1, 0, -left], [0, 1, -top], [0, 0, 1]]) @ inverse
    coefficients = (to_canvas / to_canvas[2, 2]).ravel()[:8]
    # CMYK transforms four bands in one pass; the colours are meaningless.
    seen = Image.merge("CMYK", bands).transform(
        (columns, rows), Image.Transform.PERSPECTIVE, coefficients.tolist(), Image.Resampling.BILINEAR
    )
    digits, plate, border, others = np.moveaxis(np.asarray(seen, np.float32), 2, 0) / np.float32(255)
    return digits, plate if has_plate else None, border if has_plate else None, others if has_others else None


def _stamp(band: Image.Image, mask: Image.Image, x: float, y: float) -> None:
    """Add ink to a band; the part outside is cut off."""
    band.paste(255, (round(x), round(y)), mask)


def _draw_plate(
    rng: np.random.Generator, plate: Image.Image, border: Image.Image, box: np.ndarray, plane: float
) -> None:
    """Draw a rectangular, rounded or oval plate around the number, with or without a border."""
    pad = plane * (0.08 + 0.5 * rng.random(4))
    corners = [box[0] - pad[0], box[1] - pad[1], box[2] + pad[2], box[3] + pad[3]]
    shape, line = rng.random(), max(round(plane * 0.06 * rng.random()), 1)
    pens = ImageDraw.Draw(plate), ImageDraw.Draw(border)
    if shape < 0.15:
        middle, half = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) * 0.75 + plane * 0.1
        corners = [*(middle - half), *(middle + half)]
        pens[0].ellipse(corners, fill=255)
        if rng.random() < 0.6:
            pens[1].ellipse(corners, outline=255, width=line)
        return
    radius = plane * 0.35 * rng.random() if shape < 0.5 else 0
    pens[0].rounded_rectangle(corners, radius, fill=255)
    if rng.random() < 0.6:
        pens[1].rounded_rectangle(corners, radius, outline=255, width=line)


def _set_others(
    rng: np.random.Generator, box: np.ndarray, limits: tuple[float, ...], plane: float, faces: tuple[Face, ...]
) -> list[tuple[Image.Image, float, float]]:
    """Draw characters beside, above or below the number, separate from it and of another size than its digits.

    Returns:
        Masks, each with its left and top on the plane.
    """
    face = faces[rng.integers(len(faces))]
    placed = []
    for _ in range(1 + (rng.random() < 0.5)):
        size = plane * (0.3 + 0.4 * rng.random() if rng.random() < 0.6 else 1.3 + 0.5 * rng.random())
        alphabet = 10 if rng.random() < 0.7 else len(CHARACTERS)
        gap, side = plane * (0.12 + 0.5 * rng.random()), rng.random()
        beside = side < 0.7
        ahead = side < 0.35 or 0.7 < side < 0.85
        along = box[1] + (box[3] - box[1]) * (rng.random() - 0.3) if beside else box[0] + plane * (rng.random() - 0.5)
        for _ in range(1 + int(3 * rng.random())):
            mask, _, _ = fit_glyph(
                rng, face, CHARACTERS[rng.integers(alphabet)], min(size, 2.0 * GLYPH_HEIGHT), 1.0, 0.0
            )
            if beside:
                x = box[0] - gap - mask.width if ahead else box[2] + gap
                placed.append((mask, x, along))
                gap += mask.width + 0.1 * size
            else:
                y = box[1] - gap - mask.height if ahead else box[3] + gap
                placed.append((mask, along, y))
                along += mask.width + 0.1 * size
    return [one for one in placed if limits[0] - 200 < one[1] < limits[2] and limits[1] - 200 < one[2] < limits[3]]


def _shift(mask: np.ndarray, rng: np.random.Generator, distance: float) -> np.ndarray:
    """Return a mask shifted and blurred, as a shadow."""
    picture = Image.fromarray((mask * 255).astype(np.uint8))
    dx, dy = (2 * rng.random(2) - 1) * distance
    picture = picture.transform(picture.size, Image.Transform.AFFINE, (1, 0, -dx, 0, 1, -dy), Image.Resampling.BILINEAR)
    picture = picture.filter(ImageFilter.BoxBlur(0.3 + 0.5 * rng.random() * distance))
    return np.asarray(picture, np.float32) / np.float32(255)
