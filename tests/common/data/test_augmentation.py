"""Augmentation, against NumPy and SciPy, and by its invariants."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from common.data import augmentation
from common.data.augmentation import (
    compose,
    random_blur,
    random_brightness,
    random_contrast,
    random_crop,
    random_cutout,
    random_flip,
    random_noise,
    random_rotation,
    random_saturation,
    random_scale,
    random_shift,
)

KEY = jax.random.key(0)
# Arguments that change nothing.
IDLE = {
    random_shift: {"pixels": 0},
    random_crop: {"height": 9, "width": 8},
    random_scale: {"low": 1.0, "high": 1.0},
    random_rotation: {"degrees": 0.0},
    random_flip: {},
    random_brightness: {"amount": 0.0},
    random_contrast: {"low": 1.0, "high": 1.0},
    random_saturation: {"low": 1.0, "high": 1.0},
    random_noise: {"sigma": 0.0},
    random_blur: {"low": 0.01, "high": 0.01},
    random_cutout: {"size": 0},
}
BUSY = {
    random_shift: {"pixels": 2},
    random_crop: {"height": 5, "width": 6},
    random_scale: {"low": 0.6, "high": 1.5},
    random_rotation: {"degrees": 40.0},
    random_flip: {"probability": 0.5},
    random_brightness: {"amount": 0.3},
    random_contrast: {"low": 0.5, "high": 1.5},
    random_saturation: {"low": 0.2, "high": 1.8},
    random_noise: {"sigma": 0.1},
    random_blur: {"low": 0.5, "high": 1.5},
    random_cutout: {"size": 4},
}


def _images(count=6, height=9, width=8, channels=3, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(1, 256, (count, height, width, channels)).astype(np.uint8))


def _name(value):
    return getattr(value, "__name__", "")


def _fixed(monkeypatch, values):
    """Make all augmentations use the given values, one for each image, instead of drawn ones."""
    drawn = jnp.asarray(values, jnp.float32)
    monkeypatch.setattr(augmentation, "_uniform", lambda *args, **kwargs: drawn)


def _augment(function, images, *args):
    """Augment images in one compiled program."""
    return jax.jit(lambda key, images: function(key, images, *args))(KEY, images)


@pytest.mark.parametrize("function", IDLE, ids=_name)
def test_neutral_arguments_change_nothing(function):
    images = _images()
    np.testing.assert_array_equal(jax.jit(partial(function, **IDLE[function]))(KEY, images), images)


@pytest.mark.parametrize("function", BUSY, ids=_name)
def test_augmentation_depends_on_the_key_and_differs_between_images(function):
    images = jnp.repeat(_images(1), 8, axis=0)
    augment = jax.jit(partial(function, **BUSY[function]))
    augmented = np.asarray(augment(KEY, images))
    assert augmented.dtype == np.uint8 and augmented.shape[0] == 8 and augmented.shape[3] == 3
    np.testing.assert_array_equal(augmented, augment(KEY, images))
    assert (augmented != np.asarray(augment(jax.random.key(1), images))).any()
    assert len({image.tobytes() for image in augmented}) > 1
    assert set(BUSY) == set(IDLE) and len(BUSY) == 11


def test_shift_translates_by_whole_pixels_and_fills_with_zeros() -> None:
    images = np.random.default_rng(0).integers(1, 256, (400, 5, 7, 3)).astype(np.uint8)
    moved = np.asarray(jax.jit(random_shift, static_argnums=2)(jax.random.key(0), jnp.asarray(images), 2))
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2), (0, 0)))
    seen = set()
    for image, around in zip(moved, padded, strict=True):
        positions = [(y, x) for y in range(5) for x in range(5) if (around[y : y + 5, x : x + 7] == image).all()]
        assert len(positions) == 1
        seen |= set(positions)
    assert len(seen) == 25


def test_crops_are_taken_at_all_positions():
    images = np.asarray(_images(200, 5, 4))
    crops = np.asarray(jax.jit(random_crop, static_argnums=(2, 3))(KEY, jnp.asarray(images), 4, 2))
    seen = set()
    for image, crop in zip(images, crops, strict=True):
        positions = [(y, x) for y in range(2) for x in range(3) if (image[y : y + 4, x : x + 2] == crop).all()]
        assert len(positions) == 1
        seen |= set(positions)
    assert len(seen) == 6


@pytest.mark.parametrize("shape", [(9, 8), (8, 13)])
def test_scale_and_rotation_equal_scipy(monkeypatch, shape):
    images = _images(3, *shape)
    centre = (np.array(shape) - 1) / 2
    factors, degrees = [0.6, 1.0, 1.7], [-30.0, 0.0, 50.0]

    def resampled(image, matrix):
        offset = centre - matrix @ centre
        planes = [
            ndimage.affine_transform(image[..., c].astype(float), matrix, offset, order=1, mode="grid-constant")
            for c in range(3)
        ]
        return np.stack(planes, axis=-1)

    _fixed(monkeypatch, factors)
    augmented = np.asarray(_augment(random_scale, images, 0.5, 2.0), float)
    expected = [resampled(np.asarray(image), np.eye(2) / f) for image, f in zip(images, factors, strict=True)]
    assert np.abs(augmented - expected).max() <= 0.51
    _fixed(monkeypatch, degrees)
    augmented = np.asarray(_augment(random_rotation, images, 60.0), float)
    expected = []
    for image, angle in zip(images, np.deg2rad(degrees), strict=True):
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        expected.append(resampled(np.asarray(image), turn))
    assert np.abs(augmented - expected).max() <= 0.51


def test_positive_rotation_is_counterclockwise(monkeypatch):
    images = _images(2, 8, 8)
    _fixed(monkeypatch, [90.0, -90.0])
    augmented = _augment(random_rotation, images, 90.0)
    np.testing.assert_array_equal(augmented[0], np.rot90(images[0]))
    np.testing.assert_array_equal(augmented[1], np.rot90(images[1], -1))


def test_flip_mirrors_its_fraction_of_the_images():
    images = np.asarray(_images(400, 3, 4))
    flipped = np.asarray(_augment(random_flip, jnp.asarray(images), 0.25))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    np.testing.assert_array_equal(flipped[~mirrored], images[~mirrored])
    assert 70 <= mirrored.sum() <= 130
    np.testing.assert_array_equal(_augment(random_flip, jnp.asarray(images), 1.0), images[:, :, ::-1])


def test_brightness_and_contrast_equal_numpy(monkeypatch):
    images = _images(3)
    plain = np.asarray(images, float)
    _fixed(monkeypatch, [-0.4, 0.1, 0.5])
    expected = np.clip(plain + 255 * np.array([-0.4, 0.1, 0.5])[:, None, None, None], 0, 255)
    assert np.abs(np.asarray(_augment(random_brightness, images, 0.5), float) - expected).max() <= 0.51
    _fixed(monkeypatch, [0.0, 0.5, 3.0])
    mean = plain.mean(axis=(1, 2), keepdims=True)
    expected = np.clip(mean + np.array([0.0, 0.5, 3.0])[:, None, None, None] * (plain - mean), 0, 255)
    assert np.abs(np.asarray(_augment(random_contrast, images, 0.0, 3.0), float) - expected).max() <= 0.51


def test_saturation_keeps_the_value_and_zero_gives_gray(monkeypatch):
    images = _images(3)
    _fixed(monkeypatch, [0.0, 0.5, 4.0])
    augmented = np.asarray(_augment(random_saturation, images, 0.0, 4.0), float)
    plain = np.asarray(images, float)
    # The value of HSV is the largest channel; saturation scales the distances from it.
    value = plain.max(axis=-1, keepdims=True)
    np.testing.assert_allclose(augmented[0], np.broadcast_to(value[0], augmented[0].shape), atol=1)
    np.testing.assert_allclose(augmented[1], value[1] - 0.5 * (value[1] - plain[1]), atol=1)
    np.testing.assert_allclose(augmented[2].max(axis=-1), value[2, ..., 0], atol=1)
    assert ((value[2] - augmented[2]) + 1 >= value[2] - plain[2]).all()


def test_noise_has_its_standard_deviation():
    images = jnp.full((4, 60, 60, 1), 128, jnp.uint8)
    noise = np.asarray(_augment(random_noise, images, 0.1), float) - 128
    assert abs(noise.mean()) < 1 and abs(noise.std() - 25.5) < 1
    flat = noise.reshape(4, -1)
    assert np.abs(np.corrcoef(flat) - np.eye(4)).max() < 0.05


def test_blur_equals_scipy(monkeypatch):
    images = _images(2, 14, 12)
    _fixed(monkeypatch, [0.7, 1.4])
    augmented = np.asarray(_augment(random_blur, images, 0.5, 1.5), float)
    for image, blurred, sigma in zip(np.asarray(images, float), augmented, (0.7, 1.4), strict=True):
        expected = ndimage.gaussian_filter(image, (sigma, sigma, 0), mode="constant", radius=(5, 5, 0))
        assert np.abs(blurred - expected).max() <= 0.6


def test_cutout_is_a_square_that_may_be_partly_outside():
    images = np.asarray(_images(500, 6, 5))
    augmented = np.asarray(_augment(random_cutout, jnp.asarray(images), 3))
    boxes = set()
    for image, cut in zip(images, augmented, strict=True):
        rows, columns = np.nonzero((cut == 0).all(axis=-1))
        assert len(rows) == len(set(rows)) * len(set(columns)) and 4 <= len(rows) <= 9
        kept = (cut != 0).any(axis=-1)
        np.testing.assert_array_equal(cut[kept], image[kept])
        boxes.add((rows.min(), rows.max(), columns.min(), columns.max()))
    assert len(boxes) == 30


def test_compose_applies_augmentations_in_order():
    images = _images(3)
    first, second = partial(random_crop, height=6, width=7), partial(random_brightness, amount=0.2)
    augmented = jax.jit(compose(first, second))(KEY, images)
    keys = [jax.random.fold_in(KEY, i) for i in range(2)]
    np.testing.assert_array_equal(augmented, jax.jit(lambda images: second(keys[1], first(keys[0], images)))(images))
    np.testing.assert_array_equal(compose()(KEY, images), images)
