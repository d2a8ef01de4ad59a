"""Augmentation, against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

from common.data.augmentation import random_shift


def test_random_shift_moves_each_image_by_whole_pixels_and_fills_with_zeros() -> None:
    images = np.random.default_rng(0).integers(1, 256, (400, 5, 7, 3)).astype(np.uint8)
    moved = np.asarray(jax.jit(random_shift, static_argnums=2)(jax.random.key(0), jnp.asarray(images), 2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    found = set()
    for image, around in zip(moved, padded, strict=True):
        places = [(y, x) for y in range(5) for x in range(5) if (around[y : y + 5, x : x + 7] == image).all()]
        assert len(places) == 1
        found |= set(places)
    assert len(found) == 25


def test_no_shift_changes_nothing() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 1)).astype(np.uint8)
    np.testing.assert_array_equal(random_shift(jax.random.key(0), jnp.asarray(images), 0), images)
