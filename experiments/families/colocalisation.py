"""Co-localisation: find the object that images share, without box labels (Jaderberg et al. 2015, appendix A.2)."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree

from common.checks import explained
from common.data import Canvas, Dataset
from experiments.families.base import BuiltModel, Family, WarmStart, describe
from experiments.plots.history import Viewer, keep_history, transformer_viewer
from experiments.training.config import DataConfig, Experiment, StartConfig, one_pass
from stn.colocalisation import (
    ENCODER,
    ColocalisationConfig,
    Colocaliser,
    check_colocalisation,
    make_colocaliser,
)
from stn.config import NetworkConfig, StnConfig, TransformerConfig, check_stn
from stn.models import make_stn

# The network that compares crops: the one of the preset mnist28_cnn of experiments.stn.
ENCODER_CONFIG = StnConfig(TransformerConfig(place="none"), NetworkConfig("cnn"))


@dataclass(frozen=True)
class ColocalisationStartConfig(StartConfig):
    """Warm start: the encoder that compares crops. Give encoder_from, or init_from to train a co-localiser on."""

    encoder_from: str | None = None
    """Run directory of experiments.stn, preset mnist28_cnn, whose network compares crops."""


@dataclass(frozen=True)
class ColocalisationExperiment(Experiment):
    """A transformer that finds the object that images share, on a task."""

    model: ColocalisationConfig = ColocalisationConfig()
    start: ColocalisationStartConfig = ColocalisationStartConfig()


def build(experiment: ColocalisationExperiment, dataset: Dataset) -> BuiltModel:
    """Build a co-localiser for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    config, (height, width, channels) = experiment.model, dataset.image_shape
    check_colocalisation(config, height, width)
    with explained(f"crop {config.crop}"):
        check_stn(ENCODER_CONFIG, config.crop, config.crop)
    if experiment.training.batch_size < 2:
        raise ValueError(f"batch_size {experiment.training.batch_size}: must be at least 2, since pairs are compared")
    if dataset.num_targets is not None or not isinstance(dataset.recipe, Canvas):
        raise ValueError(
            f"task {dataset.name!r}: the place of a single digit is not known; co-localisation takes tasks that put "
            "one on a canvas, such as T84"
        )
    encoder = make_stn(ENCODER_CONFIG, config.crop, config.crop, channels, dataset.num_classes)
    colocaliser = make_colocaliser(config, encoder, height, width, channels)
    view = transformer_viewer(functools.partial(_transformed, colocaliser), dataset)
    return BuiltModel(
        colocaliser.model,
        f"{describe(dataset)}; {config.transform} to {config.crop}x{config.crop}",
        functools.partial(_draw, colocaliser, view, dataset, experiment.training.eval_batch_size),
        functools.partial(_measure, colocaliser, dataset),
        functools.partial(keep_history, view),
    )


def check_start(experiment: ColocalisationExperiment) -> None:
    """Check that a run has an encoder to start from.

    Raises:
      ValueError: it has none.
    """
    if experiment.start.encoder_from is None and experiment.start.init_from is None:
        raise ValueError(
            "encoder_from is not given: give the run directory of a classifier of crops, such as a run of "
            "python -m experiments.stn mnist28_cnn; or give init_from, the run directory of a co-localisation"
        )


def _measure(colocaliser: Colocaliser, dataset: Dataset, params: Any) -> dict[str, Any]:
    from experiments.evaluation.overlap import overlaps

    return {"overlap": overlaps(colocaliser, params, dataset)}


def _transformed(colocaliser: Colocaliser, params: Any, images: jax.Array) -> tuple[Any, ...]:
    return (colocaliser.find(params, images),)


def _draw(
    colocaliser: Colocaliser, view: Viewer, dataset: Dataset, batch_size: int, params: Any, run_dir: Path
) -> None:
    from experiments.plots.differentiable_attention import draw_colocaliser

    draw_colocaliser(colocaliser, params, dataset, run_dir, batch_size, view)


def _replace_encoder(params: Any, other_params: Any) -> PyTree:
    return params | {ENCODER: other_params}


def _colocalisation(task: str) -> ColocalisationExperiment:
    """Configure a run that reports its last parameters: selecting by validation error would use the labels."""
    return ColocalisationExperiment(
        data=DataConfig(task=task),
        training=dataclasses.replace(one_pass(1_500), evaluate_every=150, keep_best=False),
    )


PRESETS: dict[str, tuple[str, ColocalisationExperiment]] = {
    "T84": (
        "The digit that images share, 84x84 (Jaderberg et al. 2015: found in 100%). Give --encoder-from.",
        _colocalisation("T84"),
    ),
    "TC84": (
        "The same among 16 distractors (Jaderberg et al. 2015: 75 to 94%). --init-from a run of T84.",
        _colocalisation("TC84"),
    ),
}

FAMILY = Family(
    name="colocalisation",
    description="Trains co-localisation: a transformer that finds the object that images share, without box labels.",
    experiment=ColocalisationExperiment,
    presets=PRESETS,
    build=build,
    warm_starts={
        "init_from": WarmStart(settings=("crop", "transform", "downsample")),
        "encoder_from": WarmStart(
            family="stn",
            model=ENCODER_CONFIG,
            settings=("network.input_mean", "network.input_std", "transformer.downsample"),
            merge=_replace_encoder,
            advice="give a run of the preset mnist28_cnn, or of one with the same network and no transformer",
        ),
    },
    check_start=check_start,
)
