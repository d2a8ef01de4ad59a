"""Provenance of a run: code, device and images at each of its starts; ``starts.json`` of its run directory."""

import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.data import Dataset
from common.data.array_cache import digest_arrays
from common.training.checkpoints import Checkpoints
from experiments.cli.console import say
from experiments.training.run_directory import read_json, write_json

FILE = "starts.json"


def environment() -> dict[str, Any]:
    """The commit of the code, the version of JAX and the device of this process."""
    return {"commit": commit(), "jax_version": jax.__version__, "device": device()}


def read_starts(run_dir: Path) -> list[dict[str, Any]]:
    """The starts of a run, the first first; none of a run from before they were kept.

    Raises:
      ValueError: the file is damaged.
    """
    path = run_dir / FILE
    return read_json(path)["starts"] if path.exists() else []


def add_start(run_dir: Path, images: str) -> None:
    """Notes that a run begins, or goes on from its latest checkpoint, and says where that is not as it was.

    Args:
      run_dir: its folder.
      images: the `digest` of its images.

    Raises:
      ValueError: they are not those of the run.
      OSError: it cannot be written.
    """
    starts = read_starts(run_dir)
    _require_same(run_dir, starts, images)
    step = max(Checkpoints(run_dir / "checkpoints").steps(), default=0)
    start = {"step": step, **environment(), "images": images}
    for name in ("commit", "jax_version"):
        if starts and starts[-1][name] != start[name]:
            say(f"note: {name} was {starts[-1][name]} until here, and is {start[name]} from now on")
    write_json(run_dir / FILE, {"starts": [*starts, start]})


def check_images(run_dir: Path, dataset: Dataset) -> None:
    """Checks that the images are those of a run, since of others some may be ones that it has trained on.

    Raises:
      ValueError: its validation or test images were other ones.
    """
    if starts := read_starts(run_dir):
        _require_same(run_dir, starts, digest(dataset))


def _require_same(run_dir: Path, starts: list[dict[str, Any]], images: str) -> None:
    # All starts had the same, or a later one would have been refused.
    if starts and starts[0]["images"] != images:
        raise ValueError(
            f"run directory {str(run_dir)!r}: its validation or test images were others (SHA-256 "
            f"{starts[0]['images'][:12]}, now {images[:12]}): give back its folder of images as it was, or for "
            "rendered ones the versions of Pillow and of the fonts"
        )


def digest(dataset: Dataset) -> str:
    """SHA-256 of the validation and the test split."""
    splits = {"validation": dataset.validation, "test": dataset.test}
    parts = {f"{split}_{name}": part for split, source in splits.items() for name, part in source._asdict().items()}
    return digest_arrays({name: np.asarray(part) for name, part in parts.items()})


def commit() -> str | None:
    """Return the commit of the code, with ``-dirty`` where the tree differs from it; None outside a repository."""
    try:
        described = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return described.stdout.strip()


def device() -> str:
    """Describe the device that JAX computes on."""
    chosen = jax.devices()[0]
    if chosen.platform != "cpu":
        return f"{jax.device_count()} x {chosen.device_kind}"
    # What this process may use can be less than what the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU, {platform.machine()}, {cores} core{'s' if cores != 1 else ''}"
