"""Focus: crop a large image around the glimpses of a first pass, to read it a second time (Ba et al. 2014, 4.3)."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt8

from common.attention.locations import to_pixels
from common.attention.sequences import Sequence
from common.training.evaluation import predicted


def reading_glimpses(sequence: Sequence, logits: Float[Array, "T B C"]) -> Bool[Array, "T B"]:
    """Return whether a glimpse was spent on a symbol before the predicted end, or on one of the first two.

    The glimpses at the end of a longer number lie anywhere, and those after the end have no meaning, so they do not
    count. A single symbol is an exception: its own glimpses have no extent, and those at its end show on which side
    the end lies.

    Args:
      sequence: how the targets are read.
      logits: beliefs after each glimpse; the last class ends a sequence.
    """
    symbols = predicted(jnp.moveaxis(sequence.final_beliefs(logits), 0, 1))
    read = (symbols != logits.shape[-1] - 1).at[:, :2].set(True)
    return jnp.repeat(read.T, sequence.glimpses, axis=0)


def focus_corner(
    locations: Float[Array, "T 2"], counted: Bool[Array, " T"], image: tuple[int, int], crop: tuple[int, int]
) -> Int[Array, "2"]:
    """Place the crop: its centre is that of the box around the glimpses, or as near to it as the image allows.

    Args:
      locations: locations of the glimpses, normalised (x, y).
      counted: the glimpses that the box is laid around, at least one.
      image: rows and columns of the image in pixels.
      crop: rows and columns of the crop, no more than those of the image.

    Returns:
      Row and column of its upper left pixel, int32.
    """
    low = jnp.where(counted[:, None], locations, jnp.inf).min(axis=0)
    high = jnp.where(counted[:, None], locations, -jnp.inf).max(axis=0)
    room = np.array(image) - np.array(crop)
    middle = to_pixels((low + high) / 2, *image)
    corner = jnp.round(middle[::-1] - np.array(crop, np.float32) / 2)
    return jnp.clip(corner, 0, room).astype(jnp.int32)


def focus(
    images: UInt8[Array, "B H W C"],
    locations: Float[Array, "T B 2"],
    counted: Bool[Array, "T B"],
    crop: tuple[int, int],
) -> UInt8[Array, "B h w C"]:
    """Crop each image around its glimpses, at full resolution.

    Args:
      images: the images.
      locations: locations of the glimpses of a first pass, at any resolution, normalised (x, y).
      counted: the glimpses that the crop is laid around, at least one for each image (see `reading_glimpses`).
      crop: rows and columns of the crop in pixels.

    Raises:
      ValueError: the crop is larger than the images.
    """

    def of_one(image: Array, locations: Array, counted: Array) -> Array:
        row, column = focus_corner(locations, counted, (image.shape[0], image.shape[1]), crop)
        return jax.lax.dynamic_slice(image, (row, column, np.int32(0)), (*crop, image.shape[2]))

    return jax.vmap(of_one, in_axes=(0, 1, 1))(images, locations, counted)
