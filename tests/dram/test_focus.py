"""Where the crop around the glimpses lies: by hand, against NumPy, inside the image, and the same pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.sequences import Sequence
from dram.focus import focus, focus_corner, reading_glimpses

END = 3


def corner(locations, counted, image, crop):
    return focus_corner(jnp.array(locations, jnp.float32), jnp.array(counted), image, crop).tolist()


def test_the_crop_lies_around_the_middle_of_the_box():
    # At pixels (5, 10) and (15, 20) of 20 columns and 40 rows: the middle is column 10, row 15.
    locations = [[-0.5, -0.5], [0.5, 0.0]]
    assert corner(locations, [True, True], (40, 20), (10, 8)) == [10, 6]
    assert corner(locations, [True, False], (40, 20), (10, 8)) == [5, 1]
    # What lies between does not move it, unlike a mean.
    assert corner([*locations, [0.4, 0.0]], [True] * 3, (40, 20), (10, 8)) == [10, 6]


@pytest.mark.parametrize(
    ("location", "expected"),
    [([-1.0, -1.0], [0, 0]), ([1.0, 1.0], [30, 12]), ([1.0, -1.0], [0, 12]), ([0, 0], [15, 6])],
)
def test_the_crop_stays_in_the_image(location, expected):
    assert corner([location], [True], (40, 20), (10, 8)) == expected


def test_equals_numpy_for_many():
    rng = np.random.default_rng(0)
    image, crop = (50, 70), (21, 32)
    locations = rng.uniform(-1, 1, (200, 6, 2)).astype(np.float32)
    counted = rng.random((200, 6)) < 0.5
    counted[np.arange(200), rng.integers(0, 6, 200)] = True
    found = np.asarray(jax.jit(jax.vmap(lambda a, b: focus_corner(a, b, image, crop)))(locations, counted))
    for each, keep, where in zip(locations, counted, found, strict=True):
        pixels = (each[keep].astype(np.float64) + 1) / 2 * (70, 50)
        middle = (pixels.min(axis=0) + pixels.max(axis=0)) / 2
        ideal = np.clip(middle[::-1] - np.array(crop) / 2, 0, np.array(image) - crop)
        assert np.abs(where - ideal).max() <= 0.5 + 1e-3
    assert found.dtype == np.int32 and found.min() >= 0 and (found <= [29, 38]).all()


def test_the_pixels_are_those_of_the_image():
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (5, 30, 40, 3), dtype=np.uint8)
    locations = rng.uniform(-1, 1, (4, 5, 2)).astype(np.float32)
    counted = np.ones((4, 5), bool)
    crops = jax.jit(lambda *args: focus(*args, (12, 16)))(images, locations, counted)
    assert crops.shape == (5, 12, 16, 3) and crops.dtype == jnp.uint8
    for index in range(5):
        row, column = corner(locations[:, index], counted[:, index], (30, 40), (12, 16))
        np.testing.assert_array_equal(crops[index], images[index, row : row + 12, column : column + 16])


def test_a_crop_of_the_whole_image_is_the_image():
    images = np.random.default_rng(2).integers(0, 256, (2, 8, 9, 1), dtype=np.uint8)
    found = focus(jnp.asarray(images), jnp.ones((1, 2, 2)), jnp.ones((1, 2), bool), (8, 9))
    np.testing.assert_array_equal(found, images)


def test_glimpses_at_the_end_count_only_beside_a_single_symbol():
    sequence = Sequence(2)
    # Three symbols, two, one, none, and no end.
    said = np.array([[0, 1, 1, END], [0, 1, END, 2], [2, END, 1, 1], [END, 1, 1, 1], [2, 0, 1, 1]])
    logits = np.zeros((8, 5, 4), np.float32)
    for image, symbols in enumerate(said):
        for place, symbol in enumerate(symbols):
            logits[2 * place, image, END] = 5.0  # What is believed on the way does not matter.
            logits[2 * place + 1, image, symbol] = 5.0
    counted = reading_glimpses(sequence, jnp.asarray(logits))
    assert counted.T.astype(int).tolist() == [[1] * n + [0] * (8 - n) for n in (6, 4, 4, 4, 8)]
