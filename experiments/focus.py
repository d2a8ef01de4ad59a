"""Reads large images again around the glimpses of a first pass: ``python -m experiments.focus RUN [flags]``."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import optax
import tyro
from jaxtyping import Array, UInt8

from common.attention.model import AttentionModel
from common.data import TASKS, Crop, Recipe, find_task
from common.data.own_images.resizing import check_size
from common.training.evaluation import over_batches, summarise
from dram.focus import focus, reading_glimpses
from experiments.cli.command_line import interruptible, parse, user_errors
from experiments.cli.console import say
from experiments.cost import forward_cost
from experiments.evaluation.errors import SPLIT_SEEDS
from experiments.evaluation.readers import (
    check_readers,
    operations,
    predictions,
    read_readers,
    report,
    scorer,
    validate_evaluation,
)
from experiments.training.config import DataConfig, load_blank, load_dataset

ENLARGED = "_110"


@dataclass(frozen=True)
class Focus:
    """Measures a run on images larger than it reads at once: where it looked decides what part is read again.

    The crops are those of the greedy path of the first pass (Ba et al. 2014, section 4.3).
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run that makes the first pass."""
    reader: Path | None = None
    """Folder of the run that reads the crops, of the size of its own images; the first one's when it is not given."""
    task: str | None = None
    """Task of the large images; of a run on small ones TASK_110, unless it is given."""
    first_pass: Literal["whole", "downsampled"] = "whole"
    """The first pass is on whole images at full resolution, or on images resized to those that its run knows."""
    episodes: int | None = None
    """Sampled episodes to average over; as many as in the reader's own evaluation when it is not given."""
    batch_size: int | None = None
    """Images in one compiled call, as in the reader's run when it is not given; another number draws other episodes."""
    output: Path | None = None
    """Where the results go as JSON; focus.json in the folder of the run when it is not given."""


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Focus, "python -m experiments.focus", args)
    with interruptible("interrupted; the runs are as they were"), user_errors():
        measure_focus(config)


def measure_focus(config: Focus) -> dict[str, Any]:
    """Measures, prints and writes; returns what was written.

    Raises:
      ValueError: a folder holds no run that reads sequences, or the runs and the images do not belong together.
      OSError: the results cannot be written.
    """
    validate_evaluation(config.episodes, config.batch_size, config.output)
    run_dirs = [config.run_dir] if config.reader is None else [config.run_dir, config.reader]
    data, whole = large_images(run_dirs, config.task, config.first_pass), config.first_pass == "whole"
    runs = read_readers(run_dirs)
    first, reader = runs[0], runs[-1]
    dataset = first.dataset if data == first.experiment.data else load_dataset(data, train=False)
    crop = (reader.dataset.height, reader.dataset.width)
    seen = dataset if whole else first.dataset
    agent = first.family.build(first.experiment, seen).agent
    assert agent is not None
    see = (lambda images: images) if whole else downsampler(first.dataset.height, first.dataset.width)
    cut = make_cutter(agent, see, crop)

    params = first.params()

    def predict(params: Any, key: Array, images: Array, kind: str) -> Array:
        return agent.model.predict(params, key, see(images), kind)

    training = reader.experiment.training
    episodes, batch_size = config.episodes or training.eval_episodes, config.batch_size or training.eval_batch_size
    read_first = scorer(first, agent.model._replace(predict=predict), episodes, batch_size)
    read_again = scorer(reader, reader.built.model, episodes, batch_size)
    errors = {}
    for name, seed in SPLIT_SEEDS.items():
        say(f"reading the {name} images twice")
        images, labels = getattr(dataset, name)
        crops = over_batches(partial(cut, params), jax.random.key(seed), images, min(batch_size, len(images)))
        scores = {"first pass": read_first(images, name), "focused": read_again(crops, name)}
        errors[name] = {by: summarise(predictions(each), labels, dataset.end_symbol) for by, each in scores.items()}
    first_flops = forward_cost(agent.model, seen.image_shape)[1]
    again_flops = forward_cost(reader.built.model, reader.dataset.image_shape)[1]
    facts = {
        "task": dataset.name,
        "run": str(first.run_dir),
        "reader": str(reader.run_dir),
        "first_pass": config.first_pass,
        "image": [dataset.height, dataset.width],
        "crop": list(crop),
        # All episodes read crops around the glimpses of one greedy first pass.
        **operations([again_flops], episodes, before=first_flops),
        "parameters": sum(optax.tree.size(run.params()) for run in runs),
    }
    return report(facts, errors, episodes, config.output or config.run_dir / "focus.json")


def large_images(run_dirs: Sequence[Path], task: str | None, first_pass: Literal["whole", "downsampled"]) -> DataConfig:
    """The images that are read twice; nothing is loaded to tell.

    Args:
      run_dirs: folder of the run that makes the first pass, and of the one that reads the crops if that is another.
      task: of the images; if None those of the first run where they are larger than the reader's, else their enlarged
        variant, in which digits have the same size in pixels.
      first_pass: on whole images, or on ones of the size that its run knows.

    Raises:
      ValueError: there is no such task, or the images and the runs do not belong together.
    """
    experiments = check_readers(run_dirs)
    first, reader = experiments[0].data, experiments[-1].data
    if first.reverse != reader.reverse:
        raise ValueError(f"runs {str(run_dirs[0])!r} and {str(run_dirs[-1])!r} read in opposite directions")
    known, small = load_blank(first), load_blank(reader)
    if task is None and known.height > small.height and known.width > small.width:
        data = first
    else:
        name = task or first.task + ENLARGED
        if task is None and name not in TASKS:
            raise ValueError(
                f"task {first.task!r} has no enlarged variant {name!r}: give a --task of larger images, or a run on "
                "larger images and a --reader of smaller ones"
            )
        data = dataclasses.replace(first, task=name, resize=enlarged(first, find_task(name).recipe))
    large = load_blank(data)
    for run_dir, own in ((run_dirs[0], known), (run_dirs[-1], small)):
        if (own.class_names, own.channels) != (large.class_names, large.channels):
            raise ValueError(
                f"run {str(run_dir)!r} reads {own.num_classes} symbols on {own.channels} channels, the images of "
                f"{large.name!r} have {large.num_classes} on {large.channels}"
            )
    size, crop = f"{large.height}x{large.width}", f"{small.height}x{small.width}"
    if large.height < small.height or large.width < small.width or size == crop:
        raise ValueError(
            f"the {size} images of {large.name!r} are not larger than the {crop} that run {str(run_dirs[-1])!r} reads"
        )
    if first_pass == "downsampled" and (known.height, known.width) == (large.height, large.width):
        raise ValueError(
            f"first_pass 'downsampled': run {str(run_dirs[0])!r} knows images of {size}, as these are, so there is "
            "nothing to resize; give whole"
        )
    return data


def enlarged(data: DataConfig, recipe: Recipe) -> int | str | None:
    """The side of enlarged images, in pixels, where those of the run were resized: in proportion to the tasks' own."""
    own = find_task(data.task).recipe
    size = check_size(data.resize)
    if size is None or not (isinstance(own, Crop) and isinstance(recipe, Crop)):
        return data.resize
    return round(size[0] * recipe.height / own.height)


def downsampler(height: int, width: int) -> Callable[[UInt8[Array, "B H W C"]], UInt8[Array, "B height width C"]]:
    """Images resized to ``height x width`` pixels, antialiased."""

    def downsample(images: UInt8[Array, "B H W C"]) -> UInt8[Array, "B height width C"]:
        shape = (images.shape[0], height, width, images.shape[3])
        small = jax.image.resize(images.astype(jnp.float32), shape, "linear")
        return jnp.clip(jnp.round(small), 0, 255).astype(jnp.uint8)

    return downsample


def make_cutter(
    agent: AttentionModel, see: Callable[[Array], Array], crop: tuple[int, int]
) -> Callable[[Any, Array, Array], Array]:
    """``(params, key, images [B, H, W, C]) -> crops [B, h, w, C]`` around the glimpses of the greedy path.

    Args:
      agent: reads sequences.
      see: what it is shown of the images.
      crop: rows and columns of a crop in pixels.
    """
    assert agent.sequence is not None
    sequence = agent.sequence

    @jax.jit
    def cut(params: Any, key: Array, images: Array) -> Array:
        episode = agent.play(params, key, see(images), "greedy")
        return focus(images, episode.locations, reading_glimpses(sequence, episode.logits), crop)

    return cut


if __name__ == "__main__":
    main()
