"""History of a run: grids and outputs of its transformers on a few test images at each validation, for an animation."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from common.data import Dataset
from common.data.array_cache import read_arrays, write_arrays
from stn.transformer import TransformerOutput

# Test images that figures of a run show.
SHOWN_IMAGES = 12
# The folder of a run directory that holds the history.
HISTORY = "history"
# Parameters to arrays by name: the images shown, and for each transformer its grid and its output.
Viewer = Callable[[Any], dict[str, np.ndarray]]


def transformer_viewer(
    transformed: Callable[[Any, jax.Array], Sequence[TransformerOutput]], dataset: Dataset
) -> Viewer:
    """Return a function that computes the grids and outputs of the transformers on the first test images.

    Args:
      transformed: ``(params, images [N, H, W, C]) -> outputs``, one for each transformer, whose images are in [0, 1].
      dataset: the images.
    """
    images = np.asarray(dataset.test.images)[:SHOWN_IMAGES]
    compute = jax.jit(transformed)

    def view(params: Any) -> dict[str, np.ndarray]:
        outputs = jax.tree.map(np.asarray, compute(params, jnp.asarray(images)))
        grids = {f"grid_{number}": one.origins for number, one in enumerate(outputs)}
        crops = {f"output_{number}": one.images for number, one in enumerate(outputs)}
        return {"images": images, **grids, **crops} if outputs else {}

    return view


def keep_history(view: Viewer, params: Any, step: int, run_dir: Path) -> None:
    """Save the grids and outputs of the transformers after a step."""
    if arrays := view(params):
        write_arrays(run_dir / HISTORY / f"{step}.npz", arrays)


def read_history(run_dir: Path) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yield (step, arrays) in the order of steps; a damaged file is left out."""
    for step in sorted(int(path.stem) for path in (run_dir / HISTORY).glob("*.npz")):
        arrays = read_arrays(run_dir / HISTORY / f"{step}.npz")
        if arrays is not None:
            yield step, arrays
