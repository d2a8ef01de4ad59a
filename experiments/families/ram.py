"""The recurrent attention model, RAM (Mnih et al. 2014)."""

import dataclasses
from dataclasses import dataclass

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.data import Dataset
from common.training.optimizers import OptimizerConfig
from experiments.families.agents import GAIN, GLIMPSE_SETTINGS, build_agent
from experiments.families.base import BuiltModel, Family, WarmStart
from experiments.training.augmentation import AugmentationConfig
from experiments.training.config import DataConfig, Experiment, TrainingConfig
from ram.agent import make_ram
from ram.config import AgentConfig, RamConfig
from ram.config import validate as validate_ram
from ram.networks import GLIMPSE_NETWORK


@dataclass(frozen=True)
class RamExperiment(Experiment):
    """A RAM agent on a task."""

    model: RamConfig = RamConfig()


def build(experiment: RamExperiment, dataset: Dataset) -> BuiltModel:
    """Build RAM for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    validate_ram(experiment.model, dataset.height, dataset.width)
    if dataset.num_targets is not None:
        raise ValueError(f"task {dataset.name!r}: its labels are sequences, which RAM does not read; DRAM does")
    attention = make_ram(experiment.model, *dataset.image_shape, dataset.num_classes)
    return build_agent(experiment, attention, attention.model, dataset, GLIMPSE_NETWORK)


def _ram(
    task: str,
    retina: RetinaConfig,
    sigma: str,
    sigma_final: str,
    steps: int,
    num_glimpses: int = 8,
    shift: int = 0,
    policy_weight: float = 0.01,
    learning_rate: float = 2e-3,
) -> RamExperiment:
    return RamExperiment(
        data=DataConfig(task=task, augmentation=AugmentationConfig(shift=shift)),
        model=RamConfig(
            retina=retina,
            agent=AgentConfig(num_glimpses=num_glimpses, glimpse_hidden=128),
            policy=PolicyConfig(sigma=sigma, sigma_final=sigma_final, sigma_schedule="exponential"),
            loss=LossConfig(policy_weight=policy_weight),
            estimator=GAIN,
        ),
        optimizer=OptimizerConfig(learning_rate=learning_rate),
        training=TrainingConfig(steps=steps, evaluate_every=max(steps // 20, 1)),
    )


def _convolutional(dense: RamExperiment) -> RamExperiment:
    """Give a configuration convolutions on the glimpse, as in DRAM, the core of the paper, and Muon.

    Chosen on validation images of cluttered60, and the policy weight on those of augmented100; results/research_log.md
    has the questions.
    """
    model, steps = dense.model, dense.training.steps
    agent = dataclasses.replace(model.agent, glimpse_network="conv", conv_channels=16, glimpse_hidden=256, core="rnn")
    return dataclasses.replace(
        dense,
        model=dataclasses.replace(
            model,
            agent=agent,
            loss=dataclasses.replace(model.loss, policy_weight=0.1),
        ),
        optimizer=OptimizerConfig("muon", learning_rate=3e-3, weight_decay=0.1),
        training=TrainingConfig(steps=steps, batch_size=256, evaluate_every=steps // 10),
    )


SMALL, MEDIUM, LARGE = RetinaConfig(8, 1), RetinaConfig(12, 3), RetinaConfig(12, 4)

PRESETS: dict[str, tuple[str, RamExperiment]] = {
    "quick": (
        "augmented100 in a hurry, 8 glimpses (the article: 20.3% error).",
        _convolutional(_ram("augmented100", LARGE, "20px", "3px", 4_000)),
    ),
    "mnist28": (
        "MNIST 28x28, 7 glimpses (Mnih et al. 2014: 1.07% error).",
        _convolutional(_ram("mnist28", SMALL, "5px", "1.5px", 15_000, num_glimpses=7, shift=2)),
    ),
    "translated60": (
        "Translated MNIST 60x60, 8 glimpses (Mnih et al. 2014: 1.20% error).",
        _convolutional(_ram("translated60", MEDIUM, "12px", "2px", 12_000)),
    ),
    "cluttered60": (
        "Cluttered MNIST 60x60, 8 glimpses (Mnih et al. 2014: 4.04% error).",
        _convolutional(_ram("cluttered60", MEDIUM, "12px", "2px", 30_000)),
    ),
    "cluttered60_dense": (
        "The same with the dense glimpse network of Mnih et al. 2014 (4.04% error), by Adam.",
        _ram("cluttered60", MEDIUM, "15px", "3px", 48_000),
    ),
    "cluttered100": (
        "Cluttered MNIST 100x100, 8 glimpses (Mnih et al. 2014: 8.11% error).",
        _convolutional(_ram("cluttered100", LARGE, "20px", "3px", 20_000)),
    ),
    "pairs100": (
        "Two digits on 100x100 as a set, 4 glimpses (Ba et al. 2014: 9% error).",
        _ram("pairs100", MEDIUM, "10px", "4px", 40_000, num_glimpses=4, policy_weight=0.1, learning_rate=1e-3),
    ),
    "images": (
        "Your own images as they are, 6 glimpses: give --data.",
        _ram("images", MEDIUM, "0.4", "0.1", 10_000, num_glimpses=6),
    ),
}

FAMILY = Family(
    name="ram",
    description="Trains a recurrent attention model (RAM) and reports on it.",
    experiment=RamExperiment,
    presets=PRESETS,
    build=build,
    warm_starts={
        "init_from": WarmStart(
            settings=(*GLIMPSE_SETTINGS, "agent.core", "agent.core_heads", "agent.mean_activation"),
        ),
    },
)
