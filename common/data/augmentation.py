"""Augmentation of training images, on the device.

Each function takes a key and a batch of uint8 images, and augments each image independently. Outside an image there are
zeros. Set the other arguments with `functools.partial`, and combine functions with `compose`:

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
    """Return a function that applies augmentations one after another, each with its own key.

    Args:
        augmentations: functions of a key and images uint8 `[B, H, W, C]`; none to leave images unchanged.

    Returns:
        A function of a key and images uint8 `[B, H, W, C]`.
    """

    def augment(key: Key[Array, ""], images: Images) -> UInt8[Array, "B h w C"]:
        for i, augmentation in enumerate(augmentations):
            images = augmentation(jax.random.fold_in(key, i), images)
        return images

    return augment


def random_shift(key: Key[Array, ""], images: Images, pixels: int) -> Images:
    """Translate each image by whole pixels, uniform in ``-pixels..pixels`` in x and in y, and fill with zeros.

    Args:
      key: random key.
      images: uint8 images.
      pixels: largest shift; 0 for none.
    """
    height, width, _ = images.shape[1:]
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    return random_crop(key, padded, height, width)


def random_crop(key: Key[Array, ""], images: Images, height: int, width: int) -> UInt8[Array, "B height width C"]:
    """Crop `height` by `width` pixels of each image at a uniform position.

    Args:
        key: random key.
        images: uint8 images.
        height: rows of the crop, at most H.
        width: columns of the crop, at most W.
    """
    keys = jax.random.split(key, images.shape[0])
    crop = (height, width, images.shape[3])
    return jax.vmap(lambda key, image: dm_pix.random_crop(key, image, crop))(keys, images)


def random_scale(key: Key[Array, ""], images: Images, low: float, high: float) -> Images:
    """Scale the content of each image about its centre by a factor uniform in ``[low, high]``; bilinear.

    Args:
        key: random key.
        images: uint8 images.
        low: smallest factor, more than 0; less than 1 shrinks.
        high: largest factor.
    """
    factors = _uniform(key, images, low, high)
    return _resample(images, jnp.eye(2)[None] / factors[:, None, None])


def random_rotation(key: Key[Array, ""], images: Images, degrees: float) -> Images:
    """Rotate each image about its centre by an angle uniform in ``[-degrees, degrees]``; bilinear.

    Args:
        key: random key.
        images: uint8 images.
        degrees: largest angle, 0 or more; positive angles are counterclockwise.
    """
    angles = jnp.deg2rad(_uniform(key, images, -degrees, degrees))
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    # From coordinates in the result to those in the image, (row, column) with rows from the top.
    return _resample(images, jnp.stack([jnp.stack([cos, sin], -1), jnp.stack([-sin, cos], -1)], -2))


def random_flip(key: Key[Array, ""], images: Images, probability: float = 0.0) -> Images:
    """Mirror images horizontally. Off by default, because a mirrored digit is not a digit.

    Args:
        key: random key.
        images: uint8 images.
        probability: the expected fraction of images that are mirrored.
    """
    mirrored = jax.random.bernoulli(key, probability, (images.shape[0], 1, 1, 1))
    return jnp.where(mirrored, dm_pix.flip_left_right(images), images)


def random_brightness(key: Key[Array, ""], images: Images, amount: float) -> Images:
    """Add a number to all pixels of each image, uniform in ``[-amount, amount]``, where 1 is 255; clipped.

    Args:
        key: random key.
        images: uint8 images.
        amount: largest change, 0 or more.
    """
    deltas = _uniform(key, images, -amount, amount)
    return _each(dm_pix.adjust_brightness, images, deltas)


def random_contrast(key: Key[Array, ""], images: Images, low: float, high: float) -> Images:
    """Scale the difference of pixels from the mean of their channel by a factor uniform in ``[low, high]``; clipped.

    Args:
        key: random key.
        images: uint8 images.
        low: smallest factor, 0 or more; 1 changes nothing.
        high: largest factor.
    """
    return _each(dm_pix.adjust_contrast, images, _uniform(key, images, low, high))


def random_saturation(key: Key[Array, ""], images: UInt8[Array, "B H W 3"], low: float, high: float) -> Images:
    """Multiply the saturation (of HSV) by a factor uniform in ``[low, high]``; clipped.

    Args:
        key: random key.
        images: uint8 images, RGB.
        low: smallest factor, 0 or more; 0 gives gray, 1 no change.
        high: largest factor.
    """
    return _each(dm_pix.adjust_saturation, images, _uniform(key, images, low, high))


def random_noise(key: Key[Array, ""], images: Images, sigma: float) -> Images:
    """Add independent Gaussian noise to all values; clipped.

    Args:
        key: random key.
        images: uint8 images.
        sigma: its standard deviation, where 1 is 255.
    """
    return _to_bytes(_to_floats(images) + sigma * jax.random.normal(key, images.shape))


def random_blur(key: Key[Array, ""], images: Images, low: float, high: float) -> Images:
    """Blur with a Gaussian whose standard deviation is uniform in ``[low, high]`` pixels; with zeros around the image.

    Args:
        key: random key.
        images: uint8 images.
        low: smallest standard deviation in pixels, more than 0.
        high: largest standard deviation in pixels; the kernel extends to three times this distance.
    """
    sigmas = _uniform(key, images, low, high)
    size = 2 * int(np.ceil(3 * high)) + 1
    return _each(lambda image, sigma: dm_pix.gaussian_blur(image, sigma, size), images, sigmas)


def random_cutout(key: Key[Array, ""], images: Images, size: int) -> Images:
    """Set a square of each image to zero; its centre is a uniformly drawn pixel, so it may lie partly outside.

    Args:
        key: random key.
        images: uint8 images.
        size: side of the square in pixels; 0 for none.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout" (2017).
    """
    count, height, width, _ = images.shape
    row_key, column_key = jax.random.split(key)
    tops = jax.random.randint(row_key, (count, 1), 0, height) - size // 2
    lefts = jax.random.randint(column_key, (count, 1), 0, width) - size // 2
    rows, columns = jnp.arange(height)[None] - tops, jnp.arange(width)[None] - lefts
    inside = ((rows >= 0) & (rows < size))[:, :, None] & ((columns >= 0) & (columns < size))[:, None, :]
    return jnp.where(inside[..., None], 0, images).astype(jnp.uint8)


def _uniform(key: Key[Array, ""], images: Images, low: float, high: float) -> Float[Array, " B"]:
    return jax.random.uniform(key, (images.shape[0],), minval=low, maxval=high)


def _resample(images: Images, matrices: Float[Array, "B 2 2"]) -> Images:
    """Sample each pixel bilinearly at the matrix times its (row, column), relative to the centre."""
    # With a border of zeros an image ends in a ramp, not in a step that rounding may shift by a pixel.
    framed = jnp.pad(_to_floats(images), ((0, 0), (1, 1), (1, 1), (0, 0)))
    centre = (jnp.array(framed.shape[1:3], jnp.float32) - 1) / 2

    def one(image, matrix):
        # The third axis is that of channels.
        whole = jnp.eye(3).at[:2, :2].set(matrix)
        offset = jnp.append(centre - matrix @ centre, 0.0)
        return dm_pix.affine_transform(image, whole, offset=offset, order=1, mode="constant", cval=0.0)

    return _to_bytes(jax.vmap(one)(framed, matrices)[:, 1:-1, 1:-1])


def _each(change: Callable[..., Array], images: Images, values: Float[Array, " B"]) -> Images:
    return _to_bytes(jax.vmap(change)(_to_floats(images), values))


def _to_floats(images: Images) -> Float[Array, "B H W C"]:
    return images.astype(jnp.float32) / 255


def _to_bytes(images: Float[Array, "B H W C"]) -> Images:
    return jnp.clip(jnp.round(images * 255), 0, 255).astype(jnp.uint8)
