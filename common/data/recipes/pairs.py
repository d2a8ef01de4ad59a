"""Two separate digits on one canvas, labelled with their set, their sequence or their sum.

Source: Ba, Mnih and Kavukcuoglu, "Multiple Object Recognition with Visual Attention" (2014), sections 4.1
(two digits among distractors, 55 classes) and 4.2 (two digits on black, labelled with their sum).

The paper does not say whether digits may overlap; here their boxes never do. The position of the first digit is
uniform. That of the second is uniform over all positions where its box does not overlap the first one. Its rank among
these positions is drawn, so there is no rejection sampling and every draw costs the same.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from common.data.recipes.base import Index, Sample, another, check_source, draw_any
from common.data.recipes.canvas import check_distractors, paste_crops
from common.data.source import Source

DIGITS = tuple("0123456789")
END = "end"
SUMS = tuple(str(total) for total in range(19))
Label = Literal["set", "sequence", "sum"]


def check_digits(made: str, class_names: tuple[str, ...]) -> None:
    """Check that the classes are the digits.

    Args:
        made: what is made of digits, "pairs" or "sums", for the message.
        class_names: names of the classes.

    Raises:
        ValueError: they are not "0" to "9".
    """
    if class_names != DIGITS:
        shown = ", ".join(class_names[:12])
        raise ValueError(f"{made} need the classes 0 to 9; the classes of the images are {shown}")


@dataclass(frozen=True)
class Pair:
    """Two digits and distractors. Sizes are in pixels. A `Recipe`.

    Attributes:
        label: `set`: the unordered pair as one of 55 classes; `sequence`: the digits from left to right (the upper one
            first if their columns are equal) and then the end symbol 10, S = 3; `sum`: one of 19 classes.
        height: rows of the canvas.
        width: columns of the canvas.
        num_distractors: crops pasted on each canvas, of digits other than the two.
        distractor_size: side of each (square) crop.
    """

    label: Label
    height: int = 100
    width: int = 100
    num_distractors: int = 0
    distractor_size: int = 8

    def check(self, source: Source) -> None:
        """Check that two images of the source fit on the canvas without overlap, for every position of the first.

        Args:
            source: images uint8 `[N, h, w, C]`, labels `[N]`; N at least 2, or 3 with distractors.

        Raises:
            ValueError: images are too large or too few.
        """
        check_source(source)
        _, h, w, _ = source.images.shape
        # The first image leaves the least room when it is just too close to an edge for the second.
        if h > self.height or w > self.width or (3 * h - 1 > self.height and 3 * w - 1 > self.width):
            raise ValueError(
                f"images of {h}x{w} pixels: two fit on a canvas of {self.height}x{self.width} without overlap if they "
                f"are at most {(self.height + 1) // 3} high or {(self.width + 1) // 3} wide"
            )
        if self.num_distractors:
            check_distractors(source, 3, self.distractor_size)
        else:
            check_distractors(source, 2, 0)

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return `0 0` to `9 9` of 55 pairs, `0` to `9` and `end` of 11 symbols, or `0` to `18` of 19 sums.

        Raises:
            ValueError: the classes of the source are not the digits.
        """
        check_digits("pairs", class_names)
        if self.label == "set":
            return tuple(f"{low} {high}" for low in DIGITS for high in DIGITS[int(low) :])
        return (*DIGITS, END) if self.label == "sequence" else SUMS

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """Draw a sample of two uniformly drawn digits: see `draw_of`."""
        return draw_any(self.draw_of, key, source)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Draw a sample of digit `index` and another one.

        Args:
            key: typed key `[]`.
            index: int `[]`, in 0..N-1.
            source: images uint8 `[N, h, w, C]`, labels `[N]`.

        Returns:
            The image uint8 `[H, W, C]` and its label int32, `[]` or `[3]`.

        Raises:
            ValueError: see `check`.
        """
        layout = draw_pair(key, index, source, self)
        digits = jnp.asarray(source.labels)[layout.digits].astype(jnp.int32)
        return paint_pair(source, layout, self), self._label(digits, layout.corners)

    def _label(self, digits: Int[Array, "2"], corners: Int[Array, "2 2"]) -> Int[Array, "*S"]:
        if self.label == "sum":
            return digits[0] + digits[1]
        if self.label == "set":
            low, high = jnp.minimum(digits[0], digits[1]), jnp.maximum(digits[0], digits[1])
            # 10 + 9 + ... pairs, `low` terms, precede the pairs that start with `low`.
            return low * (2 * len(DIGITS) - low + 1) // 2 + high - low
        (first_row, first_column), (second_row, second_column) = corners
        swapped = (second_column < first_column) | ((second_column == first_column) & (second_row < first_row))
        return jnp.append(jnp.where(swapped, digits[::-1], digits), np.int32(len(DIGITS)))


class PairLayout(NamedTuple):
    """The source and position of everything on one canvas; D distractors, all integers int32.

    Attributes:
        digits: `[2]`: the indices of the two digits.
        corners: `[2, 2]`: (row, column) of the upper left pixel of each digit on the canvas.
        distractor_index: `[D]`: the image each distractor is cropped from.
        crop_corner: `[D, 2]`: (row, column) of each crop in that image.
        paste_corner: `[D, 2]`: (row, column) of each crop on the canvas.
    """

    digits: Int[Array, "2"]
    corners: Int[Array, "2 2"]
    distractor_index: Int[Array, " D"]
    crop_corner: Int[Array, "D 2"]
    paste_corner: Int[Array, "D 2"]


def draw_pair(key: Key[Array, ""], index: Index, source: Source, pair: Pair) -> PairLayout:
    """Draw the second digit and the layout of one canvas for a given first digit.

    The second digit is uniform over the other images of the source, the distractors over those that are neither. The
    module describes the positions of the digits; everything else is uniform and independent.

    Args:
        key: typed key `[]`.
        index: int `[]`: the first digit, in 0..N-1.
        source: images uint8 `[N, h, w, C]`; only their shape is used.
        pair: the canvas and D distractors.

    Returns:
        The layout, arrays of int32.

    Raises:
        ValueError: see `Pair.check`.
    """
    pair.check(source)
    n, h, w, _ = source.images.shape
    count, size = pair.num_distractors, pair.distractor_size
    rows, columns = pair.height - h + 1, pair.width - w + 1
    bits = jax.random.bits(key, (4 + 5 * count,), "uint32")
    limits = np.array([rows, columns, n - 1], np.uint32)
    row, column, step = (bits[:3] % limits).astype(jnp.int32)
    index = jnp.asarray(index, jnp.int32)
    other = another(index, step, n)
    free = rows * columns - _overlapping(row, h, rows)[1] * _overlapping(column, w, columns)[1]
    rank = (bits[3] % free.astype(jnp.uint32)).astype(jnp.int32)
    corners = jnp.stack([jnp.stack([row, column]), place_apart(rank, row, column, (h, w), (rows, columns))])
    limits = np.array(
        [max(n - 2, 1), h - size + 1, w - size + 1, pair.height - size + 1, pair.width - size + 1], np.uint32
    )
    each = (bits[4:].reshape(count, 5) % limits[None]).astype(jnp.int32)
    # Skip the two digits: a uniform draw over the other images.
    low, high = jnp.minimum(index, other), jnp.maximum(index, other)
    chosen = each[:, 0] + (each[:, 0] >= low)
    chosen = chosen + (chosen >= high)
    return PairLayout(jnp.stack([index, other]), corners, chosen, each[:, 1:3], each[:, 3:5])


def place_apart(
    rank: Int[Array, ""],
    row: Int[Array, ""],
    column: Int[Array, ""],
    size: tuple[int, int],
    positions: tuple[int, int],
) -> Int[Array, "2"]:
    """Return the position of a given rank, in row-major order, of a box that does not overlap another one.

    Args:
        rank: int32 `[]`, from 0 to the number of such positions less 1.
        row: int32 `[]`: upper row of the other box.
        column: int32 `[]`: left column of the other box.
        size: rows and columns of both boxes.
        positions: numbers of upper rows and of left columns that a box on the canvas can have.

    Returns:
        int32 `[2]`: (row, column) of the upper left pixel of the box.
    """
    (first_row, near_rows), (first_column, near_columns) = (
        _overlapping(row, size[0], positions[0]),
        _overlapping(column, size[1], positions[1]),
    )
    # Rows above the other box have all columns, rows beside it lack the overlapping columns, rows below have all again.
    above, short = first_row * positions[1], positions[1] - near_columns
    beside = near_rows * short
    inside = rank - above
    below = inside - beside
    column_beside = inside % jnp.maximum(short, 1)
    column_beside = column_beside + jnp.where(column_beside >= first_column, near_columns, 0)
    upper = jnp.stack([rank // positions[1], rank % positions[1]])
    middle = jnp.stack([first_row + inside // jnp.maximum(short, 1), column_beside])
    lower = jnp.stack([first_row + near_rows + below // positions[1], below % positions[1]])
    return jnp.where(rank < above, upper, jnp.where(inside < beside, middle, lower)).astype(jnp.int32)


def _overlapping(start: Int[Array, ""], size: int, positions: int) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Return, along one axis, the first position that overlaps the box at `start`, and the number of such positions."""
    first = jnp.maximum(start - size + 1, 0)
    return first, jnp.minimum(start + size, positions) - first


def paint_pair(source: Source, layout: PairLayout, pair: Pair) -> UInt8[Array, "H W C"]:
    """Paint zeros, both digits, then the distractors one after another by pixelwise maximum.

    Args:
        source: images uint8 `[N, h, w, C]`.
        layout: from `draw_pair`, D distractors.
        pair: the canvas and its distractors.

    Returns:
        uint8 `[H, W, C]`, H and W of the canvas.
    """
    images = jnp.asarray(source.images)
    picture = jnp.zeros((pair.height, pair.width, images.shape[-1]), images.dtype)
    for digit in range(2):
        corner = (*layout.corners[digit], np.int32(0))
        picture = jax.lax.dynamic_update_slice(picture, images[layout.digits[digit]], corner)
    return paste_crops(
        picture, images, layout.distractor_index, layout.crop_corner, layout.paste_corner, pair.distractor_size
    )
