"""The shapes of a run's images and the names of its classes, so that its model can be built again without its images.

They are in ``images.json`` of the run directory.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data import Dataset, blank_images, find_task
from common.user_files import LONGEST_ERROR, shorten
from experiments.training.config import from_json
from experiments.training.run_directory import read_json, write_sealed

FILE = "images.json"
ADVICE = "restore it from a copy, or delete it; the run can then be read with its images alone"
# Values of an image and its label, far above those of any model.
MOST_VALUES = 2**31


@dataclass(frozen=True)
class _Facts:
    """The content of ``images.json``."""

    task: str
    image_shape: tuple[int, ...]
    num_targets: int | None
    class_names: tuple[str, ...]


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
      ValueError: the task is unknown, or a fact is missing or has another type.
    """
    known: _Facts = from_json(_Facts, dict(facts), "shapes of images")
    sizes = (*known.image_shape, *(() if known.num_targets is None else (known.num_targets,)))
    are_sizes = min(sizes) >= 1 and math.prod(sizes) <= MOST_VALUES and not any(size is True for size in sizes)
    if len(known.image_shape) != 3 or not are_sizes:
        raise ValueError(f"image_shape {list(known.image_shape)} and num_targets {known.num_targets}: no sizes")
    return blank_images(known.task, known.image_shape, sizes[3:], known.class_names, find_task(known.task).recipe)


def write_image_shapes(run_dir: Path, dataset: Dataset) -> None:
    """Write ``images.json``.

    Raises:
      OSError: it cannot be written.
    """
    write_sealed(run_dir / FILE, describe_images(dataset))


def read_image_shapes(run_dir: Path) -> Dataset | None:
    """Return a blank data set with the shapes of a run's images; None for a run without ``images.json``.

    Raises:
      ValueError: the file is damaged; names it.
    """
    path = run_dir / FILE
    if not path.exists():
        return None
    facts = read_json(path, ADVICE)
    try:
        return blank_of(facts)
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {shorten(str(error), LONGEST_ERROR)}: {ADVICE}") from error
