"""Spatial transformer networks (Jaderberg et al. 2015), and the same networks without transformers."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from common.data import Dataset
from common.training.optimizers import OptimizerConfig
from experiments.families.base import BuiltModel, Family, WarmStart, describe
from experiments.families.cnn import PRESETS as CNN_PRESETS
from experiments.plots.history import Viewer, keep_history, transformer_viewer
from experiments.training.augmentation import AugmentationConfig
from experiments.training.config import DataConfig, Experiment, one_pass
from stn.config import NetworkConfig, StnConfig, TransformerConfig, check_stn
from stn.models import StnModel, make_stn
from stn.transformer import TransformerOutput


@dataclass(frozen=True)
class StnExperiment(Experiment):
    """A spatial transformer network on a task, or the same network without transformers."""

    model: StnConfig = StnConfig()


def build(experiment: StnExperiment, dataset: Dataset) -> BuiltModel:
    """Build a spatial transformer network for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    config = experiment.model
    check_stn(config, dataset.height, dataset.width)
    stn = make_stn(config, *dataset.image_shape, dataset.num_classes, dataset.num_targets)
    transformer = config.transformer
    number = _number_on_image(config)
    place = {
        "none": "no transformer",
        "input": f"{number} {transformer.transform} transformer{'s' * (number > 1)}",
        "multi": f"{transformer.transform} transformers on the image and on features",
    }[transformer.place]
    settings = {field.name for field in dataclasses.fields(transformer)} - {"place", "downsample", "pooling"}
    unread = dict.fromkeys(sorted(settings), " with place 'none'") if transformer.place == "none" else {}
    if transformer.downsample == 1:
        unread["pooling"] = " with downsample 1"
    view = transformer_viewer(functools.partial(_transformed, stn, config), dataset)
    return BuiltModel(
        stn.model,
        f"{describe(dataset)}; {config.network.network}, {place}",
        functools.partial(_draw, stn, view, dataset, experiment.training.eval_batch_size),
        observe=functools.partial(keep_history, view),
        unread=unread,
    )


def _number_on_image(config: StnConfig) -> int:
    """Return how many transformers read the image itself and not features."""
    transformer = config.transformer
    return 0 if transformer.place == "none" else transformer.parallel * transformer.sequence


def _transformed(stn: StnModel, config: StnConfig, params: Any, images: Array) -> list[TransformerOutput]:
    """Return the output of each transformer, with values from 0 to 1; of features the mean over filters."""
    outputs, number = stn.forward(params, images).transformed, _number_on_image(config)
    network = config.network
    on_image = [one._replace(images=one.images * network.input_std + network.input_mean) for one in outputs[:number]]
    return on_image + [one._replace(images=_mean_feature(one.images)) for one in outputs[number:]]


def _mean_feature(features: Float[Array, "N h w C"]) -> Float[Array, "N h w 1"]:
    mean = features.mean(axis=-1, keepdims=True)
    return mean / jnp.maximum(mean.max(axis=(1, 2, 3), keepdims=True), 1e-9)


def _draw(stn: StnModel, view: Viewer, dataset: Dataset, batch_size: int, params: Any, run_dir: Path) -> None:
    from experiments.plots.differentiable_attention import draw_stn

    draw_stn(stn, params, dataset, run_dir, batch_size, view)


# At a rate of 4e-3 the network soon predicts the same class for every image.
ADAM = OptimizerConfig(learning_rate=2e-3, weight_decay=0.1)
MUON = dataclasses.replace(ADAM, optimizer="muon")


def _stn(
    task: str, transformer: TransformerConfig, network: NetworkConfig, optimizer: OptimizerConfig = ADAM
) -> StnExperiment:
    """Configure a network; all have the same budget, so that their errors can be compared."""
    return StnExperiment(
        data=DataConfig(task=task),
        model=StnConfig(transformer, network),
        optimizer=optimizer,
        training=one_pass(20_000),
    )


def _sums(transformer: TransformerConfig, network: NetworkConfig) -> StnExperiment:
    """Configure a network for the sum of two digits in two channels, with Muon: Adam learns almost nothing here."""
    return _stn("two_channel_addition42", transformer, network, MUON)


def _stn_numbers(counterpart: str, place: Literal["input", "multi"]) -> StnExperiment:
    """Add transformers to a preset of the 11-layer CNN, so that the two differ in nothing else.

    The localisation networks have 32 units, as in the paper, and convolutions without padding. The paper trains them at
    a tenth of the rate by SGD; here, by Adam, they have the full rate.
    """
    cnn = CNN_PRESETS[counterpart][1]
    transformer = TransformerConfig(
        place=place,
        localisation_filters=32,
        localisation_units=32,
        localisation_layers=2,
        localisation_downsample=1,
        padding="border",
    )
    network = NetworkConfig("cnn11", width=cnn.model.width, dropout=cnn.model.dropout, input_mean=0.5)
    return StnExperiment(cnn.data, StnConfig(transformer, network), optimizer=cnn.optimizer, training=cnn.training)


# The localisation network of the ST-FCN (appendix A.4 of the paper): three dense layers of 32, on the image itself.
DENSE = TransformerConfig(localisation="dense", localisation_units=32, localisation_layers=3, localisation_downsample=1)
# For small digits in large images: the output of the transformers is averaged by 2.
SMALLER, SMALLER_DENSE = TransformerConfig(downsample=2), dataclasses.replace(DENSE, downsample=2)
NO_TRANSFORMER = TransformerConfig(place="none")
FCN, CNN = NetworkConfig("fcn"), NetworkConfig("cnn")
PAPER = "Jaderberg et al. 2015"

PRESETS: dict[str, tuple[str, StnExperiment]] = {
    "mnist28_cnn": (
        "The CNN on digits moved by up to 12 pixels, the encoder for experiments.colocalisation.",
        dataclasses.replace(
            _stn("mnist28", NO_TRANSFORMER, CNN),
            # Trained on centred digits alone, it maps crops that cut a digit off closer together than whole digits.
            data=DataConfig(task="mnist28", augmentation=AugmentationConfig(shift=12)),
            training=one_pass(5_000),
        ),
    ),
    "R": (
        f"ST-CNN, affine, on rotated MNIST ({PAPER}: 0.7% error).",
        _stn("distorted/R", TransformerConfig(), CNN),
    ),
    "R_cnn": (
        f"The CNN alone on rotated MNIST ({PAPER}: 1.2% error).",
        _stn("distorted/R", NO_TRANSFORMER, CNN),
    ),
    "RTS": (
        f"ST-CNN, affine, on rotated, scaled and moved MNIST ({PAPER}: 0.5%).",
        _stn("distorted/RTS", SMALLER, CNN),
    ),
    "RTS_cnn": (
        f"The CNN alone on the images of RTS ({PAPER}: 0.8%).",
        _stn("distorted/RTS", NO_TRANSFORMER, CNN),
    ),
    "RTS_st_fcn": (
        f"ST-FCN, affine, on the images of RTS ({PAPER}: 0.8%).",
        _stn("distorted/RTS", SMALLER_DENSE, FCN),
    ),
    "RTS_fcn": (
        f"The FCN alone on the images of RTS ({PAPER}: 5.2%).",
        _stn("distorted/RTS", NO_TRANSFORMER, FCN),
    ),
    "P": (
        f"ST-CNN, affine, on MNIST in perspective ({PAPER}: 0.8%).",
        _stn("distorted/P", TransformerConfig(), CNN),
    ),
    "P_cnn": (
        f"The CNN alone on MNIST in perspective ({PAPER}: 1.5%).",
        _stn("distorted/P", NO_TRANSFORMER, CNN),
    ),
    "E": (
        f"ST-CNN, affine, on elastically bent MNIST ({PAPER}: 1.2%).",
        _stn("distorted/E", TransformerConfig(), CNN),
    ),
    "E_cnn": (
        f"The CNN alone on elastically bent MNIST ({PAPER}: 1.4%).",
        _stn("distorted/E", NO_TRANSFORMER, CNN),
    ),
    "E_tps": (
        f"ST-CNN, thin-plate spline, on the images of E ({PAPER}: 1.1%).",
        _stn("distorted/E", TransformerConfig(transform="tps"), CNN),
    ),
    "E_st_fcn": (f"ST-FCN, affine, on the images of E ({PAPER}: 2.7%).", _stn("distorted/E", DENSE, FCN)),
    "E_fcn": (
        f"The FCN alone on the images of E ({PAPER}: 3.2%).",
        _stn("distorted/E", NO_TRANSFORMER, FCN),
    ),
    "tc60": (
        f"ST-CNN, affine, on translated, cluttered MNIST ({PAPER}: 1.7%).",
        _stn("tc60", SMALLER, CNN),
    ),
    "tc60_cnn": (
        f"The CNN alone on the images of tc60 ({PAPER}: 3.5%).",
        _stn("tc60", NO_TRANSFORMER, CNN),
    ),
    "addition": (
        f"Two parallel ST-FCN, affine, on the sum of two channels ({PAPER}: 9.0%).",
        _sums(dataclasses.replace(SMALLER_DENSE, parallel=2), FCN),
    ),
    "addition_fcn": (
        f"The FCN alone on the images of addition, averaged by 2 ({PAPER}: 47.7%).",
        _sums(dataclasses.replace(NO_TRANSFORMER, downsample=2), FCN),
    ),
    "addition_cnn": (
        f"The CNN alone on the images of addition, averaged by 2 ({PAPER}: 14.7%).",
        _sums(dataclasses.replace(NO_TRANSFORMER, downsample=2), CNN),
    ),
    "house_numbers_single": (
        "experiments.cnn house_numbers with one affine transformer, on the image. For a GPU.",
        _stn_numbers("house_numbers", "input"),
    ),
    "house_numbers": (
        "experiments.cnn house_numbers with one before each of the first four convolutions. For a GPU.",
        _stn_numbers("house_numbers", "multi"),
    ),
    "house_numbers_32": (
        "experiments.cnn house_numbers_32 likewise with four, for a CPU.",
        _stn_numbers("house_numbers_32", "multi"),
    ),
    "house_numbers_32_single": (
        "experiments.cnn house_numbers_32 with one, on the image.",
        _stn_numbers("house_numbers_32", "input"),
    ),
    "svhn_single": (
        f"experiments.cnn svhn with one transformer ({PAPER}: 3.7% on 64x64): give --data.",
        _stn_numbers("svhn", "input"),
    ),
    "svhn": (
        f"The same with four transformers ({PAPER}: 3.6% on 64x64): give --data.",
        _stn_numbers("svhn", "multi"),
    ),
}

FAMILY = Family(
    name="stn",
    description="Trains a spatial transformer network, or the same network without transformers, and reports on it.",
    experiment=StnExperiment,
    presets=PRESETS,
    build=build,
    warm_starts={
        "init_from": WarmStart(
            settings=(
                "transformer.transform",
                "transformer.localisation_downsample",
                "transformer.downsample",
                "network.network",
                "network.input_mean",
                "network.input_std",
            ),
        ),
    },
)
