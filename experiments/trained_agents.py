"""Trained agents as a library: load one by name or from a run directory, and let it look at an image.

    agent = load_agent("cluttered60")
    look = agent.look("digit.png")
    look.predicted, look.probabilities, look.locations, look.boxes

Agents that come with the repository are files ``pretrained/NAME.npz``: parameters in half precision, the configuration
and the published errors, and no code. ``python -m experiments.export`` writes such a file from a run.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Float, Int, PyTree, UInt8
from PIL import Image, UnidentifiedImageError

from common.attention.glimpse import glimpse_boxes
from common.attention.model import AttentionModel
from common.data import Dataset
from common.data.own_images.resizing import ResizeMode, resize_picture
from common.names import check_name
from experiments.families import Family, find_family
from experiments.training.config import Experiment, from_json, to_json
from experiments.training.image_shapes import blank_of, describe_images
from experiments.training.restore import RestoredRun, read_run_without_images
from experiments.training.run_directory import MARKER

FOLDER = Path(__file__).parents[1] / "pretrained"
# The entry of the file that holds everything but the parameters, as JSON.
FACTS = "facts"


class Look(NamedTuple):
    """One episode of a trained agent on an image.

    Attributes:
      predicted: the name of the predicted class, or of each symbol before the end symbol.
      probabilities: of the classes after each glimpse ``[T, num_classes]``; a mean over the episodes.
      locations: of the glimpses, normalised (x, y) in [-1, 1], ``[T, 2]``; of the first episode.
      boxes: of each scale of the retina in pixels: left, top, right, bottom ``[T, K, 4]``.
      image: as the agent saw it, uint8 ``[H, W, C]``.
    """

    predicted: str | tuple[str, ...]
    probabilities: Float[np.ndarray, "T num_classes"]
    locations: Float[np.ndarray, "T 2"]
    boxes: Int[np.ndarray, "T K 4"]
    image: UInt8[np.ndarray, "H W C"]


@dataclass(frozen=True, eq=False)
class TrainedAgent:
    """A trained agent.

    Attributes:
      name: its name, or its run directory.
      family: its family.
      experiment: its configuration.
      attention: its functions.
      params: its parameters.
      images: blank images with the shapes and the classes that it was trained on.
      results: what its ``results.json`` says of its errors; empty for a run that has not finished.
    """

    name: str
    family: Family
    experiment: Experiment
    attention: AttentionModel
    params: PyTree
    images: Dataset
    results: Mapping[str, Any]

    def look(
        self, image: str | os.PathLike[str] | np.ndarray, *, episodes: int = 0, resize_mode: ResizeMode = "pad"
    ) -> Look:
        """Look at one image.

        Args:
          image: a picture file, or an array ``[h, w]`` or ``[h, w, C]``, uint8 or floating-point in [0, 1]. It is
            resized to the images that the agent was trained on.
          episodes: number of sampled episodes whose probabilities are averaged; 0 for the greedy one.
          resize_mode: how its aspect ratio is treated, see `common.data.own_images.resizing.resize_picture`.

        Raises:
          ValueError: the file is no picture, or the array has another shape or other numbers.
          OSError: the file cannot be read.
        """
        pixels = read_picture(image, self.images.image_shape, resize_mode)
        batch, attention = jnp.asarray(pixels)[None], self.attention
        kind = "sampled" if episodes else "greedy"
        keys = jax.random.split(jax.random.key(0), max(episodes, 1))
        played = jax.vmap(lambda key: attention.play(self.params, key, batch, kind))(keys)
        probabilities = np.asarray(jax.nn.softmax(played.logits[:, :, 0]).mean(axis=0))
        locations = played.locations[0, :, 0]
        boxes = jax.vmap(glimpse_boxes, in_axes=(0, None, None, None))(locations, attention.retina, *pixels.shape[:2])
        return Look(self._name(probabilities), probabilities, np.asarray(locations), np.asarray(boxes), pixels)

    def _name(self, probabilities: np.ndarray) -> str | tuple[str, ...]:
        names, targets = self.images.class_names, self.images.num_targets
        if targets is None:
            return names[probabilities[-1].argmax()]
        each = len(probabilities) // targets
        symbols = [names[place] for place in probabilities[each - 1 :: each].argmax(axis=-1)]
        return tuple(symbols[: symbols.index(names[-1])] if names[-1] in symbols else symbols)


def read_picture(
    image: str | os.PathLike[str] | np.ndarray, shape: tuple[int, int, int], resize_mode: ResizeMode = "pad"
) -> UInt8[np.ndarray, "H W C"]:
    """Read one image and resize it to ``shape`` (H, W, C); errors as of `TrainedAgent.look`."""
    height, width, channels = shape
    if isinstance(image, np.ndarray):
        array = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
        if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] != 3) or not array.size:
            raise ValueError(f"image of shape {image.shape}: must be [h, w], [h, w, 1] or [h, w, 3]")
        if np.issubdtype(array.dtype, np.floating):
            if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
                raise ValueError(f"image of {array.dtype}: its numbers must be from 0 to 1")
            array = np.rint(255 * array).astype(np.uint8)
        if array.dtype != np.uint8:
            raise ValueError(f"image of {array.dtype}: must be uint8, or floating-point from 0 to 1")
        picture = Image.fromarray(array)
    else:
        try:
            picture = Image.open(image)
            picture.load()
        except UnidentifiedImageError as error:
            raise ValueError(f"{os.fspath(image)!r} is no picture that can be read: give a PNG or JPEG file") from error
    picture = resize_picture(picture.convert("L" if channels == 1 else "RGB"), (height, width), resize_mode)
    return np.asarray(picture, np.uint8).reshape(height, width, channels)


def pretrained_names() -> tuple[str, ...]:
    """Return the names of the agents that come with the repository."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.npz")))


def is_kept(name: str | os.PathLike[str]) -> bool:
    """Return True for the name of an agent that comes with the repository, and for a file of `save_agent`."""
    return Path(name).suffix == ".npz" or os.fspath(name) in pretrained_names()


def load_agent(name: str | os.PathLike[str]) -> TrainedAgent:
    """Load a trained agent.

    Args:
      name: the name of one that comes with the repository, a file of `save_agent`, or a run directory.

    Raises:
      ValueError: there is no such agent, or its file is damaged.
    """
    path = Path(name)
    if (path / MARKER).is_file():
        return _of_run(read_run_without_images(path))
    if os.fspath(name) in pretrained_names():
        path = FOLDER / f"{name}.npz"
    if path.suffix != ".npz" or not path.is_file():
        check_name("agent", os.fspath(name), pretrained_names(), "a run directory")
    return _read(path)


def save_agent(run: RestoredRun, results: Mapping[str, Any], path: Path, dtype: str = "float16") -> None:
    """Write the parameters that a run reported, its configuration and its errors into one file.

    Args:
      run: a run of an agent.
      results: the content of its ``results.json``.
      path: the file, ``NAME.npz``.
      dtype: the type of the stored parameters.

    Raises:
      ValueError: the model of the run is no agent, or a parameter is too large for the type.
    """
    if run.built.attention is None:
        raise ValueError(f"run {str(run.run_dir)!r}: its model chooses no locations; give the run of an agent")
    kept = ("seed", "commit", "device", "steps", "episodes", "wall_seconds", "validation", "test")
    facts = {
        "family": run.family.name,
        "preset": results["preset"],
        "config": to_json(run.experiment),
        "images": describe_images(run.dataset),
        "results": {key: results[key] for key in kept if key in results},
    }
    stored: dict[str, Any] = {
        "/".join(names): np.asarray(leaf, dtype) for names, leaf in flatten_dict(run.params()).items()
    }
    if not all(np.isfinite(leaf).all() for leaf in stored.values()):
        raise ValueError(f"run {str(run.run_dir)!r}: a parameter is too large for {dtype}; give float32")
    path.parent.mkdir(parents=True, exist_ok=True)
    stored[FACTS] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    np.savez_compressed(path, allow_pickle=False, **stored)


def _read(path: Path) -> TrainedAgent:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        facts = json.loads(arrays.pop(FACTS).tobytes())
        family, images = find_family(facts["family"]), blank_of(facts["images"])
        experiment = from_json(family.experiment, facts["config"])
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{str(path)!r} holds no trained agent: {error}") from error
    agent = family.build(experiment, images).attention
    assert agent is not None
    params = unflatten_dict({tuple(name.split("/")): jnp.asarray(leaf, jnp.float32) for name, leaf in arrays.items()})
    return TrainedAgent(path.stem, family, experiment, agent, params, images, facts["results"])


def _of_run(run: RestoredRun) -> TrainedAgent:
    if run.built.attention is None:
        raise ValueError(f"run {str(run.run_dir)!r}: its model chooses no locations; give the run of an agent")
    results = run.results() or {}
    return TrainedAgent(
        str(run.run_dir), run.family, run.experiment, run.built.attention, run.params(), run.dataset, results
    )
