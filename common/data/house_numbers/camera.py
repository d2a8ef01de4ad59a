"""The photograph of a scene: light, lens, sensor noise and JPEG compression of a cheap camera."""

import functools
import io

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageFilter

from common.data.house_numbers.textures import draw_noise

# Crops of the noise field start within its first `_FIELD` rows and columns.
_FIELD = 256


def take_photograph(
    rng: np.random.Generator, picture: Float[np.ndarray, "rows columns 3"], height: float
) -> Image.Image:
    """Light a picture, blur it, add sensor noise, and compress it.

    Args:
        rng: the generator.
        picture: the scene in even light, about 0..255, not clipped.
        height: height of a digit in pixels; blur and shadows are relative to it.

    Returns:
        A picture of the same size, mode RGB.
    """
    return _compress(rng, _expose(rng, _light(rng, picture, height), height))


def _light(rng: np.random.Generator, picture: np.ndarray, height: float) -> np.ndarray:
    """Apply uneven light, the edge of a shadow, a colour cast, low contrast and a glare."""
    rows, columns = picture.shape[:2]
    x, y = np.linspace(-1, 1, columns, dtype=np.float32), np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
    slopes = 0.2 * rng.standard_normal(2)
    light = np.exp(np.float32(slopes[0]) * x + np.float32(slopes[1]) * y)
    if rng.random() < 0.25:
        angle = 2 * np.pi * rng.random()
        side: np.ndarray = (
            np.float32(np.cos(angle)) * x + np.float32(np.sin(angle)) * y + np.float32(rng.random() - 0.5)
        )
        if rng.random() < 0.4:
            side = side + 0.5 * draw_noise(rng, rows, columns, height / 4, slope=1.2)
        light = light * (1 - (0.2 + 0.4 * rng.random()) * np.clip(0.5 + side * (2 + 8 * rng.random()), 0, 1))
    exposure = np.exp(0.18 * rng.standard_normal() + 0.05 * rng.standard_normal(3)).astype(np.float32)
    picture = np.clip(picture * light[..., None] * exposure, 0, 262)
    contrast, level = 0.5 + 0.5 * rng.random(), 60 + 120 * rng.random()
    picture = level + contrast * (picture - (0.5 * level + 0.5 * picture.mean()))
    if rng.random() < 0.05:
        place = 2 * rng.random(2) - 1
        distance = (x - np.float32(place[0])) ** 2 + (y - np.float32(place[1])) ** 2
        picture = picture + (80 * np.exp(-distance / (0.02 + 0.1 * rng.random()))).astype(np.float32)[..., None]
    return picture


def _expose(rng: np.random.Generator, picture: np.ndarray, height: float) -> Image.Image:
    """Apply defocus, motion blur and sensor noise."""
    softness = height * (0.01 + 0.035 * rng.random() ** 2)
    # Two box filters approximate a Gaussian.
    taken = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(softness))
    taken = taken.filter(ImageFilter.BoxBlur(0.7 * softness))
    if rng.random() < 0.08:
        smear = height * 0.08 * rng.random()
        taken = taken.filter(ImageFilter.BoxBlur((smear, 0) if rng.random() < 0.7 else (0, smear)))
    noise = 1 + 7 * rng.random() ** 2
    rows, columns = picture.shape[:2]
    # A crop of a fixed noise field: fresh noise would take a tenth of the rendering time.
    field = _grain()[rng.integers(_FIELD) :, rng.integers(_FIELD) :][:rows, :columns]
    if field.shape != picture.shape:
        field = rng.standard_normal(picture.shape, np.float32)
    grainy = np.asarray(taken, np.float32) + np.float32(noise) * field
    return Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8))


@functools.cache
def _grain() -> np.ndarray:
    """Return noise of brightness and, half as strong, of colour: float32 `[768, 768, 3]`."""
    rng = np.random.default_rng(2014)
    shape = (3 * _FIELD, 3 * _FIELD)
    return rng.standard_normal((*shape, 1), np.float32) + 0.5 * rng.standard_normal((*shape, 3), np.float32)


def _compress(rng: np.random.Generator, picture: Image.Image) -> Image.Image:
    """Compress four pictures out of five as JPEG, at a random quality."""
    if rng.random() > 0.8:
        return picture
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(35 + 60 * rng.random()))
    read = Image.open(file)
    read.load()
    return read
