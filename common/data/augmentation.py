"""Augmentation of training images, on the device."""

import dm_pix
import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt8


def random_shift(key: Key[Array, ""], images: UInt8[Array, "B H W C"], pixels: int) -> UInt8[Array, "B H W C"]:
    """Moves each image by whole pixels, uniform in ``-pixels..pixels`` in x and in y; zeros come in at the edge.

    Args:
      key: random key.
      images: uint8 images.
      pixels: largest shift; 0 for none.
    """
    height, width, channels = images.shape[1:]
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    keys = jax.random.split(key, images.shape[0])
    return jax.vmap(lambda key, image: dm_pix.random_crop(key, image, (height, width, channels)))(keys, padded)
