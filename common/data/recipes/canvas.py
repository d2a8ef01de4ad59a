"""Canvases: an image at a random place on zeros, among distractors cropped from other images.

Source: the translated and cluttered MNIST tasks of Mnih et al., "Recurrent Models of Visual Attention"
(2014).

Everything random is an integer. `draw_layout` draws the integers, `paint` turns them into pixels, and
`Canvas.draw_of` does one after the other. Integers are `bits % n`, because JAX keeps `random.bits` the same from
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

from common.data.recipes.base import Index, Sample, another, check_source, draw_any, label_of
from common.data.source import Source


@dataclass(frozen=True)
class Canvas:
    """What to paint. Sizes are in pixels. A `Recipe`.

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

    def check(self, source: Source) -> None:
        """Raises a `ValueError` unless images of the source, and their distractors, fit the canvas.

        Looks at shapes only, so it also works on traced arrays.

        Args:
            source: images uint8 `[N, h, w, C]`, labels `[N]`.

        Raises:
            ValueError: if the source is empty or not of the shape above, if its images are larger than the
                canvas, if a distractor is larger than an image or than the canvas, or if there is no other
                image to crop one from.
        """
        check_source(source)
        n, h, w, _ = source.images.shape
        if h > self.height or w > self.width:
            raise ValueError(
                f"source images are {h}x{w} pixels; at most {self.height}x{self.width} (canvas) is allowed"
            )
        if self.num_distractors == 0:
            return
        # Images fit the canvas, so a crop that fits the images fits the canvas too.
        if self.distractor_size > min(h, w):
            raise ValueError(
                f"distractors are {self.distractor_size}x{self.distractor_size} pixels; at most "
                f"{min(h, w)}x{min(h, w)} is allowed for source images of {h}x{w} pixels"
            )
        if n < 2:
            raise ValueError(f"the source has {n} image; distractors come from other images, so at least 2 are needed")

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the source."""
        return class_names

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """Makes one sample that shows a uniformly drawn image of the source: see `draw_of`."""
        return draw_any(self.draw_of, key, source)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Makes one sample that shows a given image of the source.

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
    """Pastes crops of images on a picture, one after another by pixelwise maximum.

    Args:
        picture: the picture.
        images: what is cropped.
        index: the image of each crop.
        crop_corner: (row, column) of the upper left pixel of each crop in its image.
        paste_corner: the same on the picture.
        size: side of each crop in pixels.

    Returns:
        uint8 `[H, W, C]`.
    """
    zero = np.int32(0)
    # A Python loop, not a scan: it is unrolled into a few slices and measured faster.
    for d in range(index.shape[0]):
        start = (index[d], *crop_corner[d], zero)
        crop = jax.lax.dynamic_slice(images, start, (1, size, size, images.shape[-1]))[0]
        place = (*paste_corner[d], zero)
        under = jax.lax.dynamic_slice(picture, place, crop.shape)
        picture = jax.lax.dynamic_update_slice(picture, jnp.maximum(under, crop), place)
    return picture
