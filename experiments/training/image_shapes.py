"""The shapes of a run's images and the names of its classes, so that its model can be built again without its images.

They are in ``images.json`` of the run directory.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.data import Dataset, blank_images, find_task
from experiments.training.run_directory import read_json, write_json

FILE = "images.json"


def describe_images(dataset: Dataset) -> dict[str, Any]:
    """Return the facts of a data set that its models depend on, as JSON values."""
    return {
        "task": dataset.name,
        "image_shape": list(dataset.image_shape),
        "num_targets": dataset.num_targets,
        "class_names": list(dataset.class_names),
    }


def blank_of(facts: Mapping[str, Any]) -> Dataset:
    """Return a blank data set from the facts of `describe_images`.

    Raises:
      KeyError: a fact is missing.
      ValueError: the task is unknown.
    """
    height, width, channels = facts["image_shape"]
    labels = () if facts["num_targets"] is None else (facts["num_targets"],)
    recipe = find_task(facts["task"]).recipe
    return blank_images(facts["task"], (height, width, channels), labels, tuple(facts["class_names"]), recipe)


def write_image_shapes(run_dir: Path, dataset: Dataset) -> None:
    """Write ``images.json``.

    Raises:
      OSError: it cannot be written.
    """
    write_json(run_dir / FILE, describe_images(dataset))


def read_image_shapes(run_dir: Path) -> Dataset | None:
    """Return a blank data set with the shapes of a run's images; None for a run without ``images.json``.

    Raises:
      ValueError: the file is damaged; names it.
    """
    path = run_dir / FILE
    if not path.exists():
        return None
    try:
        return blank_of(read_json(path))
    except (KeyError, TypeError) as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error
