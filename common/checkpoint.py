"""Checkpoints of a training state: atomic, checked when read, the latest few kept. The only module that knows orbax."""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from common.training import TrainState


class CheckpointError(ValueError):
    """There are checkpoints, and none of them can be read."""


def state_digest(state: TrainState) -> str:
    """SHA-256 over the bytes, shapes and dtypes of every leaf, in the order of the tree."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.random.key_data(leaf)
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


class Checkpoints:
    """The checkpoints of one run.

    A checkpoint is written beside its final place and then renamed, so a run that is killed leaves either a whole
    checkpoint or none. Its digest is stored with it: what the disk damaged is not read.

    Args:
      directory: where they are; made when it is missing.
      keep: how many of the latest to keep.
    """

    def __init__(self, directory: Path, keep: int = 2):
        logging.getLogger("absl").setLevel(logging.ERROR)
        options = ocp.CheckpointManagerOptions(max_to_keep=keep, enable_async_checkpointing=False)
        self.directory = directory.absolute()
        self._manager = ocp.CheckpointManager(self.directory, options=options)

    def save(self, state: TrainState) -> None:
        """Writes a checkpoint of this step.

        Raises:
          OSError: it could not be written, for example because the disk is full; the earlier ones are as they were.
        """
        step = int(state.step)
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state), digest=ocp.args.JsonSave({"sha256": state_digest(state)})
                ),
                force=True,
            )
            self._manager.wait_until_finished()
        except (OSError, ValueError, RuntimeError) as error:
            raise OSError(f"could not save the checkpoint of step {step}: {' '.join(str(error).split())}") from error

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, in order."""
        return sorted(self._manager.all_steps(read=True))

    def restore(self, like: TrainState, warn: Callable[[str], None] = print) -> TrainState | None:
        """Reads the latest checkpoint that is whole.

        Args:
          like: a state of the same structure; its values are not used.
          warn: called with one line for each checkpoint that is damaged.

        Returns:
          The state, or None where there is no checkpoint.

        Raises:
          CheckpointError: every checkpoint is damaged.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        steps = self.steps()
        for step in reversed(steps):
            try:
                restored = self._manager.restore(
                    step,
                    args=ocp.args.Composite(state=ocp.args.StandardRestore(abstract), digest=ocp.args.JsonRestore()),
                )
                if state_digest(restored.state) == restored.digest["sha256"]:
                    return restored.state
                reason = "its contents do not match its digest"
            except Exception as error:  # Damage shows as almost any exception, from a JSON error to one of TensorStore.
                reason = " ".join(str(error).split())[:200]
            warn(f"checkpoint {self.directory / str(step)} is damaged ({reason}); trying the one before")
        if steps:
            raise CheckpointError(
                f"{self.directory}: all {len(steps)} checkpoints are damaged; start over with --overwrite"
            )
        return None

    def discard_after(self, step: int) -> None:
        """Deletes the checkpoints of later steps, which a resumed run writes anew."""
        for later in [s for s in self.steps() if s > step]:
            self._manager.delete(later)

    def close(self) -> None:
        """Waits for what is being written and frees the manager."""
        self._manager.close()
