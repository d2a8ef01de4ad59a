"""Augmentation of training images, on the device.

Each function takes a key and a batch of uint8 images, and draws something else for each image. What comes in from
outside an image is zero. Fix the other arguments with `functools.partial` and put functions after one another with
`compose`:

    augment = compose(partial(random_shift, pixels=2), partial(random_contrast, low=0.8, high=1.2))
    images = augment(key, images)
"""

from collections.abc import Callable

import dm_pix
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, UInt8

Images = UInt8[Array, "B H W C"]
Augmentation = Callable[[Key[Array, ""], Images], UInt8[Array, "B h w C"]]


def compose(*augmentations: Augmentation) -> Augmentation:
    """One augmentation after another, each with a key of its own.

    Args:
        augmentations: functions of a key and images uint8 `[B, H, W, C]`; none for images as they are.

    Returns:
        A function of a key and images uint8 `[B, H, W, C]`.
    """

    def augment(key: Key[Array, ""], images: Images) -> UInt8[Array, "B h w C"]:
        for i, one in enumerate(augmentations):
            images = one(jax.random.fold_in(key, i), images)
        return images

    return augment


def random_shift(key: Key[Array, ""], images: Images, pixels: int) -> Images:
    """Moves each image by whole pixels, uniform in ``-pixels..pixels`` in x and in y; zeros come in at the edge.

    Args:
      key: random key.
      images: uint8 images.
      pixels: largest shift; 0 for none.
    """
    height, width, _ = images.shape[1:]
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    return random_crop(key, padded, height, width)


def random_crop(key: Key[Array, ""], images: Images, height: int, width: int) -> UInt8[Array, "B height width C"]:
    """Cuts a part of `height` by `width` pixels out of each image, at a uniform place.

    Args:
        key: random key.
        images: uint8 images.
        height: rows of the part, at most H.
        width: columns of the part, at most W.

    Raises:
        ValueError: if the part is larger than the images, or empty.
    """
    if not (1 <= height <= images.shape[1] and 1 <= width <= images.shape[2]):
        raise ValueError(f"crop is {height}x{width} pixels; allowed: 1x1 to {images.shape[1]}x{images.shape[2]}")
    keys = jax.random.split(key, images.shape[0])
    crop = (height, width, images.shape[3])
    return jax.vmap(lambda key, image: dm_pix.random_crop(key, image, crop))(keys, images)


def random_scale(key: Key[Array, ""], images: Images, low: float, high: float) -> Images:
    """Enlarges what is on each image about its middle, by a factor uniform in ``[low, high]``; bilinear.

    Args:
        key: random key.
        images: uint8 images.
        low: smallest factor, more than 0; less than 1 shrinks.
        high: largest factor.

    Raises:
        ValueError: if the factors are not positive, or in the wrong order.
    """
    factors = _uniform("scale", key, images, low, high, above=0.0)
    return _resample(images, jnp.eye(2)[None] / factors[:, None, None])


def random_rotation(key: Key[Array, ""], images: Images, degrees: float) -> Images:
    """Turns each image about its middle, by an angle uniform in ``[-degrees, degrees]``; bilinear.

    Args:
        key: random key.
        images: uint8 images.
        degrees: largest angle; positive angles turn counterclockwise.

    Raises:
        ValueError: if the angle is negative.
    """
    if degrees < 0:
        raise ValueError(f"rotation is up to {degrees} degrees; it must not be negative")
    angles = jnp.deg2rad(_uniform("rotation", key, images, -degrees, degrees))
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    # From a place in the result to one in the image, (row, column) with rows from the top.
    return _resample(images, jnp.stack([jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)], -2))


def random_flip(key: Key[Array, ""], images: Images, probability: float = 0.0) -> Images:
    """Mirrors left and right. Off unless asked for: a mirrored digit is no digit.

    Args:
        key: random key.
        images: uint8 images.
        probability: the share of images that are mirrored.

    Raises:
        ValueError: if the probability is not in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"flip has probability {probability}; allowed: 0 to 1")
    mirrored = jax.random.bernoulli(key, probability, (images.shape[0], 1, 1, 1))
    return jnp.where(mirrored, dm_pix.flip_left_right(images), images)


def random_brightness(key: Key[Array, ""], images: Images, amount: float) -> Images:
    """Adds a number to all pixels of each image, uniform in ``[-amount, amount]`` of the whole range; clipped.

    Args:
        key: random key.
        images: uint8 images.
        amount: largest change, 1 for 255.

    Raises:
        ValueError: if the amount is negative.
    """
    if amount < 0:
        raise ValueError(f"brightness changes by up to {amount}; it must not be negative")
    deltas = _uniform("brightness", key, images, -amount, amount)
    return _each(dm_pix.adjust_brightness, images, deltas)


def random_contrast(key: Key[Array, ""], images: Images, low: float, high: float) -> Images:
    """Moves pixels away from the mean of their channel by a factor uniform in ``[low, high]``; clipped.

    Args:
        key: random key.
        images: uint8 images.
        low: smallest factor, 0 or more; 1 changes nothing.
        high: largest factor.

    Raises:
        ValueError: if the factors are negative, or in the wrong order.
    """
    return _each(dm_pix.adjust_contrast, images, _uniform("contrast", key, images, low, high, least=0.0))


def random_saturation(key: Key[Array, ""], images: UInt8[Array, "B H W 3"], low: float, high: float) -> Images:
    """Multiplies the saturation (of HSV) by a factor uniform in ``[low, high]``; clipped.

    Args:
        key: random key.
        images: uint8 images, RGB.
        low: smallest factor, 0 or more; 0 makes gray, 1 changes nothing.
        high: largest factor.

    Raises:
        ValueError: if the factors are negative, or in the wrong order.
    """
    return _each(dm_pix.adjust_saturation, images, _uniform("saturation", key, images, low, high, least=0.0))


def random_noise(key: Key[Array, ""], images: Images, sigma: float) -> Images:
    """Adds independent Gaussian noise to all values; clipped.

    Args:
        key: random key.
        images: uint8 images.
        sigma: its standard deviation, 1 for 255.

    Raises:
        ValueError: if it is negative.
    """
    if sigma < 0:
        raise ValueError(f"noise has standard deviation {sigma}; it must not be negative")
    return _to_bytes(_to_floats(images) + sigma * jax.random.normal(key, images.shape))


def random_blur(key: Key[Array, ""], images: Images, low: float, high: float) -> Images:
    """Blurs with a Gaussian whose standard deviation is uniform in ``[low, high]`` pixels; zeros lie around an image.

    Args:
        key: random key.
        images: uint8 images.
        low: smallest standard deviation in pixels, more than 0.
        high: largest standard deviation in pixels; the kernel reaches three times as far.

    Raises:
        ValueError: if a standard deviation is not positive, or they are in the wrong order.
    """
    sigmas = _uniform("blur", key, images, low, high, above=0.0)
    size = 2 * int(np.ceil(3 * high)) + 1
    return _each(lambda image, sigma: dm_pix.gaussian_blur(image, sigma, size), images, sigmas)


def random_cutout(key: Key[Array, ""], images: Images, size: int) -> Images:
    """Sets a square of each image to zero. Its middle is a uniform pixel, so a part of it may lie outside.

    Args:
        key: random key.
        images: uint8 images.
        size: side of the square in pixels; 0 for none.

    Raises:
        ValueError: if the size is negative.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017).
    """
    if size < 0:
        raise ValueError(f"cutout is {size} pixels wide; it must not be negative")
    count, height, width, _ = images.shape
    row_key, column_key = jax.random.split(key)
    tops = jax.random.randint(row_key, (count, 1), 0, height) - size // 2
    lefts = jax.random.randint(column_key, (count, 1), 0, width) - size // 2
    rows, columns = jnp.arange(height)[None] - tops, jnp.arange(width)[None] - lefts
    inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None, :]
    return jnp.where(inside[..., None], 0, images).astype(jnp.uint8)


def _uniform(
    what: str,
    key: Key[Array, ""],
    images: Images,
    low: float,
    high: float,
    least: float = -np.inf,
    above: float = -np.inf,
) -> Float[Array, " B"]:
    if not low <= high or low < least or low <= above:
        limit = f"more than {above:g}" if above > -np.inf else f"{least:g} or more"
        raise ValueError(f"{what} is from {low} to {high}; allowed: {limit}, the smaller one first")
    return jax.random.uniform(key, (images.shape[0],), minval=low, maxval=high)


def _resample(images: Images, matrices: Float[Array, "B 2 2"]) -> Images:
    """Reads each pixel at its place about the middle times the matrix, (row, column), between four pixels."""
    # A frame of zeros, so that an image ends in a slope and not in a step that rounding may shift by a pixel.
    framed = jnp.pad(_to_floats(images), ((0, 0), (1, 1), (1, 1), (0, 0)))
    middle = (jnp.array(framed.shape[1:3], jnp.float32) - 1) / 2

    def one(image, matrix):
        # The third axis, of channels, stays.
        whole = jnp.eye(3).at[:2, :2].set(matrix)
        offset = jnp.append(middle - matrix @ middle, 0.0)
        return dm_pix.affine_transform(image, whole, offset=offset, order=1, mode="constant", cval=0.0)

    return _to_bytes(jax.vmap(one)(framed, matrices)[:, 1:-1, 1:-1])


def _each(change: Callable[..., Array], images: Images, values: Float[Array, " B"]) -> Images:
    return _to_bytes(jax.vmap(change)(_to_floats(images), values))


def _to_floats(images: Images) -> Float[Array, "B H W C"]:
    return images.astype(jnp.float32) / 255


def _to_bytes(images: Float[Array, "B H W C"]) -> Images:
    return jnp.clip(jnp.round(images * 255), 0, 255).astype(jnp.uint8)
