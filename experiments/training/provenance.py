"""Provenance of a run: code, device and images at each of its starts; ``starts.json`` of its run directory."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from common.data import Dataset
from common.data.array_cache import digest_arrays
from common.extensions import is_own, source_digest, source_files
from common.training.checkpoints import Checkpoints
from experiments.cli.console import print_line
from experiments.training.config import flatten
from experiments.training.run_directory import read_json, write_json

FILE = "starts.json"
# The name of something of the user's own, as a configuration holds it.
_OWN = re.compile(r"[\w.-]+:\w+")


def environment(code: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Return the commit of the code, the version of JAX and the device of this process.

    Args:
      code: the `code_digests` of a run.
    """
    return {"commit": commit(source_files(code or ())), "jax_version": jax.__version__, "device": device()}


def code_digests(family: str, config: Mapping[str, Any]) -> dict[str, str]:
    """Return the SHA-256 of the source file of everything of the user's own that a run uses, by ``module:name``.

    Args:
      family: name of the family.
      config: the configuration as JSON values.
    """
    digests = {name: source_digest(name) for name in own_names(family, config)}
    return {name: digest for name, digest in digests.items() if digest is not None}


def own_names(family: str, config: Mapping[str, Any]) -> list[str]:
    """Return each ``module:name`` of a configuration whose module exists, in order (arguments as of `code_digests`)."""
    values = [family, *(value for _, value in flatten(config))]
    named = dict.fromkeys(value for value in values if isinstance(value, str) and _OWN.fullmatch(value))
    return [name for name in named if is_own(name)]


def read_starts(run_dir: Path) -> list[dict[str, Any]]:
    """Return the starts of a run, the first one first; none where they were not recorded.

    Raises:
      ValueError: the file is damaged.
    """
    path = run_dir / FILE
    return read_json(path)["starts"] if path.exists() else []


def add_start(run_dir: Path, images: str, code: Mapping[str, str], warm_start: Mapping[str, Any] | None = None) -> None:
    """Record a start of a run, and print which of commit and JAX version have changed since the last one.

    Args:
      run_dir: its run directory.
      images: the `digest` of its images.
      code: its `code_digests`.
      warm_start: the record of the run whose parameters it begins with; None without one, and for a resumed run.

    Raises:
      ValueError: the images are not those of the run.
      OSError: it cannot be written.
    """
    starts = read_starts(run_dir)
    _require_same(run_dir, starts, images)
    step = max(Checkpoints(run_dir / "checkpoints").steps(), default=0)
    start = {"step": step, **environment(code), "images": images, "code": dict(code)}
    if warm_start is not None:
        start["warm_start"] = dict(warm_start)
    for name in ("commit", "jax_version"):
        if starts and starts[-1][name] != start[name]:
            print_line(f"note: {name} has changed from {starts[-1][name]} to {start[name]}")
    write_json(run_dir / FILE, {"starts": [*starts, start]})


def check_images(run_dir: Path, images: str) -> None:
    """Check that the validation and test images are those of a run. Training images are not compared.

    Raises:
      ValueError: they have changed since the run began.
    """
    if starts := read_starts(run_dir):
        _require_same(run_dir, starts, images)


def _require_same(run_dir: Path, starts: list[dict[str, Any]], images: str) -> None:
    # All starts have the same images as the first: others are refused.
    if starts and starts[0]["images"] != images:
        raise ValueError(
            f"run directory {str(run_dir)!r}: the validation or test images have changed since this run began (SHA-256 "
            f"{starts[0]['images'][:12]}, now {images[:12]}): restore the image folder, or install the same Pillow and "
            "font versions"
        )


def digest(dataset: Dataset) -> str:
    """Return the SHA-256 of the validation and the test split."""
    splits = {"validation": dataset.validation, "test": dataset.test}
    parts = {f"{split}_{name}": part for split, source in splits.items() for name, part in source._asdict().items()}
    return digest_arrays({name: np.asarray(part) for name, part in parts.items()})


def commit(sources: Sequence[Path] = ()) -> str | None:
    """Return the commit of the code, with ``-dirty`` where the tree differs from it; None outside a repository.

    Args:
      sources: files that a run uses; one of them that the repository holds but does not track counts as a difference.
    """

    def git(*words: str) -> str:
        folder = Path(__file__).parent
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()

    try:
        described = git("describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
        root = Path(git("rev-parse", "--show-toplevel"))
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
