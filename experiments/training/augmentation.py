"""Augmentation of training images, as configured."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

from common.checks import Range, refuse_settings
from common.data import Dataset, augmentation


@dataclass(frozen=True)
class AugmentationConfig:
    """Random changes of training images, 0 for none; validation and test images are never changed."""

    shift: Annotated[int, Range(0)] = 0
    """Move each training image by up to this many pixels in x and in y; empty borders are black."""
    rotation: Annotated[float, Range(0, 180)] = 0.0
    """Turn each training image by up to this many degrees either way."""
    zoom: Annotated[float, Range(0, below=1)] = 0.0
    """Enlarge or shrink the content of each training image by up to this fraction: 0.2 for factors from 0.8 to 1.2."""
    mirror: Annotated[float, Range(0, 1)] = 0.0
    """Mirror this fraction of the training images; for your own images only, since a mirrored digit is no digit."""
    brightness: Annotated[float, Range(0, 1)] = 0.0
    """Make each training image lighter or darker by up to this fraction of the range from black to white."""
    contrast: Annotated[float, Range(0, 1)] = 0.0
    """Raise or lower the contrast of each training image by up to this fraction: 0.2 for factors from 0.8 to 1.2."""
    saturation: Annotated[float, Range(0, 1)] = 0.0
    """Raise or lower the saturation of each training image's colours by up to this fraction."""
    blur: Annotated[float, Range(0)] = 0.0
    """Blur each training image by a Gaussian with a standard deviation of up to this many pixels."""
    noise: Annotated[float, Range(0)] = 0.0
    """Add Gaussian noise with this standard deviation to training images, 1 for the range from black to white."""
    cutout: Annotated[int, Range(0)] = 0
    """Black out a square with sides of this many pixels at a random place of each training image."""


# No blur is drawn narrower, in pixels: this one changes no byte.
_SHARP = 0.01


def make_augmentation(config: AugmentationConfig) -> augmentation.Augmentation | None:
    """Return the configured augmentation: geometry, then colours, blur, noise and cutout; None if there is none."""
    steps = [
        (config.zoom, partial(augmentation.random_scale, low=1 - config.zoom, high=1 + config.zoom)),
        (config.rotation, partial(augmentation.random_rotation, degrees=config.rotation)),
        (config.shift, partial(augmentation.random_shift, pixels=config.shift)),
        (config.mirror, partial(augmentation.random_flip, probability=config.mirror)),
        (config.brightness, partial(augmentation.random_brightness, amount=config.brightness)),
        (config.contrast, partial(augmentation.random_contrast, low=1 - config.contrast, high=1 + config.contrast)),
        (
            config.saturation,
            partial(augmentation.random_saturation, low=1 - config.saturation, high=1 + config.saturation),
        ),
        (config.blur, partial(augmentation.random_blur, low=min(_SHARP, config.blur), high=config.blur)),
        (config.noise, partial(augmentation.random_noise, sigma=config.noise)),
        (config.cutout, partial(augmentation.random_cutout, size=config.cutout)),
    ]
    chosen = [function for amount, function in steps if amount]
    return augmentation.compose(*chosen) if chosen else None


def validate_augmentation_of(config: AugmentationConfig, dataset: Dataset, own: bool) -> None:
    """Check that an augmentation suits the images.

    Args:
      config: the augmentation.
      dataset: the images.
      own: True for the user's own images; only these can be mirrored.

    Raises:
      ValueError: a bad configuration.
    """
    side = min(dataset.height, dataset.width)
    for name in ("shift", "cutout", "blur"):
        if getattr(config, name) >= side:
            raise ValueError(f"{name} {getattr(config, name)}: must be below {side} pixels, the side of the images")
    if dataset.channels != 3:
        refuse_settings(config, ("saturation",), ": the images have no colours, so it must be 0")
    if not own:
        refuse_settings(config, ("mirror",), ": must be 0, since a mirrored digit is no digit; it is for --data")
    if dataset.train.labels.ndim > 1:
        refuse_settings(config, ("mirror",), ": must be 0, since a mirrored sequence has another order")
