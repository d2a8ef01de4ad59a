"""Checkpoints of a training state: atomic, checked when read, the latest few kept. The only module that knows orbax."""

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

from common.training.step import TrainState


class CheckpointError(ValueError):
    """There are checkpoints, and none of them can be read."""


def _arrays(state: TrainState) -> list[np.ndarray]:
    leaves = jax.tree.leaves(state)
    is_key = [jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves]
    return [np.asarray(jax.random.key_data(x) if key else x) for x, key in zip(leaves, is_key, strict=True)]


def state_digest(state: TrainState) -> str:
    """SHA-256 over the bytes, shapes and dtypes of every leaf, in the order of the tree."""
    digest = hashlib.sha256()
    for array in _arrays(state):
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class Checkpoints:
    """The checkpoints of one run: a folder for each, named by its step.

    A checkpoint is written beside its final place and then renamed, so a run that is killed leaves either a whole
    checkpoint or none. ``digest.json`` in it holds the SHA-256 of its state and of its files, and the shapes of its
    arrays: what the disk damaged, or another model wrote, is not read.

    Args:
      directory: where they are; made when it is missing.
      keep: how many of the latest to keep.
    """

    def __init__(self, directory: Path, keep: int = 2):
        self.directory = directory.absolute()
        self._keep = keep

    def steps(self) -> list[int]:
        """Steps of the checkpoints, in order."""
        return sorted(int(path.name) for path in self.directory.glob("*") if path.name.isdecimal())

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint of this step, in place of one that is there, and deletes those too old to keep.

        Raises:
          OSError: it could not be written, for example because the disk is full; the earlier ones are as they were.
        """
        final, partial = self.directory / str(int(state.step)), self.directory / "partial"
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            _require_space(partial, sum(array.nbytes for array in _arrays(state)))
            with _checkpointer() as checkpointer:
                checkpointer.save(partial / "state", args=ocp.args.StandardSave(state))
            digest = {"state": state_digest(state), "files": _file_digests(partial), "shapes": _shapes(state)}
            (partial / "digest.json").write_text(json.dumps(digest, indent=2) + "\n")
            shutil.rmtree(final, ignore_errors=True)
            partial.rename(final)
        except (OSError, ValueError, RuntimeError) as error:  # TensorStore raises the latter two.
            shutil.rmtree(partial, ignore_errors=True)
            raise OSError(f"could not save checkpoint {str(final)!r}: {_line(error)}") from error
        for old in self.steps()[: -self._keep]:
            self._delete(old)

    def restore(self, like: TrainState, warn: Callable[[str], None] = print) -> TrainState | None:
        """Reads the latest checkpoint that is whole.

        Args:
          like: a state of the same structure; its values are not used.
          warn: called with one line for each checkpoint that cannot be read.

        Returns:
          The state, or None where there is no checkpoint.

        Raises:
          CheckpointError: no checkpoint of those there are can be read.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        steps = self.steps()
        for step in reversed(steps):
            path = self.directory / str(step)
            try:
                digest = json.loads((path / "digest.json").read_text())
                # Checked first, because orbax prints pages about what it cannot read.
                _require_same(digest["files"], _file_digests(path), "its file")
                _require_same(digest["shapes"], _shapes(like), "of another model:")
                with _checkpointer() as checkpointer:
                    state = checkpointer.restore(path / "state", args=ocp.args.StandardRestore(abstract))
                if state_digest(state) != digest["state"]:
                    raise ValueError("its state does not match its digest")
                return state
            except (OSError, ValueError, LookupError, TypeError, RuntimeError) as error:
                warn(f"checkpoint {str(path)!r} cannot be read ({_line(error)}); trying the one before")
        if steps:
            raise CheckpointError(f"{str(self.directory)!r}: no checkpoint of {len(steps)} can be read")
        return None

    def discard_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, which a resumed run writes anew."""
        for later in [s for s in self.steps() if s > step]:
            self._delete(later)

    def _delete(self, step: int) -> None:
        shutil.rmtree(self.directory / str(step), ignore_errors=True)


@contextlib.contextmanager
def _checkpointer() -> Iterator[ocp.Checkpointer]:
    logger = logging.getLogger("absl")  # It would print pages about what the caller says in one line.
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            yield checkpointer
    finally:
        logger.setLevel(level)


def _require_space(directory: Path, size: int) -> None:
    # Checked first, because TensorStore's threads print pages about a disk that is full.
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


def _require_same(written: dict[str, str], found: dict[str, str], what: str) -> None:
    for name in sorted(written | found):
        if written.get(name) != found.get(name):
            raise ValueError(
                f"{what} {name} was {written.get(name, 'absent')[:16]}, is {found.get(name, 'absent')[:16]}"
            )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
