"""The pictures of trained networks with differentiable attention: what is drawn into ``plots/`` after training."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from common.data import Dataset
from common.data.array_cache import read_arrays, write_arrays
from common.training.step import Model
from experiments.evaluation.overlap import true_boxes
from experiments.evaluation.reading import read_episode
from experiments.files import write_bytes
from experiments.plots.agent_pictures import SHEET_IMAGES, draw_baseline
from experiments.plots.animation import figures_gif
from experiments.plots.episodes import verdict
from experiments.plots.style import save_figure
from experiments.plots.transformers import attention_sheet, transformer_sheet
from experiments.training.loop import TEST_SEED
from stn.colocalisation import Colocaliser
from stn.models import StnModel
from stn.soft_attention.model import SoftModel
from stn.transformer import Transformed

MOVING_IMAGES = 8
# The folder of a run that holds what its transformers did at each validation.
HISTORY = "history"
# Parameters to arrays by name: the test images that are shown, and what each transformer on them reads and where.
Eye = Callable[[Any], dict[str, np.ndarray]]


def transformer_eye(transformed: Callable[[Any, jax.Array], Sequence[Transformed]], dataset: Dataset) -> Eye:
    """What shows the transformers at work on the first test images.

    Args:
      transformed: ``(params, images) -> `` what each transformer did, its images to be drawn from 0 to 1.
      dataset: the images.
    """
    shown = np.asarray(dataset.test.images)[:SHEET_IMAGES]
    look = jax.jit(transformed)

    def see(params: Any) -> dict[str, np.ndarray]:
        done = jax.tree.map(np.asarray, look(params, jnp.asarray(shown)))
        origins = {f"grid_{number}": one.origins for number, one in enumerate(done)}
        outputs = {f"output_{number}": one.images for number, one in enumerate(done)}
        return {"images": shown, **origins, **outputs} if done else {}

    return see


def keep_history(see: Eye, params: Any, step: int, run_dir: Path) -> None:
    """Keeps what the transformers do after a step, for the animation."""
    if seen := see(params):
        write_arrays(run_dir / HISTORY / f"{step}.npz", seen)


def _verdicts(model: Model, params: Any, dataset: Dataset) -> list[tuple[str, str]]:
    """What is made of the images that are shown, and whether it is right."""
    shown, labels = (np.asarray(part[:SHEET_IMAGES]) for part in (dataset.test.images, dataset.test.labels))
    predict = jax.jit(model.predict, static_argnums=3)
    scores = np.asarray(predict(params, jax.random.key(TEST_SEED), jnp.asarray(shown), "greedy"))
    episodes = [read_episode(np.asarray(labels[index]), np.atleast_2d(said)) for index, said in enumerate(scores)]
    return [verdict(episode, dataset.class_names) for episode in episodes]


def _sheet(seen: dict[str, np.ndarray], images: int, title: str = "", **marks: Any) -> Figure:
    number = sum(name.startswith("grid_") for name in seen)
    origins, outputs = ([seen[f"{name}_{i}"][:images] for i in range(number)] for name in ("grid", "output"))
    return transformer_sheet(seen["images"][:images], origins, outputs, title, **marks)


def _draw_transformers(see: Eye, params: Any, run_dir: Path, **marks: Any) -> None:
    """What they do now, with those marks, and an animation of what they did at each validation."""
    plots = run_dir / "plots"
    if not (seen := see(params)):
        return
    save_figure(_sheet(seen, SHEET_IMAGES, **marks), plots / "transformers.png")
    steps = sorted(int(path.stem) for path in (run_dir / HISTORY).glob("*.npz"))
    kept = ((step, read_arrays(run_dir / HISTORY / f"{step}.npz")) for step in steps)
    sheets = [_sheet(then, MOVING_IMAGES, f"step {step:,}") for step, then in kept if then is not None]
    if sheets:
        write_bytes(plots / "training.gif", figures_gif(sheets))


def draw_stn(stn: StnModel, params: Any, dataset: Dataset, run_dir: Path, batch_size: int, see: Eye) -> None:
    """Draws what is known of every network, and what each transformer did."""
    draw_baseline(stn.model, params, dataset, run_dir, batch_size)
    _draw_transformers(see, params, run_dir, verdicts=_verdicts(stn.model, params, dataset))


def draw_colocaliser(
    finder: Colocaliser, params: Any, dataset: Dataset, run_dir: Path, batch_size: int, see: Eye
) -> None:
    """Draws what is known of every network, and what is found in images."""
    draw_baseline(finder.model, params, dataset, run_dir, batch_size)
    boxes = true_boxes(dataset, "test")[:SHEET_IMAGES]
    _draw_transformers(see, params, run_dir, verdicts=_verdicts(finder.model, params, dataset), boxes=boxes)


def draw_soft(soft: SoftModel, params: Any, dataset: Dataset, run_dir: Path, batch_size: int) -> None:
    """Draws what is known of every network, and where each glimpse or head attends."""
    draw_baseline(soft.model, params, dataset, run_dir, batch_size)
    shown = np.asarray(dataset.test.images)[:SHEET_IMAGES]
    attended = jax.tree.map(np.asarray, jax.jit(soft.attend)(params, shown))
    sheet = attention_sheet(shown, attended.maps, soft.cell, attended.patches, _verdicts(soft.model, params, dataset))
    save_figure(sheet, run_dir / "plots" / "attention.png")
