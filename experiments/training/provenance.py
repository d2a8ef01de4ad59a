"""Provenance of a run: code, device and images at each of its starts; ``starts.json`` of its run directory."""

import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.data import Dataset
from common.data.array_cache import digest_arrays
from common.data.source import Source
from common.extensions import source_files
from common.training.checkpoints import Checkpoints
from experiments.cli.console import print_line, print_warning
from experiments.training.run_directory import STARTS, read_starts, write_sealed
from experiments.training.trust import trust

TRAIN = "train_images"
# The digests of images in a start: name -> the splits, in words.
SPLITS = {"images": "validation or test", TRAIN: "training"}


def environment(code: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the commit of the code, the version of JAX and the device of this process.

    Args:
      code: the `code_digests` of a run.
    """
    return {"commit": commit(source_files(code or ())), "jax_version": jax.__version__, "device": device()}


def add_start(
    run_dir: Path, images: Mapping[str, str], code: Mapping[str, str], warm_start: Mapping[str, Any] | None = None
) -> None:
    """Record a start of a run, and print which of commit and JAX version have changed since the last one.

    Its code is what this user runs from now on (`trust`).

    Args:
      run_dir: its run directory.
      images: the `image_digests` of its images, which `check_images` has compared.
      code: its `code_digests`.
      warm_start: the record of the run whose parameters it begins with; None without one, and for a resumed run.

    Raises:
      ValueError: the file of the starts so far is damaged.
      OSError: it cannot be written.
    """
    starts = read_starts(run_dir)
    step = max(Checkpoints(run_dir / "checkpoints").steps(), default=0)
    start = {"step": step, **environment(code), **images, "code": dict(code)}
    if warm_start is not None:
        start["warm_start"] = dict(warm_start)
    for name in ("commit", "jax_version"):
        if starts and starts[-1][name] != start[name]:
            print_line(f"note: {name} has changed from {starts[-1][name]} to {start[name]}")
    if starts and not step:
        print_line("note: no checkpoint has been saved, so the run begins at step 0")
    write_sealed(run_dir / STARTS, {"starts": [*starts, start]})
    trust(code)


def check_images(run_dir: Path, images: Mapping[str, str], warn: bool = False) -> None:
    """Check that images are those of a run.

    Args:
      run_dir: its run directory.
      images: their `image_digests`.
      warn: warn of other training images instead of raising an error: what a run has learned does not change.

    Raises:
      ValueError: they have changed since the run began.
    """
    starts = read_starts(run_dir)
    if not starts and any(run_dir.glob("checkpoints/[0-9]*")):
        print_warning(f"note: '{run_dir / STARTS}' is missing, so the images are not compared with those of the run")
    for name, split in SPLITS.items():
        # All later starts have the images of the first that recorded them: others are refused.
        recorded = next((start[name] for start in starts if name in start), None)
        if recorded is None or name not in images or recorded == images[name]:
            continue
        changed = (
            f"run directory {str(run_dir)!r}: the {split} images have changed since this run began (SHA-256 "
            f"{recorded[:12]}, now {images[name][:12]})"
        )
        if not (warn and name == TRAIN):
            raise ValueError(f"{changed}: restore the image folder, or install the same Pillow and font versions")
        print_warning(f"note: {changed}")


def image_digests(dataset: Dataset, train: bool = True) -> dict[str, str]:
    """Return the SHA-256 of the images and labels of a data set, as a start of a run holds them.

    Args:
      dataset: the images.
      train: the training images are among them (see `experiments.training.config.load_evaluation_images`).
    """
    return {"images": digest(dataset)} | ({TRAIN: _digest_of(train=dataset.train)} if train else {})


def digest(dataset: Dataset) -> str:
    """Return the SHA-256 of the validation and the test split."""
    return _digest_of(validation=dataset.validation, test=dataset.test)


def _digest_of(**splits: Source) -> str:
    parts = {f"{split}_{name}": part for split, source in splits.items() for name, part in source._asdict().items()}
    return digest_arrays({name: np.asarray(part) for name, part in parts.items()})


def commit(sources: Sequence[Path] = ()) -> str | None:
    """Return the commit of the code, with ``-dirty`` where the tree differs from it; None outside its own repository.

    Code that is installed or unpacked somewhere inside another repository has none: that commit would not be its own.

    Args:
      sources: files that a run uses; one of them that the repository holds but does not track counts as a difference.
    """
    root = Path(__file__).resolve().parents[2]
    # In a hook of another repository, git's variables name that one.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=root, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        if Path(git("rev-parse", "--show-toplevel")).resolve() != root:
            return None
        git("ls-files", "--error-unmatch", "--", __file__)
        described = git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
        inside = [str(path.resolve()) for path in sources if path.resolve().is_relative_to(root)]
        untracked = git("ls-files", "--others", "--", *inside) if inside else ""
    except (OSError, subprocess.CalledProcessError):
        return None
    return described if described.endswith("-dirty") or not untracked else f"{described}-dirty"


def device() -> str:
    """Describe the device that JAX computes on."""
    chosen = jax.devices()[0]
    if chosen.platform != "cpu":
        return f"{jax.device_count()} x {chosen.device_kind}"
    # What this process may use can be less than what the machine has.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"CPU, {platform.machine()}, {cores} core{'s' if cores != 1 else ''}"
