"""The augmentation of training images that a configuration asks for."""

import math
from dataclasses import dataclass
from functools import partial

from common.data import Dataset, augmentation


@dataclass(frozen=True)
class AugmentationConfig:
    """What is done to training images, 0 for nothing; validation and test images stay."""

    shift: int = 0
    """Move each training image by up to this many pixels in x and in y; black comes in."""
    rotation: float = 0.0
    """Turn each training image by up to this many degrees either way."""
    zoom: float = 0.0
    """Enlarge or shrink what is on each training image by up to this part: 0.2 for factors from 0.8 to 1.2."""
    mirror: float = 0.0
    """Mirror this part of the training images left and right; of your own images only, a mirrored digit is no digit."""
    brightness: float = 0.0
    """Make each training image lighter or darker by up to this part of the range from black to white."""
    contrast: float = 0.0
    """Raise or lower the contrast of each training image by up to this part: 0.2 for factors from 0.8 to 1.2."""
    saturation: float = 0.0
    """Raise or lower the saturation of each training image's colours by up to this part."""
    blur: float = 0.0
    """Blur each training image by a Gaussian with a standard deviation of up to this many pixels."""
    noise: float = 0.0
    """Add Gaussian noise with this standard deviation to training images, 1 for the range from black to white."""
    cutout: int = 0
    """Black out a square with sides of this many pixels at a place of its own in each training image."""


# No blur is drawn narrower, in pixels: this one changes no byte.
_SHARP = 0.01


def make_augmentation(config: AugmentationConfig) -> augmentation.Augmentation | None:
    """What is asked for, or None: places first, then colours, then what a camera adds, and what hides all that last."""
    asked = [
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
    chosen = [function for amount, function in asked if amount]
    return augmentation.compose(*chosen) if chosen else None


def validate_augmentation(config: AugmentationConfig) -> None:
    """Checks the amounts.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    for name in ("shift", "cutout"):
        if getattr(config, name) < 0:
            raise ValueError(f"{name} {getattr(config, name)}: must be 0 pixels or more")
    for name in ("mirror", "brightness", "contrast", "saturation"):
        if not 0 <= getattr(config, name) <= 1:
            raise ValueError(f"{name} {getattr(config, name)}: must be from 0 to 1")
    if not 0 <= config.zoom < 1:
        raise ValueError(f"zoom {config.zoom}: must be from 0 to below 1")
    if not 0 <= config.rotation <= 180:
        raise ValueError(f"rotation {config.rotation}: must be from 0 to 180 degrees")
    if not 0 <= config.noise < math.inf:
        raise ValueError(f"noise {config.noise}: must be 0 or more, 1 for the whole range of brightness")


def validate_augmentation_of(config: AugmentationConfig, dataset: Dataset, own: bool) -> None:
    """Checks that the images can be so augmented.

    Args:
      config: how.
      dataset: the images.
      own: whether they are the user's, who knows what a mirror makes of them.

    Raises:
      ValueError: see `validate_augmentation`.
    """
    side = min(dataset.height, dataset.width)
    for name in ("shift", "cutout"):
        if getattr(config, name) >= side:
            raise ValueError(
                f"{name} {getattr(config, name)}: must be below the side of the {dataset.height}x{dataset.width} "
                f"images, so at most {side - 1}"
            )
    if not 0 <= config.blur < side:
        raise ValueError(f"blur {config.blur}: must be from 0 to below {side} pixels, the side of the images")
    if config.saturation and dataset.channels != 3:
        raise ValueError(f"saturation {config.saturation}: the images have no colours, so it must be 0")
    if config.mirror and not own:
        raise ValueError(
            f"mirror {config.mirror}: is for your own images (--data), since a mirrored digit is no digit; must be 0"
        )
    if config.mirror and dataset.train.labels.ndim > 1:
        raise ValueError(f"mirror {config.mirror}: would turn sequences round, so it must be 0")
