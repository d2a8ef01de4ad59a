"""Two digits on one canvas, apart from each other: as a set, as a sequence, or added up.

Source: Ba, Mnih and Kavukcuoglu, "Multiple Object Recognition with Visual Attention" (2014), sections 4.1
(two digits among distractors, 55 classes) and 4.2 (two digits on zeros, labelled with their sum).

The paper does not say whether digits may overlap; here their boxes never do. The first digit's place is
uniform. The second's is uniform over all places where its box is apart from the first's: it is drawn as the
rank of the place among those, so nothing is drawn again, and every draw costs the same.
"""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from common.data.recipes.base import Index, Sample, another, check_source, draw_any
from common.data.recipes.canvas import paste_crops
from common.data.source import Source

DIGITS = tuple("0123456789")
END = "end"
SUMS = tuple(str(total) for total in range(19))
# What a pair may be labelled with.
LABELS = ("set", "sequence", "sum")


def check_digits(made: str, class_names: tuple[str, ...]) -> None:
    """Raises a `ValueError` that says what would be made, "pairs" or "sums", unless the classes are the digits."""
    if class_names != DIGITS:
        shown = ", ".join(class_names[:12])
        raise ValueError(f"{made} are made of the classes 0 to 9; the classes of the data are {shown}")


@dataclass(frozen=True)
class Pair:
    """Two digits and distractors. Sizes are in pixels. A `Recipe`.

    Attributes:
        label: what the label says of the two digits: `set`, the unordered pair as one of 55 classes; `sequence`, the
            digits from left to right by the middle of their boxes (the upper one first where both are equal),
            then the end symbol 10: S = 3; `sum`, one of 19 classes.
        height: rows of the canvas.
        width: columns of the canvas.
        num_distractors: crops pasted on each canvas, of digits other than the two.
        distractor_size: side of each (square) crop.

    Raises:
        ValueError: if the label is unknown, a size is not positive, or the number of distractors is negative.
    """

    label: str
    height: int = 100
    width: int = 100
    num_distractors: int = 0
    distractor_size: int = 8

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise ValueError(f"pair label is {self.label!r}; allowed: {', '.join(LABELS)}")
        for name, least in (("height", 1), ("width", 1), ("num_distractors", 0), ("distractor_size", 1)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"pair {name} is {value}; it must be at least {least}")

    def check(self, source: Source) -> None:
        """Raises a `ValueError` unless two images of the source fit the canvas apart, wherever the first is.

        Args:
            source: images uint8 `[N, h, w, C]`, labels `[N]`; N at least 2, or 3 with distractors.
        """
        check_source(source)
        n, h, w, _ = source.images.shape
        if len(source.labels.shape) != 1:
            raise ValueError(f"source labels have shape {tuple(source.labels.shape)}; pairs are of digits, [{n}]")
        # The first image leaves the least room when it lies just too near an edge for the second.
        if h > self.height or w > self.width or (3 * h - 1 > self.height and 3 * w - 1 > self.width):
            raise ValueError(
                f"source images are {h}x{w} pixels; two of them are sure to fit apart on a canvas of "
                f"{self.height}x{self.width} if they are at most {(self.height + 1) // 3} high or "
                f"{(self.width + 1) // 3} wide"
            )
        if self.num_distractors and self.distractor_size > min(h, w):
            raise ValueError(
                f"distractors are {self.distractor_size}x{self.distractor_size} pixels; at most "
                f"{min(h, w)}x{min(h, w)} is allowed for source images of {h}x{w} pixels"
            )
        needed = 3 if self.num_distractors else 2
        if n < needed:
            raise ValueError(f"the source has too few images for pairs, {n}; at least {needed} are needed")

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """The names `0 0` to `9 9` of 55 pairs, `0` to `9` and `end` of 11 symbols, or `0` to `18` of 19 sums.

        Raises:
            ValueError: if the classes of the source are not the digits.
        """
        check_digits("pairs", class_names)
        if self.label == "set":
            return tuple(f"{low} {high}" for low in DIGITS for high in DIGITS[int(low) :])
        return (*DIGITS, END) if self.label == "sequence" else SUMS

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """A sample of two uniformly drawn digits: see `draw_of`."""
        return draw_any(self.draw_of, key, source)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """A sample of the digit `index` and another one.

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
            # Before the pairs that start with `low` stand 10 + 9 + ... of them, `low` terms.
            return low * (2 * len(DIGITS) - low + 1) // 2 + high - low
        (first_row, first_column), (second_row, second_column) = corners
        swapped = (second_column < first_column) | ((second_column == first_column) & (second_row < first_row))
        return jnp.append(jnp.where(swapped, digits[::-1], digits), np.int32(len(DIGITS)))


class PairLayout(NamedTuple):
    """Where everything on one canvas comes from and goes to; D distractors, all integers int32.

    Attributes:
        digits: `[2]`: the images of the source that are pasted whole.
        corners: `[2, 2]`: (row, column) of each of them on the canvas, of the upper left pixel.
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
    """Draws the second digit and all places of one canvas for a given first digit.

    The second digit is uniform over the other images of the source, the distractors over those that are neither.
    See the module about the places of the digits; all else is uniform and independent.

    Args:
        key: typed key `[]`.
        index: int `[]`: the first digit, in 0..N-1.
        source: images uint8 `[N, h, w, C]`; only their shape is used.
        pair: what to paint, D distractors.

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
    free = rows * columns - _near(row, h, rows)[1] * _near(column, w, columns)[1]
    rank = (bits[3] % free.astype(jnp.uint32)).astype(jnp.int32)
    corners = jnp.stack([jnp.stack([row, column]), place_apart(rank, row, column, (h, w), (rows, columns))])
    limits = np.array(
        [max(n - 2, 1), h - size + 1, w - size + 1, pair.height - size + 1, pair.width - size + 1], np.uint32
    )
    each = (bits[4:].reshape(count, 5) % limits[None]).astype(jnp.int32)
    # Stepping over the two digits leaves a uniform draw over the others.
    low, high = jnp.minimum(index, other), jnp.maximum(index, other)
    chosen = each[:, 0] + (each[:, 0] >= low)
    chosen = chosen + (chosen >= high)
    return PairLayout(jnp.stack([index, other]), corners, chosen, each[:, 1:3], each[:, 3:5])


def place_apart(
    rank: Int[Array, ""],
    row: Int[Array, ""],
    column: Int[Array, ""],
    size: tuple[int, int],
    places: tuple[int, int],
) -> Int[Array, "2"]:
    """The place of the given rank among those of a box that is apart from another one, row by row.

    Args:
        rank: int32 `[]`, from 0 and less than the number of such places.
        row: int32 `[]`: upper row of the other box.
        column: int32 `[]`: left column of the other box.
        size: rows and columns of both boxes.
        places: how many upper rows and left columns a box on the canvas can have.

    Returns:
        int32 `[2]`: (row, column) of the upper left pixel of the box.
    """
    (first_row, near_rows), (first_column, near_columns) = (
        _near(row, size[0], places[0]),
        _near(column, size[1], places[1]),
    )
    # Rows above the other box have all their places, then come rows that lack the columns near it, then all again.
    above, short = first_row * places[1], places[1] - near_columns
    beside = near_rows * short
    inside = rank - above
    below = inside - beside
    column_beside = inside % jnp.maximum(short, 1)
    column_beside = column_beside + jnp.where(column_beside >= first_column, near_columns, 0)
    upper = jnp.stack([rank // places[1], rank % places[1]])
    middle = jnp.stack([first_row + inside // jnp.maximum(short, 1), column_beside])
    lower = jnp.stack([first_row + near_rows + below // places[1], below % places[1]])
    return jnp.where(rank < above, upper, jnp.where(inside < beside, middle, lower)).astype(jnp.int32)


def _near(start: Int[Array, ""], size: int, places: int) -> tuple[Int[Array, ""], Int[Array, ""]]:
    """Along one axis: the first place whose box meets the one at `start`, and how many do."""
    first = jnp.maximum(start - size + 1, 0)
    return first, jnp.minimum(start + size, places) - first


def paint_pair(source: Source, layout: PairLayout, pair: Pair) -> UInt8[Array, "H W C"]:
    """Paints zeros, both digits, then the distractors one after another by pixelwise maximum.

    Args:
        source: images uint8 `[N, h, w, C]`.
        layout: from `draw_pair`, D distractors.
        pair: what to paint.

    Returns:
        uint8 `[H, W, C]`, H and W of the canvas.
    """
    images = jnp.asarray(source.images)
    picture = jnp.zeros((pair.height, pair.width, images.shape[-1]), images.dtype)
    for digit in range(2):
        place = (*layout.corners[digit], np.int32(0))
        picture = jax.lax.dynamic_update_slice(picture, images[layout.digits[digit]], place)
    return paste_crops(
        picture, images, layout.distractor_index, layout.crop_corner, layout.paste_corner, pair.distractor_size
    )
