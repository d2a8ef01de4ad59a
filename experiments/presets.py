"""Named configurations, each with what ``--help`` shows: what it reproduces, its run time, the error it reached."""

from typing import Any

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.networks.image_classifiers import BaselineConfig
from common.policy_gradient import EstimatorConfig
from common.training.optimizers import OptimizerConfig
from dram.config import AgentConfig as DramAgentConfig
from dram.config import DramConfig
from experiments.training.augmentation import AugmentationConfig
from experiments.training.config import (
    CnnExperiment,
    DataConfig,
    DramExperiment,
    RamExperiment,
    TrainingConfig,
)
from ram.config import AgentConfig, RamConfig

# Found on validation images of augmented100. Each location is credited with little more than its own glimpse gains, and
# the policy loss is too weak to disturb what the core learns by classification.
GAIN = EstimatorConfig(reward="gain", discount=0.3)


def _ram(
    task: str,
    retina: RetinaConfig,
    sigma: str,
    sigma_final: str,
    steps: int,
    glimpses: int = 8,
    shift: int = 0,
    what: int = 128,
    policy_weight: float = 0.01,
    rate: float = 2e-3,
) -> RamExperiment:
    return RamExperiment(
        data=DataConfig(task=task, augmentation=AugmentationConfig(shift=shift)),
        model=RamConfig(
            retina=retina,
            agent=AgentConfig(num_glimpses=glimpses, glimpse_hidden=what),
            policy=PolicyConfig(sigma=sigma, sigma_final=sigma_final, sigma_schedule="exponential"),
            loss=LossConfig(policy_weight=policy_weight),
            estimator=GAIN,
        ),
        optimizer=OptimizerConfig(learning_rate=rate),
        training=TrainingConfig(steps=steps, evaluate_every=max(steps // 20, 1)),
    )


def _cnn(task: str, model: BaselineConfig, optimizer: OptimizerConfig, steps: int, **data: Any) -> CnnExperiment:
    return CnnExperiment(
        data=DataConfig(task=task, **data),
        model=model,
        optimizer=optimizer,
        training=TrainingConfig(
            steps=steps, evaluate_every=max(steps // 20, 1), eval_episodes=1, validation_episodes=1
        ),
    )


def _dram(task: str, *, reverse: bool = False, **agent: Any) -> DramExperiment:
    """An agent on two digits of a 100x100 image."""
    networks = DramAgentConfig(glimpse_network="conv", conv_channels=16, lower_hidden=256, upper_hidden=256, **agent)
    return DramExperiment(
        data=DataConfig(task=task, reverse=reverse),
        model=DramConfig(
            retina=RetinaConfig(12, 3),
            agent=networks,
            # Found on validation images of pairs100: at step 3,000 errors are 42%, and 72% with 25 px and 0.01.
            policy=PolicyConfig(sigma="10px", sigma_final="4px", sigma_schedule="exponential"),
            loss=LossConfig(policy_weight=0.1),
            estimator=GAIN,
        ),
        # Adam needs more than twice as many images to err as seldom; batches of 128 pay too much for Muon's steps.
        optimizer=OptimizerConfig("muon", learning_rate=2e-3, weight_decay=0.1),
        training=TrainingConfig(steps=20_000, batch_size=256, evaluate_every=1_000),
    )


def _numbers(task: str, *, reverse: bool = False) -> DramExperiment:
    """Whole numbers at full size, in gray (Ba et al. 2014, section 4.3 and its appendix).

    Theirs: gray images, the networks, the unit width, 3 glimpses for each of 5 digits and the end symbol, batches of
    128. Ours: glimpses of 12x12 pixels, the context network, sigma, the estimator and Adam (theirs: SGD with Nesterov
    momentum 0.9 and a rate of 0.01, times 0.97 an epoch).
    """
    return DramExperiment(
        data=DataConfig(task=task, grayscale=True, reverse=reverse),
        model=DramConfig(
            retina=RetinaConfig(12, 2, subtract_mean=True),
            agent=DramAgentConfig(
                glimpses_per_target=3,
                glimpse_network="conv",
                conv_channels=64,
                glimpse_features=1024,
                mean_activation="linear",
                unit_width="12px",
            ),
            policy=PolicyConfig(sigma="10px", sigma_final="2px", sigma_schedule="exponential"),
            loss=LossConfig(policy_weight=0.01),
            estimator=GAIN,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3),
        training=TrainingConfig(steps=150_000, evaluate_every=5_000),
    )


def _small_numbers(
    task: str = "house_numbers", resize: int = 32, steps: int = 40_000, reverse: bool = False
) -> DramExperiment:
    """House numbers at a size for a CPU: in gray, 32 pixels high for 54, one glimpse a symbol, networks to match."""
    return DramExperiment(
        data=DataConfig(task=task, resize=resize, grayscale=True, reverse=reverse),
        model=DramConfig(
            retina=RetinaConfig(12, 2, subtract_mean=True),
            agent=DramAgentConfig(
                glimpses_per_target=1,
                glimpse_network="conv",
                conv_channels=16,
                lower_hidden=256,
                upper_hidden=128,
                mean_activation="linear",
                unit_width="8px",
            ),
            policy=PolicyConfig(sigma="2px", sigma_final="0.75px", sigma_schedule="exponential"),
            loss=LossConfig(policy_weight=0.1),
            estimator=GAIN,
        ),
        optimizer=OptimizerConfig(learning_rate=1e-3),
        training=TrainingConfig(steps=steps, evaluate_every=2_000),
    )


SMALL, MEDIUM, LARGE = RetinaConfig(8, 1), RetinaConfig(12, 3), RetinaConfig(12, 4)
# Constants are those of Zeiler (2012), 0.9 and 1e-6; Keras, with which the article trained, takes 0.95 and 1e-7.
ADADELTA = OptimizerConfig(optimizer="adadelta", learning_rate=1.0, schedule="constant", gradient_clip=0.0)
NUMBERS = OptimizerConfig(learning_rate=5e-4)

RAM_PRESETS: dict[str, tuple[str, RamExperiment]] = {
    "quick": (
        "augmented100 in a hurry, 8 glimpses (the article: 20.3% error). 9 min on two CPU cores: 6.7% error.",
        _ram("augmented100", LARGE, "25px", "4px", 20_000, what=256),
    ),
    "mnist28": (
        "MNIST 28x28, 7 glimpses (Mnih et al. 2014: 1.07% error). 13 min on one CPU core: 0.8% error.",
        _ram("mnist28", SMALL, "5px", "1.5px", 30_000, glimpses=7, shift=2),
    ),
    "translated60": (
        "Translated MNIST 60x60, 8 glimpses (Mnih et al. 2014: 1.20% error). 48 min on one CPU core; not run yet.",
        _ram("translated60", MEDIUM, "15px", "3px", 60_000),
    ),
    "cluttered60": (
        "Cluttered MNIST 60x60, 8 glimpses (Mnih et al. 2014: 4.04% error). 39 min on one CPU core: 3.9% error.",
        _ram("cluttered60", MEDIUM, "15px", "3px", 48_000),
    ),
    "cluttered100": (
        "Cluttered MNIST 100x100, 8 glimpses (Mnih et al. 2014: 8.11% error). 63 min on one CPU core: 4.3% error.",
        _ram("cluttered100", LARGE, "25px", "4px", 60_000),
    ),
    "pairs100": (
        "Two digits on 100x100 as a set, 4 glimpses (Ba et al. 2014: 9% error). 15 min on one CPU core: 34% error.",
        _ram("pairs100", MEDIUM, "10px", "4px", 40_000, glimpses=4, policy_weight=0.1, rate=1e-3),
    ),
    "images": (
        "Your own images as they are, 6 glimpses: give --data.",
        _ram("images", MEDIUM, "0.4", "0.1", 10_000, glimpses=6),
    ),
}

DRAM_PRESETS: dict[str, tuple[str, DramExperiment]] = {
    "pairs100": (
        "Two digits on 100x100 as a set, 4 glimpses (Ba et al. 2014: 5%). 100 min on a CPU: 5.6%; twice over: 4.8%.",
        _dram("pairs100", glimpses_per_target=4),
    ),
    "pairs100_no_context": (
        "The same without the context network (Ba et al. 2014: 7% error). By Adam, with a dense glimpse network: 38%.",
        _dram("pairs100", glimpses_per_target=4, context=False),
    ),
    "pairs100_sequence": (
        "The same digits read from left to right, 2 glimpses a digit and 2 for the end. Not run yet.",
        _dram("pairs100_sequence", glimpses_per_target=2),
    ),
    "pairs100_sequence_backward": (
        "The same read from right to left, to be combined with it (experiments.forward_backward). Not run yet.",
        _dram("pairs100_sequence", glimpses_per_target=2, reverse=True),
    ),
    "addition100": (
        "The sum of two digits on 100x100, 4 glimpses (Ba et al. 2014: 2.5%). 110 min on one CPU core: 2.2% error.",
        _dram("addition100", glimpses_per_target=4),
    ),
    "house_numbers": (
        "Rendered house numbers on 54x54, 3 glimpses a symbol (Ba et al. 2014 on SVHN: 5.1% error). Not run yet.",
        _numbers("house_numbers"),
    ),
    "house_numbers_backward": (
        "The same read from right to left; take --glimpse-network-from a run of the former. Not run yet.",
        _numbers("house_numbers", reverse=True),
    ),
    "house_numbers_110": (
        "The same in a wider view, 110x110; start it with --parameters-from a run on 54x54. Not run yet.",
        _numbers("house_numbers_110"),
    ),
    "house_numbers_32": (
        "House numbers on 32x32 in gray, 1 glimpse a symbol. 48 min on one CPU core: 9.5% error.",
        _small_numbers(),
    ),
    "house_numbers_32_backward": (
        "The same from right to left; take --glimpse-network-from a run of it. 17 min (24,000 steps): 10.5% error.",
        _small_numbers(reverse=True),
    ),
    "house_numbers_65": (
        "House numbers, 65x65, wider view; with --parameters-from a run on 32x32 and --steps 8000, 16 min: 9.9% error.",
        _small_numbers("house_numbers_110", 65, 20_000),
    ),
    "svhn": (
        "SVHN's full numbers on 54x54 (Ba et al. 2014: 5.1% error), give --data; backward with --reverse. Not run yet.",
        _numbers("svhn_numbers"),
    ),
    "svhn_110": (
        "The same in a wider view, 110x110 (Ba et al. 2014: 5.1% error with focus, fine-tuned). Not run yet.",
        _numbers("svhn_numbers_110"),
    ),
}

CNN_PRESETS: dict[str, tuple[str, CnnExperiment]] = {
    "augmented100": (
        "The article's CNN on augmented100 (its error: 49.1%). About half an hour on two CPU cores; not run yet.",
        _cnn("augmented100", BaselineConfig("article_cnn"), ADADELTA, 5_000),
    ),
    "mnist28": (
        "The 2-layer CNN of Mnih et al. 2014 (1.21% error). 1 min on one CPU core: 1.6% error.",
        _cnn("mnist28", BaselineConfig("paper_cnn", 256), OptimizerConfig(), 20_000),
    ),
    "translated60": (
        "The 2-layer CNN of Mnih et al. 2014 (1.62% error). 11 min on one CPU core: 2.1% error.",
        _cnn("translated60", BaselineConfig("paper_cnn", 256), OptimizerConfig(), 40_000),
    ),
    "cluttered60": (
        "The 2-layer CNN of Mnih et al. 2014 (8.09% error). 11 min on one CPU core: 9.2% error.",
        _cnn("cluttered60", BaselineConfig("paper_cnn", 256), OptimizerConfig(), 40_000),
    ),
    "cluttered100": (
        "The 2-layer CNN of Mnih et al. 2014 (14.35% error). Minutes; not run yet.",
        _cnn("cluttered100", BaselineConfig("paper_cnn", 86), OptimizerConfig(), 40_000),
    ),
    "pairs100": (
        "Two digits on 100x100 as a set, three convolutions. Hours on a CPU; not run yet.",
        _cnn("pairs100", BaselineConfig("addition_cnn"), OptimizerConfig(), 20_000),
    ),
    "addition100": (
        "The sum of two digits on 100x100 (Ba et al. 2014: 3.2% error). Hours on a CPU; not run yet.",
        _cnn("addition100", BaselineConfig("addition_cnn"), OptimizerConfig(), 20_000),
    ),
    "house_numbers": (
        "House numbers of 1 to 5 digits, 54x54 in gray, by the 11-layer CNN. For a GPU; not run yet.",
        _cnn("house_numbers", BaselineConfig("cnn11"), NUMBERS, 60_000, grayscale=True),
    ),
    "house_numbers_cnn10": (
        "The same by a CNN of about the cost of that of Ba et al. 2014. For a GPU; not run yet.",
        _cnn("house_numbers", BaselineConfig("cnn10"), NUMBERS, 60_000, grayscale=True),
    ),
    "house_numbers_110": (
        "The same in a wider view, 110x110, by the 11-layer CNN. For a GPU; not run yet.",
        _cnn("house_numbers_110", BaselineConfig("cnn11"), NUMBERS, 60_000, grayscale=True),
    ),
    "house_numbers_32": (
        "House numbers on 32x32 in gray, the 11-layer CNN at half its width. 102 min on one CPU core: 9.1% error.",
        _cnn(
            "house_numbers",
            BaselineConfig("cnn11", width=0.5, dropout=0.25),
            NUMBERS,
            10_000,
            resize=32,
            grayscale=True,
        ),
    ),
    "svhn": (
        "SVHN's numbers, 54x54 in gray, by the 11-layer CNN (Goodfellow et al. 2014: 3.96%): give --data. Not run yet.",
        _cnn("svhn_numbers", BaselineConfig("cnn11"), NUMBERS, 150_000, grayscale=True),
    ),
    "svhn_110": (
        "The same in a wider view, 110x110 (Ba et al. 2014: 5.60% error): give --data. Not run yet.",
        _cnn("svhn_numbers_110", BaselineConfig("cnn11"), NUMBERS, 150_000, grayscale=True),
    ),
    "svhn_32": (
        "SVHN's numbers in tight gray crops of 32x32, five labels, by a smaller CNN: give --data. Not run yet.",
        _cnn("svhn_numbers_32", BaselineConfig("article_digits"), NUMBERS, 40_000),
    ),
    "images": (
        "Your own images as they are, the article's CNN: give --data.",
        _cnn("images", BaselineConfig(), ADADELTA, 2_000),
    ),
}
