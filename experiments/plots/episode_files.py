"""Episodes as one JSON file of embedded pictures and rounded numbers, for the report's viewer."""

import base64
import io
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from PIL import Image as PillowImage

from experiments.evaluation.reading import Reading, read_episode
from experiments.output.files import write_bytes
from experiments.plots.arrays import Boxes, Glimpses, Images, Locations, Probabilities, Targets, names_of, to_rgb

Rewards = Float[np.ndarray, "N"] | Float[np.ndarray, "T N"]
PNG_PREFIX = "data:image/png;base64,"


class Episodes(NamedTuple):
    """N episodes of T glimpses, as `read_episodes` returns them."""

    images: Images  # uint8 [N, H, W, C]
    labels: Targets  # [N], or [N, S] of sequences
    locations: Locations  # [T, N, 2] in [-1, 1], to four decimals
    boxes: Boxes  # [T, N, K, 4] in pixels, to two decimals
    glimpses: Glimpses  # [T, N, K, G, G, C] in [0, 1], in steps of 1 / 255
    probabilities: Probabilities  # [T, N, classes], to four decimals
    class_names: list[str]  # [classes]
    rewards: Rewards  # [N], or [T, N] for a reward of each glimpse; NaN where unknown


def write_episodes(
    path: str | os.PathLike[str],
    images: Images,
    labels: Targets,
    locations: Locations,
    boxes: Boxes,
    glimpses: Glimpses,
    probabilities: Probabilities,
    class_names: Sequence[str] | None = None,
    rewards: Rewards | None = None,
) -> Path:
    """Write N episodes of T glimpses to a JSON file, and return its path.

    Args:
      path: of the file; the report reads `plots/episodes.json` of the run directory.
      images: uint8 `[N, H, W, C]`.
      labels: true classes `[N]`, or symbols `[N, S]`, the last class being the end symbol.
      locations: `[T, N, 2]`, (x, y) in [-1, 1].
      boxes: `[T, N, K, 4]`, (left, top, right, bottom) in pixels, finest scale first.
      glimpses: `[T, N, K, G, G, C]` in [0, 1].
      probabilities: `[T, N, classes]`, the belief after each glimpse.
      class_names: one for each class; their numbers if None.
      rewards: `[N]`, of the whole episode, or `[T, N]`, of each glimpse; unknown if None.
    """
    from experiments.plots.style import glimpse_colours  # Loads matplotlib, which reading episodes does not need.

    count = len(images)
    names = names_of(class_names, probabilities.shape[-1])
    height, width = images.shape[1:3]
    rewards = np.full(count, np.nan) if rewards is None else np.asarray(rewards)
    readings = [read_episode(np.asarray(label), probabilities[:, index]) for index, label in enumerate(labels)]
    episodes = [
        {
            "image": _png(images[index]),
            **_label(readings[index]),
            "locations": _rounded(locations[:, index], 4),
            "boxes": _rounded(boxes[:, index], 2),
            "patches": [_png(_strip(glimpse)) for glimpse in glimpses[:, index]],
            "probabilities": _rounded(probabilities[:, index], 4),
            "reward": _rounded(rewards[..., index], 4),
        }
        for index in range(count)
    ]
    content = {
        "height": height,
        "width": width,
        "class_names": names,
        "colours": glimpse_colours(len(locations)),
        "episodes": episodes,
    }
    if readings and readings[0].end is not None:
        content |= {"glimpses_per_target": readings[0].glimpses_per_target, "end": readings[0].end}
    return write_bytes(path, json.dumps(content, allow_nan=False, separators=(",", ":")).encode())


def read_episodes(path: str | os.PathLike[str]) -> Episodes:
    """Read the arrays that `write_episodes` wrote, in the same shapes and units, rounded.

    Images of two channels are returned in the RGB that they were drawn in.
    """
    content = json.loads(Path(path).read_text())
    episodes = content["episodes"]
    strips = [[_pixels(strip) for strip in episode["patches"]] for episode in episodes]
    glimpses = [[_patches(strip) for strip in row] for row in strips]
    rewards = np.array([episode["reward"] for episode in episodes], np.float64)

    def stacked(key: str) -> np.ndarray:
        return np.stack([np.asarray(episode[key], np.float64) for episode in episodes], axis=1)

    return Episodes(
        images=np.stack([_pixels(episode["image"]) for episode in episodes]),
        labels=np.array([episode["label"] for episode in episodes], np.int64),
        locations=stacked("locations"),
        boxes=stacked("boxes"),
        glimpses=np.swapaxes(np.array(glimpses, np.float64), 0, 1) / 255.0,
        probabilities=stacked("probabilities"),
        class_names=content["class_names"],
        rewards=rewards if rewards.ndim == 1 else rewards.T,
    )


def _label(reading: Reading) -> dict[str, Any]:
    """Return the true class of an episode, or the true and the predicted symbols of a sequence."""
    if reading.end is None:
        return {"label": reading.label[0]}
    return {"label": list(reading.label), "read": list(reading.predicted)}


def _strip(glimpse: np.ndarray) -> np.ndarray:
    """Return the patches `[K, G, G, C]` of a glimpse side by side, `[G, K * G, C]`."""
    return np.concatenate(list(glimpse), axis=1)


def _patches(strip: np.ndarray) -> np.ndarray:
    """Return the patches `[K, G, G, C]` of a strip `[G, K * G, C]`."""
    return np.stack(np.split(strip, strip.shape[1] // len(strip), axis=1))


def _png(image: np.ndarray) -> str:
    """Return an image `[H, W, C]`, uint8 or float in [0, 1], as the data URI of a gray or RGB PNG."""
    values = image if image.shape[-1] in (1, 3) else to_rgb(image)
    if values.dtype != np.uint8:
        values = np.round(np.clip(values, 0.0, 1.0) * 255.0).astype(np.uint8)
    buffer = io.BytesIO()
    PillowImage.fromarray(values[..., 0] if values.shape[-1] == 1 else values).save(buffer, "PNG", optimize=True)
    return PNG_PREFIX + base64.b64encode(buffer.getvalue()).decode()


def _pixels(uri: str) -> np.ndarray:
    """Return the uint8 image `[H, W, C]` of a data URI that `_png` made."""
    picture = np.asarray(PillowImage.open(io.BytesIO(base64.b64decode(uri.removeprefix(PNG_PREFIX)))))
    return picture[..., None] if picture.ndim == 2 else picture


def _rounded(values: np.ndarray, decimals: int) -> Any:
    """Return values as nested lists of rounded numbers, with None for those that are not finite."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(entry) for entry in value]
        return round(value, decimals) if math.isfinite(value) else None

    return plain(np.asarray(values, np.float64).tolist())
