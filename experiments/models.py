"""The models of experiments: what each configuration builds."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from common.attention.locations import describe_sigma
from common.attention.model import AttentionModel
from common.data import Canvas, Dataset
from common.networks.image_classifiers import NETWORKS, make_baseline, validate_baseline
from common.training.step import Model, freeze
from dram.agent import make_dram
from dram.config import validate as validate_dram
from experiments.evaluation.overlap import overlaps
from experiments.plots.agent_pictures import draw_agent, draw_baseline
from experiments.plots.network_pictures import draw_colocaliser, draw_soft, draw_stn, keep_history, transformer_eye
from experiments.training.augmentation import validate_augmentation_of
from experiments.training.config import (
    AgentExperiment,
    CnnExperiment,
    ColocalisationExperiment,
    DramExperiment,
    Experiment,
    RamExperiment,
    SoftExperiment,
    StnExperiment,
    WholeImageExperiment,
    is_own,
    to_json,
)
from ram.agent import make_ram
from ram.config import validate as validate_ram
from stn.colocalisation import Colocaliser, make_colocaliser, validate_colocalisation
from stn.config import NetworkConfig, StnConfig, TransformerConfig
from stn.config import validate as validate_stn
from stn.models import StnModel, make_stn
from stn.soft_attention.config import validate_soft
from stn.soft_attention.model import SoftModel, make_soft_attention
from stn.transformer import Transformed

# The encoder of co-localisation.
ENCODER = StnConfig(TransformerConfig(place="none"), NetworkConfig("cnn"))


class Built(NamedTuple):
    """What an experiment trains on.

    Attributes:
      model: the functions that are trained and evaluated.
      draw: ``(params, run_dir) -> None``, the pictures.
      summary: one line for people.
      measure: ``params -> dictionary`` of what ``results.json`` says beside errors.
      observe: ``(params, step, run_dir) -> None``, keeps what an animation of training shows.
    """

    model: Model
    draw: Callable[[Any, Path], None]
    summary: str
    measure: Callable[[Any], dict[str, Any]] = lambda params: {}
    observe: Callable[[Any, int, Path], None] = lambda params, step, run_dir: None


def observer(built: Built, run_dir: Path) -> Callable[[Any, int], None]:
    """`Built.observe` for a run in a folder."""
    return lambda params, step: built.observe(params, step, run_dir)


def validate_batch(experiment: Experiment, size: int) -> None:
    """Checks that a batch of an experiment can be drawn from so many training images.

    Raises:
      ValueError: it is larger; quotes its size.
    """
    batch_size = experiment.training.batch_size
    if batch_size > size:
        raise ValueError(f"batch_size {batch_size}: larger than the train split, so at most {size}")


def build(experiment: Experiment, dataset: Dataset) -> Built:
    """Builds the model of an experiment for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    config = experiment.training
    validate_augmentation_of(experiment.data.augmentation, dataset, is_own(experiment.data))
    minibatches = 1 if isinstance(experiment, WholeImageExperiment) else experiment.model.estimator.minibatches
    if minibatches > 0 and config.batch_size % minibatches:
        raise ValueError(f"minibatches {minibatches}: must divide batch_size {config.batch_size}")
    if config.steps >= 2**31:
        raise ValueError(f"steps {config.steps}: must be below {2**31}, since the step is counted in 32 bits")
    if isinstance(experiment, CnnExperiment):
        return _build_baseline(experiment, dataset)
    if isinstance(experiment, StnExperiment):
        return _build_stn(experiment, dataset)
    if isinstance(experiment, SoftExperiment):
        return _build_soft(experiment, dataset)
    if isinstance(experiment, ColocalisationExperiment):
        return _build_colocaliser(experiment, dataset)
    return _build_agent(experiment, dataset)


def make_agent(experiment: AgentExperiment, dataset: Dataset) -> AttentionModel:
    """The agent of an experiment for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    height, width, targets = dataset.height, dataset.width, dataset.num_targets
    shape = (*dataset.image_shape, dataset.num_classes)
    if isinstance(experiment, DramExperiment):
        validate_dram(experiment.model, height, width, targets)
        return make_dram(experiment.model, *shape, targets)
    validate_ram(experiment.model, height, width)
    if targets is not None:
        raise ValueError(f"task {dataset.name!r}: its labels are sequences, which RAM does not read; DRAM does")
    return make_ram(experiment.model, *shape)


def make_network(experiment: CnnExperiment, dataset: Dataset) -> Model:
    """The network of an experiment for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    validate_baseline(experiment.model, dataset.height, dataset.width)
    return make_baseline(experiment.model, *_shape(dataset))


def make_transformer(experiment: StnExperiment, dataset: Dataset) -> StnModel:
    """The spatial transformer network of an experiment for a data set; errors as of `make_network`."""
    validate_stn(experiment.model, dataset.height, dataset.width)
    return make_stn(experiment.model, *_shape(dataset))


def make_soft(experiment: SoftExperiment, dataset: Dataset) -> SoftModel:
    """The soft attention of an experiment for a data set; errors as of `make_network`."""
    validate_soft(experiment.model, dataset.height, dataset.width)
    return make_soft_attention(experiment.model, *_shape(dataset))


def make_finder(experiment: ColocalisationExperiment, dataset: Dataset) -> Colocaliser:
    """The co-localiser of an experiment for a data set; errors as of `make_network`."""
    config, (height, width, channels) = experiment.model, dataset.image_shape
    validate_colocalisation(config, height, width)
    try:
        validate_stn(ENCODER, config.crop, config.crop)
    except ValueError as error:
        raise ValueError(f"crop {config.crop}: {error}") from error
    if experiment.training.batch_size < 2:
        raise ValueError(f"batch_size {experiment.training.batch_size}: must be at least 2, since pairs are compared")
    if dataset.num_targets is not None:
        raise ValueError(f"task {dataset.name!r}: its labels are sequences; co-localisation takes classes")
    if not isinstance(dataset.recipe, Canvas):
        raise ValueError(
            f"task {dataset.name!r}: where its digits are is not known; co-localisation takes tasks that put a digit "
            "on a canvas, such as T84"
        )
    encoder = make_stn(ENCODER, config.crop, config.crop, channels, dataset.num_classes)
    return make_colocaliser(config, encoder, height, width, channels)


def make_model(experiment: Experiment, dataset: Dataset) -> Model:
    """The model of any experiment for a data set; errors as of `make_network`."""
    if isinstance(experiment, CnnExperiment):
        return make_network(experiment, dataset)
    if isinstance(experiment, StnExperiment):
        return make_transformer(experiment, dataset).model
    if isinstance(experiment, SoftExperiment):
        return make_soft(experiment, dataset).model
    if isinstance(experiment, ColocalisationExperiment):
        return make_finder(experiment, dataset).model
    return make_agent(experiment, dataset).model


def _shape(dataset: Dataset) -> tuple[int, int, int, int, int | None]:
    return *dataset.image_shape, dataset.num_classes, dataset.num_targets


def _describe(dataset: Dataset) -> str:
    images = f"{dataset.name}: {dataset.height}x{dataset.width}x{dataset.channels}"
    if dataset.num_targets is None:
        return f"{images}, {dataset.num_classes} classes"
    return f"{images}, labels of {dataset.num_targets} symbols, end symbols among them"


def _build_agent(experiment: AgentExperiment, dataset: Dataset) -> Built:
    config, height, width = experiment.training, dataset.height, dataset.width
    made = make_agent(experiment, dataset)
    frozen = experiment.start.frozen if isinstance(experiment, DramExperiment) else ()

    def draw(params: Any, run_dir: Path) -> None:
        draw_agent(made, params, dataset, run_dir, config.eval_batch_size)

    first, last = (describe_sigma(made.sigma(jnp.array(p)).tolist(), height, width) for p in (0.0, 1.0))
    sigma = first if first == last else f"{first} to {last}"
    agent, retina = experiment.model.agent, experiment.model.retina
    return Built(
        freeze(made.model, *frozen),
        draw,
        f"{_describe(dataset)}; {made.num_glimpses} glimpses of {retina.num_scales} x "
        f"{retina.glimpse_size}x{retina.glimpse_size}, {agent.core}, M = {experiment.model.estimator.replicates}, "
        f"sigma {sigma}",
    )


def _build_baseline(experiment: CnnExperiment, dataset: Dataset) -> Built:
    model = make_network(experiment, dataset)

    def draw(params: Any, run_dir: Path) -> None:
        draw_baseline(model, params, dataset, run_dir, experiment.training.eval_batch_size)

    return Built(model, draw, f"{_describe(dataset)}; {experiment.model.network}")


def _mean_feature(features: Array) -> Array:
    mean = features.mean(axis=-1, keepdims=True)
    return mean / jnp.maximum(mean.max(axis=(1, 2, 3), keepdims=True), 1e-9)


def _build_stn(experiment: StnExperiment, dataset: Dataset) -> Built:
    config, made = experiment.model, make_transformer(experiment, dataset)
    transformer, network = config.transformer, config.network
    number = 0 if transformer.place == "none" else transformer.parallel * transformer.sequence

    def shown(params: Any, images: Any) -> list[Transformed]:
        """Of features the mean over all filters, the brightest of an image white."""
        done = made.look(params, images).transformed
        on_image = [one._replace(images=one.images * network.input_std + network.input_mean) for one in done[:number]]
        return on_image + [one._replace(images=_mean_feature(one.images)) for one in done[number:]]

    see = transformer_eye(shown, dataset)

    def draw(params: Any, run_dir: Path) -> None:
        draw_stn(made, params, dataset, run_dir, experiment.training.eval_batch_size, see)

    what = {
        "none": "no transformer",
        "input": f"{number} {transformer.transform} transformer{'s' * (number > 1)}",
        "multi": f"{transformer.transform} transformers on the image and on features",
    }[transformer.place]
    observe = functools.partial(keep_history, see)
    return Built(made.model, draw, f"{_describe(dataset)}; {network.network}, {what}", observe=observe)


def _build_soft(experiment: SoftExperiment, dataset: Dataset) -> Built:
    config, made = experiment.model, make_soft(experiment, dataset)

    def draw(params: Any, run_dir: Path) -> None:
        draw_soft(made, params, dataset, run_dir, experiment.training.eval_batch_size)

    bank, pooling = config.filter_bank, config.pooling
    what = {
        "filter_bank": f"{bank.num_glimpses} glimpses of {bank.glimpse_size}x{bank.glimpse_size} filters, {bank.core}",
        "pooling": f"{pooling.scores} attention over features, {pooling.heads} head{'s' * (pooling.heads > 1)}",
    }[config.attention]
    return Built(made.model, draw, f"{_describe(dataset)}; {what}")


def _build_colocaliser(experiment: ColocalisationExperiment, dataset: Dataset) -> Built:
    config, made = experiment.model, make_finder(experiment, dataset)

    see = transformer_eye(lambda params, images: (made.find(params, images),), dataset)

    def draw(params: Any, run_dir: Path) -> None:
        draw_colocaliser(made, params, dataset, run_dir, experiment.training.eval_batch_size, see)

    def measure(params: Any) -> dict[str, Any]:
        return {"overlap": overlaps(made, params, dataset)}

    summary = f"{_describe(dataset)}; {config.transform} to {config.crop}x{config.crop}"
    return Built(made.model, draw, summary, measure, functools.partial(keep_history, see))


def model_name(experiment: Experiment) -> str:
    """``ram``, ``dram``, ``stn``, ``soft_attention``, ``colocalisation``, or the network's name."""
    if isinstance(experiment, StnExperiment):
        return "stn"
    if isinstance(experiment, SoftExperiment):
        return "soft_attention"
    if isinstance(experiment, ColocalisationExperiment):
        return "colocalisation"
    if isinstance(experiment, CnnExperiment):
        return experiment.model.network
    return "dram" if isinstance(experiment, DramExperiment) else "ram"


def identity(experiment: Experiment, preset: str) -> dict[str, Any]:
    """What a run is known by, as its ``config.json`` holds it: model, preset and configuration."""
    return {"model": model_name(experiment), "preset": preset, "config": to_json(experiment)}


def experiment_class(model: str) -> type[Experiment]:
    """The class of the experiment that trained a model.

    Raises:
      ValueError: the model is unknown.
    """
    classes: dict[str, type[Experiment]] = {
        "ram": RamExperiment,
        "dram": DramExperiment,
        "stn": StnExperiment,
        "soft_attention": SoftExperiment,
        "colocalisation": ColocalisationExperiment,
        **dict.fromkeys(NETWORKS, CnnExperiment),
    }
    if model not in classes:
        raise ValueError(f"model {model!r} of the run is unknown: must be one of {', '.join(classes)}")
    return classes[model]
