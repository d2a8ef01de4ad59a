"""Read large images twice, the second time in crops: ``python -m experiments.focus RUN [flags]``."""

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
from common.checks import Range, check_output, check_ranges
from common.data import TASKS, Crop, Recipe, find_task
from common.data.own_images.resizing import check_size
from common.training.evaluation import over_batches, summarise
from dram.focus import focus, reading_glimpses
from experiments.cli.command_line import computing, parse
from experiments.cli.console import print_line
from experiments.evaluation.errors import SPLIT_SEEDS
from experiments.runs.cost import forward_cost
from experiments.runs.sequence_runs import (
    check_sequence_runs,
    operations_by_readout,
    predictions,
    read_sequence_runs,
    report,
    scorer,
)
from experiments.training.config import DataConfig, load_blank, load_dataset

ENLARGED = "_110"


@dataclass(frozen=True)
class Focus:
    """Measure a run on images larger than its own (Ba et al. 2014, section 4.3).

    A first, greedy pass over an image decides on a crop around its glimpses. A second pass reads the crop.

    Prints errors of whole sequences in per cent by read-out: greedy, one episode, and means over several episodes.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of the run that makes the first pass."""
    reader: Path | None = None
    """Folder of the run that reads the crops; by default the same run. A crop has the size of this run's images."""
    task: str | None = None
    """Task of the large images; by default the run's own if its images are larger than the reader's, else TASK_110."""
    first_pass: Literal["whole", "downsampled"] = "whole"
    """Images of the first pass: whole, at full resolution; downsampled, resized to the size of the run's images."""
    episodes: Annotated[int | None, Range(1)] = None
    """Sampled episodes of the mean read-outs; by default those of the reader's configuration."""
    batch_size: Annotated[int | None, Range(1)] = None
    """Images in one compiled call; by default that of the reader's configuration. Another number draws other
    episodes."""
    output: Path | None = None
    """JSON file for the results; by default focus.json in the folder of the run."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Focus, "python -m experiments.focus", args)
    with computing("interrupted; the runs are unchanged"):
        measure_focus(config)


def measure_focus(config: Focus) -> dict[str, Any]:
    """Measure both passes, print their errors, write the results and return them.

    Raises:
      ValueError: a folder holds no run that reads sequences, or the runs do not fit each other or the images.
      OSError: the results cannot be written.
    """
    check_ranges(config)
    check_output("output", config.output)
    run_dirs = [config.run_dir] if config.reader is None else [config.run_dir, config.reader]
    data, whole = large_images(run_dirs, config.task, config.first_pass), config.first_pass == "whole"
    runs = read_sequence_runs(run_dirs)
    first, reader = runs[0], runs[-1]
    dataset = first.dataset if data == first.experiment.data else load_dataset(data, train=False)
    crop = (reader.dataset.height, reader.dataset.width)
    first_dataset = dataset if whole else first.dataset
    attention = first.family.build(first.experiment, first_dataset).attention
    assert attention is not None
    resize = (lambda images: images) if whole else downsampler(first.dataset.height, first.dataset.width)
    cut = make_cutter(attention, resize, crop)

    params = first.params()

    def predict(params: Any, key: Array, images: Array, kind: str) -> Array:
        return attention.model.predict(params, key, resize(images), kind)

    training = reader.experiment.training
    episodes, batch_size = config.episodes or training.eval_episodes, config.batch_size or training.eval_batch_size
    score_first = scorer(first, attention.model._replace(predict=predict), episodes, batch_size)
    score_crops = scorer(reader, reader.built.model, episodes, batch_size)
    errors = {}
    for name, seed in SPLIT_SEEDS.items():
        print_line(f"reading the {name} images twice")
        images, labels = getattr(dataset, name)
        crops = over_batches(partial(cut, params), jax.random.key(seed), images, min(batch_size, len(images)))
        scores = {"first pass": score_first(images, name), "focused": score_crops(crops, name)}
        errors[name] = {by: summarise(predictions(each), labels, dataset.end_symbol) for by, each in scores.items()}
    first_flops = forward_cost(attention.model, first_dataset.image_shape)[1]
    crop_flops = forward_cost(reader.built.model, reader.dataset.image_shape)[1]
    facts = {
        "task": dataset.name,
        "run": str(first.run_dir),
        "reader": str(reader.run_dir),
        "first_pass": config.first_pass,
        "image": [dataset.height, dataset.width],
        "crop": list(crop),
        # All episodes read crops around the glimpses of one greedy first pass.
        **operations_by_readout([crop_flops], episodes, before=first_flops),
        "parameters": sum(optax.tree.size(run.params()) for run in runs),
    }
    return report(facts, errors, episodes, config.output or config.run_dir / "focus.json")


def large_images(run_dirs: Sequence[Path], task: str | None, first_pass: Literal["whole", "downsampled"]) -> DataConfig:
    """Return the configuration of the images that are read twice, without loading images.

    Args:
      run_dirs: folder of the run that makes the first pass, and of the run that reads the crops if it is another.
      task: of the images. None stands for the first run's task if its images are larger than the reader's, else for its
        enlarged variant, in which digits have the same size in pixels.
      first_pass: on whole images, or on images resized to the size of the first run's.

    Raises:
      ValueError: there is no such task, or the runs do not fit each other or the images.
    """
    experiments = check_sequence_runs(run_dirs)
    first, reader = experiments[0].data, experiments[-1].data
    if first.reverse != reader.reverse:
        raise ValueError(f"runs {str(run_dirs[0])!r} and {str(run_dirs[-1])!r} read in opposite directions")
    own, small = load_blank(first), load_blank(reader)
    if task is None and own.height > small.height and own.width > small.width:
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
    for run_dir, images in ((run_dirs[0], own), (run_dirs[-1], small)):
        if (images.class_names, images.channels) != (large.class_names, large.channels):
            raise ValueError(
                f"run {str(run_dir)!r} reads {images.num_classes} symbols on {images.channels} channels, the images of "
                f"{large.name!r} have {large.num_classes} on {large.channels}"
            )
    size, crop = f"{large.height}x{large.width}", f"{small.height}x{small.width}"
    if large.height < small.height or large.width < small.width or size == crop:
        raise ValueError(
            f"the {size} images of {large.name!r} are not larger than the {crop} that run {str(run_dirs[-1])!r} reads"
        )
    if first_pass == "downsampled" and (own.height, own.width) == (large.height, large.width):
        raise ValueError(
            f"first_pass 'downsampled': run {str(run_dirs[0])!r} reads images of {size}, the size of these: there is "
            "nothing to resize; give whole"
        )
    return data


def enlarged(data: DataConfig, recipe: Recipe) -> int | str | None:
    """Return the side of the enlarged images in pixels: resized in proportion if the run's images are resized."""
    own = find_task(data.task).recipe
    size = check_size(data.resize)
    if size is None or not (isinstance(own, Crop) and isinstance(recipe, Crop)):
        return data.resize
    return round(size[0] * recipe.height / own.height)


def downsampler(height: int, width: int) -> Callable[[UInt8[Array, "B H W C"]], UInt8[Array, "B height width C"]]:
    """Return a function that resizes images to ``height x width`` pixels, antialiased."""

    def downsample(images: UInt8[Array, "B H W C"]) -> UInt8[Array, "B height width C"]:
        shape = (images.shape[0], height, width, images.shape[3])
        small = jax.image.resize(images.astype(jnp.float32), shape, "linear")
        return jnp.clip(jnp.round(small), 0, 255).astype(jnp.uint8)

    return downsample


def make_cutter(
    attention: AttentionModel, resize: Callable[[Array], Array], crop: tuple[int, int]
) -> Callable[[Any, Array, Array], Array]:
    """Return ``(params, key, images [B, H, W, C]) -> crops [B, h, w, C]`` around the glimpses of the greedy episode.

    Args:
      attention: an agent that reads sequences.
      resize: makes the images of the first pass.
      crop: rows and columns of a crop in pixels.
    """
    assert attention.sequence is not None
    sequence = attention.sequence

    @jax.jit
    def cut(params: Any, key: Array, images: Array) -> Array:
        episode = attention.play(params, key, resize(images), "greedy")
        return focus(images, episode.locations, reading_glimpses(sequence, episode.logits), crop)

    return cut


if __name__ == "__main__":
    main()
