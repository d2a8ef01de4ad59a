"""Canvases: an image at a random place on zeros, among distractors cropped from other images.

Source: the translated and cluttered MNIST tasks of Mnih et al., "Recurrent Models of Visual Attention"
(2014).

Everything random is an integer. `draw_layout` draws the integers, `paint` turns them into pixels, and
`draw_canvas` does one after the other. Integers are `bits % n`, because JAX keeps `random.bits` the same from
version to version and promises nothing of the kind for `random.randint`; the probability of a value is off by
less than n / 2**32 of itself.

All functions make one canvas; batch them with `jax.vmap`. XLA turns the batched slices below into something
faster than any formulation with scatters or one-hot products that was tried.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from common.data.source import Source

Index = Int[Array, ""] | Int[np.ndarray, ""] | np.integer | int


@dataclass(frozen=True)
class Canvas:
    """What to paint. Sizes are in pixels. Hashable, so it can be a static argument of a jitted function.

    Attributes:
        height: rows of the canvas.
        width: columns of the canvas.
        num_distractors: crops pasted on each canvas.
        distractor_size: side of each (square) crop.

    Raises:
        ValueError: if a size is not positive, or the number of distractors is negative.
    """

    height: int
    width: int
    num_distractors: int = 0
    distractor_size: int = 8

    def __post_init__(self) -> None:
        for name, least in (("height", 1), ("width", 1), ("num_distractors", 0), ("distractor_size", 1)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"canvas {name} is {value}; it must be at least {least}")


class Layout(NamedTuple):
    """Where everything on one canvas comes from and goes to; D distractors, all integers int32.

    Attributes:
        image: `[]`: the image of the source that is pasted whole.
        corner: `[2]`: its (row, column) on the canvas, of the upper left pixel.
        distractor_index: `[D]`: the image each distractor is cropped from.
        crop_corner: `[D, 2]`: (row, column) of each crop in that image.
        paste_corner: `[D, 2]`: (row, column) of each crop on the canvas.
    """

    image: Int[Array, ""]
    corner: Int[Array, "2"]
    distractor_index: Int[Array, " D"]
    crop_corner: Int[Array, "D 2"]
    paste_corner: Int[Array, "D 2"]


def check_canvas(source: Source, canvas: Canvas | None) -> None:
    """Raises a `ValueError` unless images of the source, and their distractors, fit the canvas.

    Looks at shapes only, so it also works on traced arrays.

    Args:
        source: images uint8 `[N, h, w, C]`, labels `[N]`.
        canvas: the canvas, or None (then only the source is checked).

    Raises:
        ValueError: if the source is empty or not of the shape above, if its images are larger than the
            canvas, if a distractor is larger than an image or than the canvas, or if there is no other image
            to crop one from.
    """
    shape = tuple(source.images.shape)
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"source images have shape {shape}; expected [N, h, w, C] with every axis at least 1")
    if tuple(source.labels.shape) != shape[:1]:
        raise ValueError(f"source labels have shape {tuple(source.labels.shape)}; expected {shape[:1]}")
    if canvas is None:
        return
    n, h, w, _ = shape
    if h > canvas.height or w > canvas.width:
        raise ValueError(
            f"source images are {h}x{w} pixels; at most {canvas.height}x{canvas.width} (canvas) is allowed"
        )
    if canvas.num_distractors == 0:
        return
    # Images fit the canvas, so a crop that fits the images fits the canvas too.
    if canvas.distractor_size > min(h, w):
        raise ValueError(
            f"distractors are {canvas.distractor_size}x{canvas.distractor_size} pixels; at most "
            f"{min(h, w)}x{min(h, w)} is allowed for source images of {h}x{w} pixels"
        )
    if n < 2:
        raise ValueError(f"the source has {n} image; distractors come from other images, so at least 2 are needed")


def draw_index(key: Key[Array, ""], num_images: int) -> Int[Array, ""]:
    """Draws an image of a source uniformly: int32 `[]` in 0..num_images-1."""
    return (jax.random.bits(key, (), "uint32") % np.uint32(num_images)).astype(jnp.int32)


def draw_layout(key: Key[Array, ""], index: Index, source: Source, canvas: Canvas) -> Layout:
    """Draws the places of one canvas for a given image of the source.

    All are uniform and independent. The pasted image and the distractors lie wholly inside the canvas, crops
    wholly inside their image, and distractors come from images other than the pasted one.

    Args:
        key: typed key `[]`.
        index: int `[]`: the image to paste, in 0..N-1.
        source: images uint8 `[N, h, w, C]`; only their shape is used.
        canvas: what to paint, D distractors.

    Returns:
        The layout, arrays of int32.

    Raises:
        ValueError: see `check_canvas`.
    """
    check_canvas(source, canvas)
    n, h, w, _ = source.images.shape
    count, size = canvas.num_distractors, canvas.distractor_size
    place = [canvas.height - h + 1, canvas.width - w + 1]
    distractor = [n - 1, h - size + 1, w - size + 1, canvas.height - size + 1, canvas.width - size + 1]
    limits = np.array(place + distractor * count, np.uint32)
    drawn = (jax.random.bits(key, limits.shape, "uint32") % limits).astype(jnp.int32)
    index = jnp.asarray(index, jnp.int32)
    each = drawn[2:].reshape(count, 5)
    # Stepping on from the pasted image by 1..n-1 is uniform over the others, without drawing again on a
    # collision.
    other = (index + 1 + each[:, 0]) % n
    return Layout(index, drawn[:2], other, each[:, 1:3], each[:, 3:5])


def paint(source: Source, layout: Layout, canvas: Canvas) -> UInt8[Array, "H W C"]:
    """Paints one canvas: zeros, the image, then the distractors one after another by pixelwise maximum.

    The maximum never erases the image; distractors may overlap it and each other.

    Args:
        source: images uint8 `[N, h, w, C]`.
        layout: from `draw_layout`, D distractors.
        canvas: what to paint.

    Returns:
        uint8 `[H, W, C]`, H and W of the canvas.
    """
    images = jnp.asarray(source.images)
    channels, size = images.shape[-1], canvas.distractor_size
    # A plain 0 would be int64 beside int32 when 64 bits are enabled.
    zero = np.int32(0)
    picture = jnp.zeros((canvas.height, canvas.width, channels), images.dtype)
    picture = jax.lax.dynamic_update_slice(picture, images[layout.image], (*layout.corner, zero))
    # A Python loop, not a scan: it is unrolled into a few slices and measured faster.
    for d in range(canvas.num_distractors):
        start = (layout.distractor_index[d], *layout.crop_corner[d], zero)
        crop = jax.lax.dynamic_slice(images, start, (1, size, size, channels))[0]
        place = (*layout.paste_corner[d], zero)
        under = jax.lax.dynamic_slice(picture, place, crop.shape)
        picture = jax.lax.dynamic_update_slice(picture, jnp.maximum(under, crop), place)
    return picture


def draw_canvas_of(
    key: Key[Array, ""], index: Index, source: Source, canvas: Canvas | None
) -> tuple[UInt8[Array, "H W C"], Int[Array, ""]]:
    """Makes one sample that shows a given image of the source.

    Args:
        key: typed key `[]`.
        index: int `[]`: the image to show, in 0..N-1.
        source: images uint8 `[N, h, w, C]`, labels `[N]`.
        canvas: what to paint, or None for the image as it is (the key is then unused).

    Returns:
        The image uint8 `[H, W, C]` and its label int32 `[]`.

    Raises:
        ValueError: see `check_canvas`.
    """
    check_canvas(source, canvas)
    label = jnp.asarray(source.labels)[index].astype(jnp.int32)
    if canvas is None:
        return jnp.asarray(source.images)[index], label
    return paint(source, draw_layout(key, index, source, canvas), canvas), label


def draw_canvas(
    key: Key[Array, ""], source: Source, canvas: Canvas | None
) -> tuple[UInt8[Array, "H W C"], Int[Array, ""]]:
    """Makes one sample that shows a uniformly drawn image of the source.

    Args:
        key: typed key `[]`.
        source: images uint8 `[N, h, w, C]`, labels `[N]`.
        canvas: what to paint, or None for the image as it is.

    Returns:
        The image uint8 `[H, W, C]` and its label int32 `[]`.

    Raises:
        ValueError: see `check_canvas`.
    """
    check_canvas(source, canvas)
    index_key, layout_key = jax.random.split(key)
    index = draw_index(index_key, source.images.shape[0])
    return draw_canvas_of(layout_key, index, source, canvas)
