"""Checkpoints of a training state: written atomically, checked when read, the latest few kept.

Orbax writes and reads the arrays. Why not orbax's `CheckpointManager`:

- It restores an array with a flipped bit without an error, and its errors about damaged metadata do not name the file.
  Here the digests of all files are saved with them and checked.
- It gives a checkpoint its final name before digests of its files can be computed, so a run killed in between would
  leave a checkpoint without digests. Here one rename completes both.
- To keep the latest checkpoints alone takes one line without it.
"""

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from common.files import sync, sync_tree
from common.training.step import TrainState


class CheckpointError(ValueError):
    """Error: there are checkpoints, but none of them can be read."""


def _arrays(state: TrainState) -> list[np.ndarray]:
    leaves = jax.tree.leaves(state)
    is_key = [jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(jax.random.key_data(x) if key else x) for x, key in zip(leaves, is_key, strict=True)]


def state_digest(state: TrainState) -> str:
    """Return the SHA-256 of the bytes, shapes and dtypes of all leaves, in the order of the tree."""
    digest = hashlib.sha256()
    for array in _arrays(state):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class Checkpoints:
    """The checkpoints of one run: a folder for each, named by its step.

    A checkpoint is written to a temporary folder that is then renamed, so a run that is killed leaves either a complete
    checkpoint or none. Its ``digest.json`` holds the SHA-256 of the state and of the files, and the shapes of the
    arrays, so that damaged checkpoints and those of other models are not read.

    Args:
      directory: folder of the checkpoints; created by the first one.
      keep: number of latest checkpoints to keep.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory = directory.absolute()
        self._keep = keep

    def steps(self) -> list[int]:
        """Return the steps of the checkpoints in ascending order."""
        return sorted(int(path.name) for path in self.directory.glob("*") if path.name.isdecimal())

    def save(self, state: TrainState) -> None:
        """Write a checkpoint of the state's step, replacing an existing one, and delete those too old to keep.

        Raises:
          OSError: it cannot be written, for example on a full disk; earlier checkpoints are unchanged.
        """
        final, partial = self.directory / str(int(state.step)), self.directory / "partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _check_space(partial, sum(array.nbytes for array in _arrays(state)))
            with _checkpointer() as checkpointer:
                checkpointer.save(partial / "state", args=ocp.args.StandardSave(state))
            digest = {"state": state_digest(state), "files": _file_digests(partial), "shapes": _shapes(state)}
            (partial / "digest.json").write_text(json.dumps(digest, indent=2) + "\n")
            sync_tree(partial)
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
            sync(self.directory)
        except (OSError, ValueError, RuntimeError) as error:  # TensorStore raises the latter two.
            shutil.rmtree(partial, ignore_errors=True)
            raise OSError(f"could not save checkpoint {str(final)!r}: {_one_line(error)}") from error
        for old in self.steps()[: -self._keep]:
            self._delete(old)

    def restore(self, like: TrainState, warn: Callable[[str], None] = print) -> TrainState | None:
        """Read the latest checkpoint that is undamaged.

        Args:
          like: a state of the same structure; its values are not used.
          warn: called with one line for each checkpoint that cannot be read.

        Returns:
          The state, or None if there is no checkpoint.

        Raises:
          CheckpointError: there are checkpoints, but none can be read.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        steps = self.steps()
        for step in reversed(steps):
            path = self.directory / str(step)
            try:
                digest = json.loads((path / "digest.json").read_text())
                # Checked first, because orbax logs pages about files that it cannot read.
                _check_equal(digest["files"], _file_digests(path), "its file")
                _check_equal(digest["shapes"], _shapes(like), "of another model:")
                with _checkpointer() as checkpointer:
                    state = checkpointer.restore(path / "state", args=ocp.args.StandardRestore(abstract))
                _check_equal({"state": digest["state"]}, {"state": state_digest(state)}, "its")
                return state
            except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
                warn(f"checkpoint {str(path)!r} cannot be read ({_one_line(error)}); trying the one before")
        if steps:
            raise CheckpointError(f"{str(self.directory)!r}: no checkpoint of {len(steps)} can be read")
        return None

    def discard_after(self, step: int) -> None:
        """Delete the checkpoints after a step, which a resumed run writes again."""
        for later in [s for s in self.steps() if s > step]:
            self._delete(later)

    def _delete(self, step: int) -> None:
        shutil.rmtree(self.directory / str(step), ignore_errors=True)


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    logger = logging.getLogger("absl")  # It would print pages about errors that the caller prints in one line.
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            yield checkpointer
    finally:
        logger.setLevel(level)


def _check_space(directory: Path, size: int) -> None:
    # Checked first, because TensorStore's threads print pages about a full disk.
    free = shutil.disk_usage(directory).free
    if free < size + 2**18:
        raise OSError(f"no space left on the disk: {size / 2**20:.1f} MiB are needed, {free / 2**20:.1f} are free")


def _file_digests(directory: Path) -> dict[str, str]:
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "digest.json"
    }


def _shapes(state: TrainState) -> dict[str, str]:
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def _check_equal(written: dict[str, str], actual: dict[str, str], subject: str) -> None:
    for name in sorted(written | actual):
        if written.get(name) != actual.get(name):
            raise ValueError(
                f"{subject} {name} was {written.get(name, 'absent')[:16]}, is {actual.get(name, 'absent')[:16]}"
            )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
