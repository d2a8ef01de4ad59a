"""Trained agents as a library: load one by name, from a file or a run directory, and let it look at an image.

    agent = load_agent("quick")
    look = agent.look("digit.png")
    look.predicted, look.probabilities, look.locations, look.boxes

Agents that come with the repository are files ``pretrained/NAME.npz``: parameters in half precision, the configuration
and the published errors, and no code. ``python -m experiments.export`` writes such a file from a run.
"""

import functools
import io
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8
from PIL import Image, ImageOps

from common.attention.glimpse import glimpse_boxes
from common.attention.model import AttentionModel
from common.checks import refuse
from common.data import Dataset
from common.data.own_images.folder import read_image
from common.data.own_images.resizing import ResizeMode, resize_picture
from common.names import check_name
from common.training.evaluation import average_over_episodes
from common.user_files import reading
from experiments.families import Family, find_family
from experiments.output.files import write_bytes
from experiments.runs.restore import RestoredRun, read_run_without_images
from experiments.training.config import Experiment, from_json, to_json
from experiments.training.image_shapes import blank_of, describe_images
from experiments.training.run_directory import MARKER
from experiments.training.trust import own_names

FOLDER = Path(__file__).parents[2] / "pretrained"
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
      step: the training step of the parameters.
      results: what its ``results.json`` says of its errors; empty for a run that has not finished.
      images_digest: the SHA-256 of the validation and test images of the run (`experiments.training.provenance`).
    """

    name: str
    family: Family
    experiment: Experiment
    attention: AttentionModel
    params: PyTree
    images: Dataset
    step: int
    results: Mapping[str, Any]
    images_digest: str | None = None

    def __repr__(self) -> str:
        """Return its name, its task and its test error, instead of all its parameters."""
        errors = self.results.get("test", {})
        error = errors.get("average_probability", errors.get("greedy"))
        measured = "" if error is None else f", test error {error['error']:.2f}%"
        return f"TrainedAgent({self.name!r}, task {self.images.name!r}, step {self.step}{measured})"

    def look(
        self,
        image: str | os.PathLike[str] | np.ndarray,
        *,
        episodes: int = 0,
        resize_mode: ResizeMode = "pad",
        invert: bool = False,
    ) -> Look:
        """Look at one image.

        Args:
          image: a picture file, or an array ``[h, w]`` or ``[h, w, C]``, uint8 or floating-point in [0, 1]. It is
            resized to the images that the agent was trained on.
          episodes: number of sampled episodes whose probabilities are averaged; 0 for the greedy one.
          resize_mode: how its aspect ratio is treated, see `common.data.own_images.resizing.resize_picture`.
          invert: swap dark and bright, for an agent that was trained on bright digits and a picture of dark ink.

        Raises:
          ValueError: the file is no picture, or the array has another shape or other numbers.
        """
        pixels = read_picture(image, self.images.image_shape, resize_mode, invert)
        keys = jax.random.split(jax.random.key(0), max(episodes, 1))
        played = [self._play(key, jnp.asarray(pixels), "sampled" if episodes else "greedy") for key in keys]
        logits = jnp.stack([each[0] for each in played])  # [M, T, num_classes]
        probabilities = np.asarray(jax.nn.softmax(logits).mean(axis=0))
        _, locations, boxes = played[0]
        return Look(self._name(logits), probabilities, np.asarray(locations), np.asarray(boxes), pixels)

    @functools.cached_property
    def _play(self) -> Callable[[Key[Array, ""], Array, str], tuple[Array, Array, Array]]:
        """Return the compiled ``(key, image, kind) -> (logits, locations, boxes)`` of one episode."""

        def play(key: Key[Array, ""], image: Array, kind: str) -> tuple[Array, Array, Array]:
            episode = self.attention.play(self.params, key, image[None], kind)
            locations = episode.locations[:, 0]
            boxes = jax.vmap(glimpse_boxes, in_axes=(0, None, None, None))
            places = boxes(locations, self.attention.retina, *image.shape[:2])
            return episode.logits[:, 0], locations, places

        return jax.jit(play, static_argnums=2)

    def _name(self, logits: Float[Array, "M T num_classes"]) -> str | tuple[str, ...]:
        """Return what the average over M episodes predicts, by the same rule as the evaluation."""
        names, end, sequence = self.images.class_names, self.images.end_symbol, self.attention.sequence
        if sequence is None:
            return names[int(average_over_episodes(logits[:, -1:])[0][0])]
        beliefs = jnp.moveaxis(sequence.final_beliefs(jnp.moveaxis(logits, 0, 1)), 0, 1)  # [M, S, num_classes]
        symbols = average_over_episodes(beliefs[:, None])[0][0]
        return tuple(names[int(symbol)] for symbol in symbols if symbol != end)


def read_picture(
    image: str | os.PathLike[str] | np.ndarray,
    shape: tuple[int, int, int],
    resize_mode: ResizeMode = "pad",
    invert: bool = False,
) -> UInt8[np.ndarray, "H W C"]:
    """Read one image and resize it to ``shape`` (H, W, C); errors as of `TrainedAgent.look`."""
    height, width, channels = shape
    if isinstance(image, np.ndarray):
        array = image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image
        is_float = np.issubdtype(array.dtype, np.floating)
        is_picture = array.size and (array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3))
        refuse(
            (
                (not is_picture, f"image of shape {image.shape}: must be [h, w], [h, w, 1] or [h, w, 3]"),
                (
                    not (is_float or array.dtype == np.uint8) or (is_float and not ((array >= 0) & (array <= 1)).all()),
                    f"image of {array.dtype}: must be uint8, or floating-point from 0 to 1",
                ),
            )
        )
        array = np.rint(255 * array).astype(np.uint8) if is_float else array
        picture = Image.fromarray(array)
    else:
        if not Path(image).is_file():
            raise ValueError(f"no picture at {os.fspath(image)!r}")
        picture = read_image(Path(image), None, resize_mode)
    picture = picture.convert("L" if channels == 1 else "RGB")
    picture = resize_picture(ImageOps.invert(picture) if invert else picture, (height, width), resize_mode)
    return np.asarray(picture, np.uint8).reshape(height, width, channels)


def pretrained_names() -> tuple[str, ...]:
    """Return the names of the agents that come with the repository."""
    return tuple(sorted(path.stem for path in FOLDER.glob("*.npz")))


def is_file(name: str | os.PathLike[str]) -> bool:
    """Return True if `load_agent` would read a file for this name, and not a run directory."""
    path = Path(name)
    return not (path / MARKER).is_file() and (path.suffix.lower() == ".npz" or os.fspath(name) in pretrained_names())


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
    if path.suffix.lower() == ".npz" and path.is_file():
        return _read(path)
    check_name("agent", os.fspath(name), pretrained_names(), "a run directory or a file of experiments.export")
    return _read(FOLDER / f"{name}.npz")


def save_agent(run: RestoredRun, results: Mapping[str, Any], path: Path, dtype: str = "float16") -> None:
    """Write the parameters that a run reported, its configuration and its errors into one file.

    Args:
      run: a run of an agent.
      results: the content of its ``results.json``.
      path: the file, ``NAME.npz``.
      dtype: the type of the stored parameters.

    Raises:
      ValueError: the model of the run is no agent, it needs code of the user's own, or a parameter is too large for the
        type.
    """
    _agent_of(run)
    _refuse_own_code(f"run {str(run.run_dir)!r}", run.family.name, to_json(run.experiment))
    kept = ("seed", "commit", "device", "steps", "episodes", "wall_seconds", "validation", "test")
    facts = {
        "family": run.family.name,
        "preset": results["preset"],
        "config": to_json(run.experiment),
        "images": describe_images(run.dataset),
        "images_digest": results["starts"][0]["images"],
        "step": run.step(),
        "results": {key: results[key] for key in kept if key in results},
    }
    stored: dict[str, Any] = {
        "/".join(names): np.asarray(leaf, dtype) for names, leaf in flatten_dict(run.params()).items()
    }
    if not all(np.isfinite(leaf).all() for leaf in stored.values()):
        raise ValueError(f"run {str(run.run_dir)!r}: a parameter is too large for {dtype}; give float32")
    stored[FACTS] = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **stored)
    write_bytes(path, buffer.getvalue())


def _read(path: Path) -> TrainedAgent:
    with reading(f"{str(path)!r} holds no trained agent"):
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            stored = arrays.pop(FACTS)
        except (ValueError, KeyError) as error:  # What NumPy says of a file that is no archive would mislead.
            raise ValueError("it is no file of experiments.export") from error
        facts = json.loads(stored.tobytes())
        _refuse_own_code("it", facts["family"], facts["config"])
        family, images = find_family(facts["family"]), blank_of(facts["images"])
        experiment = from_json(family.experiment, facts["config"])
        agent = family.build(experiment, images).attention
        if agent is None:
            raise ValueError(f"the family {family.name} chooses no locations")
    params = unflatten_dict({tuple(name.split("/")): jnp.asarray(leaf, jnp.float32) for name, leaf in arrays.items()})
    kept = facts["step"], facts["results"], facts["images_digest"]
    return TrainedAgent(path.stem, family, experiment, agent, params, images, *kept)


def _of_run(run: RestoredRun) -> TrainedAgent:
    results = run.results() or {}
    return TrainedAgent(
        str(run.run_dir),
        run.family,
        run.experiment,
        _agent_of(run),
        run.params(),
        run.dataset,
        run.step(),
        results,
    )


def _agent_of(run: RestoredRun) -> AttentionModel:
    if run.built.attention is None:
        raise ValueError(f"run {str(run.run_dir)!r}: its model chooses no locations; give the run of an agent")
    return run.built.attention


def _refuse_own_code(subject: str, family: str, config: Mapping[str, Any]) -> None:
    own = own_names(family, config)
    if own:
        raise ValueError(f"{subject} needs {', '.join(own)}: a file holds no code, so keep the run itself")
