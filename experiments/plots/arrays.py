"""Array types of figures and reports, and what is computed of images and beliefs without drawing."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8

# Axes: T glimpses, N images, K scales, G samples a patch side, C channels.
Images = UInt8[np.ndarray, "N H W C"]
Labels = Integer[np.ndarray, "N"]
Targets = Integer[np.ndarray, "N *S"]  # a class of each image, or its symbols, the last class being the end symbol
Locations = Float[np.ndarray, "T N 2"]  # (x, y) in [-1, 1]
Boxes = Float[np.ndarray, "T N K 4"] | Integer[np.ndarray, "T N K 4"]  # (left, top, right, bottom) in pixels
Glimpses = Float[np.ndarray, "T N K G G C"]  # finest scale first, in [0, 1]
Probabilities = Float[np.ndarray, "T N classes"]  # belief after each glimpse

# The same for one image, or one glimpse of it.
Canvas = Float[np.ndarray, "H W C"]
Image = UInt8[np.ndarray, "H W C"] | Canvas
Rgb = Float[np.ndarray, "H W 3"]
Mask = Bool[np.ndarray, "H W"]
GlimpseBoxes = Float[np.ndarray, "K 4"] | Integer[np.ndarray, "K 4"]
GlimpsePatches = Float[np.ndarray, "K G G C"]
EpisodeBoxes = Float[np.ndarray, "T K 4"] | Integer[np.ndarray, "T K 4"]
EpisodePatches = Float[np.ndarray, "T K G G C"]
EpisodeBelief = Float[np.ndarray, "T classes"]
PixelPath = Float[np.ndarray, "T 2"]
Points = Float[np.ndarray, "N 2"]
Coordinates = Float[np.ndarray, "*axes 2"]
Errors = Float[np.ndarray, "T"]
Counts = Integer[np.ndarray, "rows columns"]


def names_of(class_names: Sequence[str] | None, classes: int) -> list[str]:
    """Return the given class names, or the numbers `0 .. classes - 1`."""
    if class_names is None:
        return [str(index) for index in range(classes)]
    return [str(name) for name in class_names]


def likeliest_classes(beliefs: EpisodeBelief, label: int | Sequence[int], limit: int = 12) -> Labels:
    """Return the classes that a belief display shows, in ascending order.

    Up to `limit` classes are all shown. Of more, the `limit` with the highest belief at any glimpse are shown, always
    with the true ones.
    """
    classes = beliefs.shape[-1]
    if classes <= limit:
        return np.arange(classes)
    order, true = np.argsort(-beliefs.max(axis=0), kind="stable"), np.unique(label)
    order = np.concatenate([true, order[~np.isin(order, true)]])[:limit]
    return np.sort(order)


def to_rgb(image: Image) -> Rgb:
    """Return RGB in [0, 1] of `image` `[H, W, C]`, uint8 or float in [0, 1]: gray if C = 1, orange and blue if 2."""
    values = np.asarray(image)
    scaled = values.astype(np.float32) / (255.0 if values.dtype == np.uint8 else 1.0)
    if scaled.shape[-1] == 1:
        scaled = np.repeat(scaled, 3, axis=-1)
    elif scaled.shape[-1] == 2:
        scaled = scaled @ np.array([[1.0, 0.6, 0.1], [0.2, 0.6, 1.0]], np.float32)
    return np.clip(scaled[..., :3], 0.0, 1.0)


def to_pixels(locations: Coordinates, height: int, width: int) -> Coordinates:
    """Return pixel edge coordinates `(x, y)` of `locations` `[..., 2]` given in [-1, 1]."""
    return (np.asarray(locations, np.float64) + 1.0) / 2.0 * np.array([width, height], np.float64)
