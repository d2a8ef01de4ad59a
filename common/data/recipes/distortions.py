"""Distorted digits: rotated, scaled and translated, projected, elastically deformed; and two of them to be added.

Source: Jaderberg et al., "Spatial Transformer Networks" (2015), section 4.1 and appendices A.1 and A.4. Everything
is drawn and computed in integers: see `common.data.recipes.warps`.
"""

import abc
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int32, Key

from common.data.recipes import warps
from common.data.recipes.base import Index, Sample, another, check_image_size, check_source, draw_any, label_of
from common.data.recipes.canvas import check_distractors
from common.data.recipes.pairs import SUMS, check_digits
from common.data.source import Source

# Smallest side of projected images in pixels: even an eighth of the largest amounts can fold smaller ones.
MIN_PROJECTED = 8


def _uniform(bits: Array, low: int, high: int) -> Array:
    """Map random bits uint32 to integers from ``low`` to ``high``."""
    return (bits % np.uint32(high - low + 1)).astype(jnp.int32) + low


def _draw(table: np.ndarray, bits: Array) -> Array:
    """Map random bits uint32 to uniformly drawn entries of a table."""
    return jnp.asarray(table)[bits % np.uint32(len(table))]


class Warp(abc.ABC):
    """Base class of the recipes of warped images, which define `draw_map`."""

    min_side = 1

    @abc.abstractmethod
    def draw_map(self, key: Key[Array, ""], height: int, width: int) -> Int32[Array, "H W 2"]:
        """Draw a map (see `common.data.recipes.warps`) for images of ``height`` rows and ``width`` columns."""

    def check(self, source: Source) -> None:
        """Check that images of the source are small enough to be warped in 32 bits, and large enough.

        Raises:
            ValueError: the images are too large or too small.
        """
        check_source(source)
        least, most = (self.min_side, self.min_side), (warps.MAX_SIDE, warps.MAX_SIDE)
        check_image_size(source, type(self).__name__, least, most)

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the source's classes."""
        return class_names

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """Draw a sample of a uniformly drawn image: see `draw_of`."""
        return draw_any(self.draw_of, key, source)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Warp a given image of the source.

        Args:
            key: typed key `[]`.
            index: int `[]`, in 0..N-1.
            source: images uint8 `[N, h, w, C]`, labels `[N]`.

        Returns:
            The image uint8 `[H, W, C]` and its label int32 `[]`.

        Raises:
            ValueError: see `check`.
        """
        self.check(source)
        height, width = source.images.shape[1:3]
        image = jnp.asarray(source.images)[index]
        return warps.resample(image, self.draw_map(key, height, width)), label_of(index, source)


@dataclass(frozen=True)
class Rotated(Warp):
    """R: rotated about the centre. A `Recipe`.

    Attributes:
        most: largest angle in both directions, in degrees; angles are uniform over tenths of a degree.
    """

    most: int = 90

    def draw_map(self, key: Key[Array, ""], height: int, width: int) -> Int32[Array, "H W 2"]:
        """See `Warp.draw_map`."""
        turn = _draw(warps.turn_table(10 * self.most), jax.random.bits(key, (), "uint32"))
        one = jnp.asarray(warps.UNIT, jnp.int32)
        return warps.affine_map(turn, one, jnp.zeros(2, jnp.int32), (height, width), (height, width))


@dataclass(frozen=True)
class RotatedScaledMoved(Warp):
    """RTS: rotated, scaled and translated on a canvas. A `Recipe`.

    The scale is uniform over thousandths. The position is uniform, in 1/256 pixel, over those where the scaled image,
    before its rotation, lies inside the canvas.

    Attributes:
        height: rows of the canvas.
        width: columns of the canvas.
        most: largest angle in both directions, in degrees; angles are uniform over tenths of a degree.
        smallest: smallest scale, in thousandths.
        largest: largest scale, in thousandths.
    """

    height: int = 42
    width: int = 42
    most: int = 45
    smallest: int = 700
    largest: int = 1200

    def check(self, source: Source) -> None:
        """Check that scaled images of the source fit on the canvas.

        Raises:
            ValueError: they are too large.
        """
        super().check(source)
        user = f"a canvas of {self.height}x{self.width} for images scaled by {self.largest / 1000}"
        most = 1000 * self.height // self.largest, 1000 * self.width // self.largest
        check_image_size(source, user, (1, 1), most)

    def draw_map(self, key: Key[Array, ""], height: int, width: int) -> Int32[Array, "H W 2"]:
        """See `Warp.draw_map`."""
        bits = jax.random.bits(key, (4,), "uint32")
        scale = _uniform(bits[1], self.smallest, self.largest)
        inverse = jnp.asarray(warps.inverse_table(self.smallest, self.largest))[scale - self.smallest]
        canvas, image = np.array([self.width, self.height]), np.array([width, height])
        half = warps.PIXEL // 2
        room = (half * canvas).astype(np.int32) - (half * image).astype(np.int32) * scale // 1000
        shift = (bits[2:] % (2 * room + 1).astype(jnp.uint32)).astype(jnp.int32) - room
        turn = _draw(warps.turn_table(10 * self.most), bits[0])
        return warps.affine_map(turn, inverse, shift, (height, width), (self.height, self.width))


@dataclass(frozen=True)
class Projected(Warp):
    """P: scaled by 0.75 to 1, then each corner is moved by a normal amount, the same in x and in y. A `Recipe`.

    Outwards is positive. The paper describes one amount for each corner. With separate amounts for x and y, many digits
    leave the image, and a CNN makes almost five times as many errors as on E, where the paper reports about as many.
    Amounts that would fold the image, or nearly so, are halved until they do not; this concerns one in 14 images of
    28x28 pixels.

    Attributes:
        deviation: standard deviation of the amounts, in pixels.
    """

    deviation: float = 5.0
    min_side = MIN_PROJECTED

    def draw_map(self, key: Key[Array, ""], height: int, width: int) -> Int32[Array, "H W 2"]:
        """See `Warp.draw_map`."""
        bits = jax.random.bits(key, (5,), "uint32")
        outwards = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.int32)
        amounts = _draw(warps.normal_table(self.deviation * warps.CORNER), bits[1:])[:, None]
        # Half a side of s pixels is s / 2 * CORNER = 4 s; one draw sets the scale of both axes.
        step = _uniform(bits[0], 0, max(height, width))
        half = jnp.stack([4 * side - step * side // max(height, width) for side in (width, height)])
        square = half[None] * outwards
        least = 4 * half[0] * half[1] // 8
        corners = square + amounts // 8 * outwards
        for divisor in (4, 2, 1):
            wider = square + amounts // divisor * outwards
            corners = jnp.where((warps.quadrilateral_weights(wider) >= least).all(), wider, corners)
        return warps.projective_map(corners, height, width)


@dataclass(frozen=True)
class Elastic(Warp):
    """E: scaled by 0.75 to 1, then deformed by a thin-plate spline with displaced control points. A `Recipe`.

    Attributes:
        deviation: standard deviation of the normal displacements in x and in y, in pixels.
        control: control points along each side, regularly from edge to edge.
    """

    deviation: float = 1.5
    control: int = 4

    def draw_map(self, key: Key[Array, ""], height: int, width: int) -> Int32[Array, "H W 2"]:
        """See `Warp.draw_map`."""
        points = self.control**2
        bits = jax.random.bits(key, (1 + 2 * points,), "uint32")
        moved = _draw(warps.normal_table(self.deviation * warps.PIXEL), bits[1:].reshape(points, 2))
        return warps.elastic_map(moved, _draw(warps.inverse_table(750, 1000), bits[0]), height, width)


@dataclass(frozen=True)
class TwoChannelSum(RotatedScaledMoved):
    """Two digits, each in its own channel and with its own warp, labelled with their sum. A `Recipe`."""

    def check(self, source: Source) -> None:
        """Check that the source has at least two images, which fit on the canvas.

        Raises:
            ValueError: images are too large or too few.
        """
        super().check(source)
        check_distractors(source, 2, 0)

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names `0` to `18` of the sums.

        Raises:
            ValueError: the classes of the source are not the digits.
        """
        check_digits("sums", class_names)
        return SUMS

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Draw a sample of image `index` and another one, uniform over the rest.

        Args:
            key: typed key `[]`.
            index: int `[]`, in 0..N-1.
            source: images uint8 `[N, h, w, c]`, labels `[N]`.

        Returns:
            The image uint8 `[H, W, 2 c]`, the channels of `index` first, and the sum int32 `[]`.

        Raises:
            ValueError: see `check`.
        """
        self.check(source)
        other_key, *keys = jax.random.split(key, 3)
        count = len(source.images)
        other = another(index, _uniform(jax.random.bits(other_key, (), "uint32"), 0, count - 2), count)
        first, second = (
            super(TwoChannelSum, self).draw_of(k, i, source) for k, i in zip(keys, (index, other), strict=True)
        )
        return jnp.concatenate([first[0], second[0]], axis=-1), first[1] + second[1]
