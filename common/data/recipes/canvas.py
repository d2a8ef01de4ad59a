"""Canvases: an image at a random position on black, among distractors cropped from other images.

Source: the translated and cluttered MNIST tasks of Mnih et al., "Recurrent Models of Visual Attention"
(2014).

All randomness is in integers: `draw_layout` draws them, `paint` makes pixels of them, and `Canvas.draw_of` calls both.
Integers are `bits % n`, because JAX keeps `random.bits` stable between versions, but not `random.randint`; the relative
error of a probability is below n / 2**32.

All functions make one canvas; `jax.vmap` makes batches. XLA compiles the batched slices below to faster code than any
formulation with scatters or one-hot products that was tried.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from common.data.recipes.base import Index, Sample, another, check_image_size, check_source, draw_any, label_of
from common.data.source import Source


@dataclass(frozen=True)
class Canvas:
    """An image at a uniform position among distractors. Sizes are in pixels. A `Recipe`.

    Attributes:
        height: rows of the canvas.
        width: columns of the canvas.
        num_distractors: crops pasted on each canvas.
        distractor_size: side of each (square) crop.
    """

    height: int
    width: int
    num_distractors: int = 0
    distractor_size: int = 8

    def check(self, source: Source) -> None:
        """Check that images of the source, and their distractors, fit the canvas; uses shapes only.

        Args:
            source: images uint8 `[N, h, w, C]`, labels `[N]`.

        Raises:
            ValueError: images are larger than the canvas, or smaller or fewer than the distractors need.
        """
        check_source(source)
        check_image_size(source, "a canvas", (1, 1), (self.height, self.width))
        if self.num_distractors:
            check_distractors(source, 2, self.distractor_size)

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the source's classes."""
        return class_names

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """Draw a sample of a uniformly drawn image: see `draw_of`."""
        return draw_any(self.draw_of, key, source)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Draw a sample of a given image.

        Args:
            key: typed key `[]`.
            index: int `[]`: the image to show, in 0..N-1.
            source: images uint8 `[N, h, w, C]`, labels `[N]`.

        Returns:
            The image uint8 `[H, W, C]` and its label int32 `[]`.

        Raises:
            ValueError: see `check`.
        """
        return paint(source, draw_layout(key, index, source, self), self), label_of(index, source)


def check_distractors(source: Source, needed: int, distractor_size: int) -> None:
    """Check that distractors can be cropped from images.

    Args:
        source: images `[N, h, w, C]` with labels.
        needed: smallest number of images, so that distractors come from other images than the shown ones.
        distractor_size: side of a distractor in pixels.

    Raises:
        ValueError: images are too small or too few.
    """
    n, h, w, _ = source.images.shape
    if n < needed or min(h, w) < distractor_size:
        size = f" of at least {distractor_size}x{distractor_size} pixels" if distractor_size else ""
        raise ValueError(f"a split of {n} images of {h}x{w} pixels: at least {needed}{size} are needed")


class Layout(NamedTuple):
    """The source and position of everything on one canvas; D distractors, all integers int32.

    Attributes:
        image: `[]`: the index of the shown image.
        corner: `[2]`: (row, column) of its upper left pixel on the canvas.
        distractor_index: `[D]`: the image each distractor is cropped from.
        crop_corner: `[D, 2]`: (row, column) of each crop in that image.
        paste_corner: `[D, 2]`: (row, column) of each crop on the canvas.
    """

    image: Int[Array, ""]
    corner: Int[Array, "2"]
    distractor_index: Int[Array, " D"]
    crop_corner: Int[Array, "D 2"]
    paste_corner: Int[Array, "D 2"]


def draw_layout(key: Key[Array, ""], index: Index, source: Source, canvas: Canvas) -> Layout:
    """Draw the layout of one canvas for a given image.

    All integers are uniform and independent. The image and the distractors lie inside the canvas, crops lie inside
    their image, and distractors come from other images.

    Args:
        key: typed key `[]`.
        index: int `[]`: the shown image, in 0..N-1.
        source: images uint8 `[N, h, w, C]`; only their shape is used.
        canvas: its size and D distractors.

    Returns:
        The layout, arrays of int32.

    Raises:
        ValueError: see `Canvas.check`.
    """
    canvas.check(source)
    n, h, w, _ = source.images.shape
    count, size = canvas.num_distractors, canvas.distractor_size
    place = [canvas.height - h + 1, canvas.width - w + 1]
    distractor = [n - 1, h - size + 1, w - size + 1, canvas.height - size + 1, canvas.width - size + 1]
    limits = np.array(place + distractor * count, np.uint32)
    drawn = (jax.random.bits(key, limits.shape, "uint32") % limits).astype(jnp.int32)
    index = jnp.asarray(index, jnp.int32)
    each = drawn[2:].reshape(count, 5)
    return Layout(index, drawn[:2], another(index, each[:, 0], n), each[:, 1:3], each[:, 3:5])


def paint(source: Source, layout: Layout, canvas: Canvas) -> UInt8[Array, "H W C"]:
    """Paint one canvas: zeros, the image, then the distractors one after another by pixelwise maximum.

    The maximum never erases the image; distractors may overlap it and each other.

    Args:
        source: images uint8 `[N, h, w, C]`.
        layout: from `draw_layout`, D distractors.
        canvas: its size and distractors.

    Returns:
        uint8 `[H, W, C]`, H and W of the canvas.
    """
    images = jnp.asarray(source.images)
    picture = jnp.zeros((canvas.height, canvas.width, images.shape[-1]), images.dtype)
    # A plain 0 would be int64 beside int32 when 64 bits are enabled.
    picture = jax.lax.dynamic_update_slice(picture, images[layout.image], (*layout.corner, np.int32(0)))
    return paste_crops(
        picture, images, layout.distractor_index, layout.crop_corner, layout.paste_corner, canvas.distractor_size
    )


def paste_crops(
    picture: UInt8[Array, "H W C"],
    images: UInt8[Array, "N h w C"],
    index: Int[Array, " D"],
    crop_corner: Int[Array, "D 2"],
    paste_corner: Int[Array, "D 2"],
    size: int,
) -> UInt8[Array, "H W C"]:
    """Paste crops of images on a picture, one after another by pixelwise maximum.

    Args:
        picture: the picture.
        images: the images to crop.
        index: the image of each crop.
        crop_corner: (row, column) of the upper left pixel of each crop in its image.
        paste_corner: the same on the picture.
        size: side of each crop in pixels.

    Returns:
        uint8 `[H, W, C]`.
    """
    zero = np.int32(0)
    # A Python loop, unrolled into a few slices, was faster than a scan.
    for d in range(index.shape[0]):
        start = (index[d], *crop_corner[d], zero)
        crop = jax.lax.dynamic_slice(images, start, (1, size, size, images.shape[-1]))[0]
        target = (*paste_corner[d], zero)
        under = jax.lax.dynamic_slice(picture, target, crop.shape)
        picture = jax.lax.dynamic_update_slice(picture, jnp.maximum(under, crop), target)
    return picture
