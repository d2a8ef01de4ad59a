"""Named configurations of differentiable attention, as `experiments.presets` has those of agents and CNNs."""

import dataclasses
from typing import Literal

from common.training.optimizers import OptimizerConfig
from experiments.presets import CNN_PRESETS
from experiments.training.augmentation import AugmentationConfig
from experiments.training.config import (
    ColocalisationExperiment,
    DataConfig,
    SoftExperiment,
    StnExperiment,
    TrainingConfig,
)
from stn.config import NetworkConfig, StnConfig, TransformerConfig
from stn.soft_attention.config import FilterBankConfig, PoolingConfig, SoftAttentionConfig


def _budget(steps: int) -> TrainingConfig:
    """So many steps, validated twenty times; nothing is drawn, so one pass is all there is to evaluate."""
    return TrainingConfig(steps=steps, evaluate_every=max(steps // 20, 1), eval_episodes=1, validation_episodes=1)


# At 4e-3 the network soon says the same of every image.
ADAM = OptimizerConfig(learning_rate=2e-3, weight_decay=0.1)
MUON = dataclasses.replace(ADAM, optimizer="muon")


def _stn(
    task: str, transformer: TransformerConfig, network: NetworkConfig, optimizer: OptimizerConfig = ADAM
) -> StnExperiment:
    """All on one budget, so that each can be compared with each."""
    return StnExperiment(
        data=DataConfig(task=task),
        model=StnConfig(transformer, network),
        optimizer=optimizer,
        training=_budget(20_000),
    )


def _sums(transformer: TransformerConfig, network: NetworkConfig) -> StnExperiment:
    """On the sum of two digits in two channels, of which Adam learns almost nothing in these batches."""
    return _stn("two_channel_addition42", transformer, network, MUON)


def _stn_numbers(counterpart: str, place: Literal["input", "multi"]) -> StnExperiment:
    """A preset of the 11-layer CNN with transformers in it, so that the two differ in nothing else.

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
# What is small in a large image is seen larger: the transformer's output is averaged by 2.
SMALLER, SMALLER_DENSE = TransformerConfig(downsample=2), dataclasses.replace(DENSE, downsample=2)
NO_TRANSFORMER = TransformerConfig(place="none")
FCN, CNN = NetworkConfig("fcn"), NetworkConfig("cnn")
PAPER = "Jaderberg et al. 2015"
SMOOTH = "with --optimizer muon --label-smoothing 0.1"

STN_PRESETS: dict[str, tuple[str, StnExperiment]] = {
    "mnist28_cnn": (
        "The CNN on digits moved by up to 12 pixels, which experiments.colocalisation sees with. 8 min: 1.9% error.",
        dataclasses.replace(
            _stn("mnist28", NO_TRANSFORMER, CNN),
            # Of digits in the middle alone it makes crops that cut them off look more alike than whole ones.
            data=DataConfig(task="mnist28", augmentation=AugmentationConfig(shift=12)),
            training=_budget(5_000),
        ),
    ),
    "R": (
        f"ST-CNN, affine, on rotated MNIST ({PAPER}: 0.7% error). 33 min: 0.8%; 111 min: 0.55% {SMOOTH}.",
        _stn("distorted/R", TransformerConfig(), CNN),
    ),
    "R_cnn": (
        f"The CNN alone on rotated MNIST ({PAPER}: 1.2% error). 70 min: 1.4%; 90 min: 0.83% {SMOOTH}.",
        _stn("distorted/R", NO_TRANSFORMER, CNN),
    ),
    "RTS": (
        f"ST-CNN, affine, on rotated, scaled and moved MNIST ({PAPER}: 0.5%). 22 min: 0.8%; 119 min: 0.53% {SMOOTH}"
        " --steps 30000.",
        _stn("distorted/RTS", SMALLER, CNN),
    ),
    "RTS_cnn": (
        f"The CNN alone on the images of RTS ({PAPER}: 0.8%). 124 min: 1.2% {SMOOTH} --steps 4000.",
        _stn("distorted/RTS", NO_TRANSFORMER, CNN),
    ),
    "RTS_st_fcn": (
        f"ST-FCN, affine, on the images of RTS ({PAPER}: 0.8%). 9 min: 1.4%.",
        _stn("distorted/RTS", SMALLER_DENSE, FCN),
    ),
    "RTS_fcn": (
        f"The FCN alone on the images of RTS ({PAPER}: 5.2%). 4 min: 6.7%.",
        _stn("distorted/RTS", NO_TRANSFORMER, FCN),
    ),
    "P": (
        f"ST-CNN, affine, on MNIST in perspective ({PAPER}: 0.8%). 72 min: 0.8%; 53 min: 0.72% {SMOOTH} --steps 10000.",
        _stn("distorted/P", TransformerConfig(), CNN),
    ),
    "P_cnn": (
        f"The CNN alone on MNIST in perspective ({PAPER}: 1.5%). 55 min: 0.9%; 50 min: 0.84% {SMOOTH} --steps 10000.",
        _stn("distorted/P", NO_TRANSFORMER, CNN),
    ),
    "E": (
        f"ST-CNN, affine, on elastically bent MNIST ({PAPER}: 1.2%). 33 min: 0.8%.",
        _stn("distorted/E", TransformerConfig(), CNN),
    ),
    "E_cnn": (
        f"The CNN alone on elastically bent MNIST ({PAPER}: 1.4%). 71 min: 1.0%.",
        _stn("distorted/E", NO_TRANSFORMER, CNN),
    ),
    "E_tps": (
        f"ST-CNN, thin-plate spline, on the images of E ({PAPER}: 1.1%). 79 min: 0.7%.",
        _stn("distorted/E", TransformerConfig(transform="tps"), CNN),
    ),
    "E_st_fcn": (f"ST-FCN, affine, on the images of E ({PAPER}: 2.7%). 5 min: 1.4%.", _stn("distorted/E", DENSE, FCN)),
    "E_fcn": (
        f"The FCN alone on the images of E ({PAPER}: 3.2%). 2 min: 2.4%.",
        _stn("distorted/E", NO_TRANSFORMER, FCN),
    ),
    "tc60": (
        f"ST-CNN, affine, on translated, cluttered MNIST ({PAPER}: 1.7%). 61 min: 1.0%.",
        _stn("tc60", SMALLER, CNN),
    ),
    "tc60_cnn": (
        f"The CNN alone on the images of tc60 ({PAPER}: 3.5%). Not run yet.",
        _stn("tc60", NO_TRANSFORMER, CNN),
    ),
    "addition": (
        f"Two parallel ST-FCN, affine, on the sum of two channels ({PAPER}: 9.0%). 26 min: 6.9%.",
        _sums(dataclasses.replace(SMALLER_DENSE, parallel=2), FCN),
    ),
    "addition_fcn": (
        f"The FCN alone on the images of addition, averaged by 2 ({PAPER}: 47.7%). 16 min: 45%.",
        _sums(dataclasses.replace(NO_TRANSFORMER, downsample=2), FCN),
    ),
    "addition_cnn": (
        f"The CNN alone on the images of addition, averaged by 2 ({PAPER}: 14.7%). 22 min: 22%.",
        _sums(dataclasses.replace(NO_TRANSFORMER, downsample=2), CNN),
    ),
    "house_numbers_single": (
        "experiments.cnn house_numbers with one affine transformer, on the image. For a GPU; not run yet.",
        _stn_numbers("house_numbers", "input"),
    ),
    "house_numbers": (
        "experiments.cnn house_numbers with one before each of the first four convolutions. For a GPU; not run yet.",
        _stn_numbers("house_numbers", "multi"),
    ),
    "house_numbers_32": (
        "experiments.cnn house_numbers_32 likewise with four, for a CPU. 141 min: 9.5% error.",
        _stn_numbers("house_numbers_32", "multi"),
    ),
    "house_numbers_32_single": (
        "experiments.cnn house_numbers_32 with one, on the image. Not run yet.",
        _stn_numbers("house_numbers_32", "input"),
    ),
    "svhn_single": (
        f"experiments.cnn svhn with one transformer ({PAPER}: 3.7% on 64x64): give --data. Not run yet.",
        _stn_numbers("svhn", "input"),
    ),
    "svhn": (
        f"The same with four transformers ({PAPER}: 3.6% on 64x64): give --data. Not run yet.",
        _stn_numbers("svhn", "multi"),
    ),
}


def _pooling(task: str, pooling: PoolingConfig) -> SoftExperiment:
    return SoftExperiment(
        data=DataConfig(task=task), model=SoftAttentionConfig("pooling", pooling), training=_budget(20_000)
    )


def _differentiable_ram(task: str, glimpses: int = 8) -> SoftExperiment:
    """Convolutions read its glimpses: with a dense layer and no limit on windows it errs twice as often."""
    bank = FilterBankConfig(num_glimpses=glimpses, glimpse_network="conv", window_clip=10.0)
    return SoftExperiment(
        data=DataConfig(task=task),
        model=SoftAttentionConfig(filter_bank=bank),
        optimizer=OptimizerConfig("muon", weight_decay=0.1),
        training=dataclasses.replace(_budget(20_000), batch_size=256),
    )


SOFT_PRESETS: dict[str, tuple[str, SoftExperiment]] = {
    "cluttered100": (
        "Differentiable RAM, 8 glimpses of Gaussian filters (a public one: 3.36%). 108 min: 1.8% error.",
        _differentiable_ram("cluttered100"),
    ),
    "cluttered100_4": (
        "The same with 4 glimpses. Not run yet.",
        _differentiable_ram("cluttered100", glimpses=4),
    ),
    "cluttered60": (
        "Differentiable RAM on 60x60, 8 glimpses. Not run yet.",
        _differentiable_ram("cluttered60"),
    ),
    "cluttered60_additive": (
        "Attention pooling over the features of a CNN, additive scores. Not run yet.",
        _pooling("cluttered60", PoolingConfig()),
    ),
    "cluttered60_dot_product": (
        "The same with scaled dot products and four heads. Not run yet.",
        _pooling("cluttered60", PoolingConfig("dot_product", heads=4, size=16)),
    ),
}


def _colocalisation(task: str) -> ColocalisationExperiment:
    """Ends with the last parameters: to choose by what the encoder makes of crops would be to use the labels."""
    return ColocalisationExperiment(
        data=DataConfig(task=task),
        training=dataclasses.replace(_budget(1_500), evaluate_every=150, keep_best=False),
    )


COLOCALISATION_PRESETS: dict[str, tuple[str, ColocalisationExperiment]] = {
    "T84": (
        f"The digit that images share, on 84x84 ({PAPER}: found in 100%). Give --encoder-from. 8 min: in 99.3%.",
        _colocalisation("T84"),
    ),
    "TC84": (
        f"The same among 16 distractors ({PAPER}: 75 to 94%). Give --parameters-from a run of T84. 12 min: in 93.1%.",
        _colocalisation("TC84"),
    ),
}
