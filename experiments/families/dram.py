"""The deep recurrent attention model, DRAM (Ba et al. 2014)."""

from dataclasses import dataclass
from typing import Any

from jaxtyping import PyTree

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.data import Dataset
from common.training.optimizers import OptimizerConfig
from common.training.step import freeze
from dram.agent import make_dram
from dram.config import AgentConfig, DramConfig
from dram.config import validate as validate_dram
from dram.networks import GLIMPSE_NETWORK
from experiments.families.agents import GAIN, GLIMPSE_SETTINGS, build_agent
from experiments.families.base import BuiltModel, Family, WarmStart
from experiments.training.config import DataConfig, Experiment, StartConfig, TrainingConfig

# The key of the parameters that two directions of reading can share.
GLIMPSE_PARAMETERS = "glimpse_network"


@dataclass(frozen=True)
class DramStartConfig(StartConfig):
    """Warm start: what a run takes from another run when it begins."""

    glimpse_network_from: str | None = None
    """Run directory of a DRAM whose glimpse network this run starts with, as two directions of reading share one."""
    freeze_glimpse_network: bool = True
    """Keep that glimpse network fixed, so that both runs have the same; else train it on."""

    @property
    def frozen(self) -> tuple[str, ...]:
        """Return the keys of the parameters that are held fixed."""
        return (GLIMPSE_PARAMETERS,) if self.glimpse_network_from is not None and self.freeze_glimpse_network else ()


@dataclass(frozen=True)
class DramExperiment(Experiment):
    """A DRAM agent on a task."""

    model: DramConfig = DramConfig()
    start: DramStartConfig = DramStartConfig()


def build(experiment: DramExperiment, dataset: Dataset) -> BuiltModel:
    """Build DRAM for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    validate_dram(experiment.model, dataset.height, dataset.width, dataset.num_targets)
    attention = make_dram(experiment.model, *dataset.image_shape, dataset.num_classes, dataset.num_targets)
    model = freeze(attention.model, *experiment.start.frozen)
    agent = experiment.model.agent
    coarse_values = agent.context_size**2 * dataset.channels if agent.context else 0
    built = build_agent(experiment, attention, model, dataset, GLIMPSE_NETWORK)
    if experiment.start.glimpse_network_from is None:
        unread = {**built.unread, "freeze_glimpse_network": " without glimpse_network_from"}
        built = built._replace(unread=unread)
    return built._replace(coarse_values=coarse_values)


def _replace_glimpse_network(params: Any, other_params: Any) -> PyTree:
    return params | {GLIMPSE_PARAMETERS: other_params[GLIMPSE_PARAMETERS]}


def _dram(task: str, *, reverse: bool = False, **agent: Any) -> DramExperiment:
    """Configure an agent on two digits of a 100x100 image."""
    networks = AgentConfig(glimpse_network="conv", conv_channels=16, lower_hidden=256, upper_hidden=256, **agent)
    return DramExperiment(
        data=DataConfig(task=task, reverse=reverse),
        model=DramConfig(
            retina=RetinaConfig(12, 3),
            agent=networks,
            # Chosen on validation images of pairs100: the error at step 3,000 is 42%, and 72% with sigma 25px and
            # policy weight 0.01.
            policy=PolicyConfig(sigma="10px", sigma_final="4px", sigma_schedule="exponential"),
            loss=LossConfig(policy_weight=0.1),
            estimator=GAIN,
        ),
        # Adam needs more than twice as many images for the same error. With batches of 128 Muon's steps cost too much.
        optimizer=OptimizerConfig("muon", learning_rate=2e-3, weight_decay=0.1),
        training=TrainingConfig(steps=20_000, batch_size=256, evaluate_every=1_000),
    )


def _numbers(task: str, *, reverse: bool = False) -> DramExperiment:
    """Configure a reader of house numbers at full size, in gray (Ba et al. 2014, section 4.3 and its appendix).

    As in the paper: gray images, the networks, the unit width, 3 glimpses for each of 5 digits and the end symbol,
    batches of 128. Chosen here: glimpses of 12x12 pixels, the context network, sigma, the estimator and Adam (the
    paper: SGD with Nesterov momentum 0.9 and a rate of 0.01, times 0.97 an epoch).
    """
    return DramExperiment(
        data=DataConfig(task=task, grayscale=True, reverse=reverse),
        model=DramConfig(
            retina=RetinaConfig(12, 2, subtract_mean=True),
            agent=AgentConfig(
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
    """Configure a reader of small gray house numbers for a CPU: one glimpse a symbol, small networks."""
    return DramExperiment(
        data=DataConfig(task=task, resize=resize, grayscale=True, reverse=reverse),
        model=DramConfig(
            retina=RetinaConfig(12, 2, subtract_mean=True),
            agent=AgentConfig(
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


PRESETS: dict[str, tuple[str, DramExperiment]] = {
    "pairs100": (
        "Two digits on 100x100 as a set, 4 glimpses (Ba et al. 2014: 5%).",
        _dram("pairs100", glimpses_per_target=4),
    ),
    "pairs100_no_context": (
        "The same without the context network (Ba et al. 2014: 7% error).",
        _dram("pairs100", glimpses_per_target=4, context=False),
    ),
    "pairs100_sequence": (
        "The same digits read from left to right, 2 glimpses a digit and 2 for the end.",
        _dram("pairs100_sequence", glimpses_per_target=2),
    ),
    "pairs100_sequence_backward": (
        "The same read from right to left, to be combined with it (experiments.forward_backward).",
        _dram("pairs100_sequence", glimpses_per_target=2, reverse=True),
    ),
    "addition100": (
        "The sum of two digits on 100x100, 4 glimpses (Ba et al. 2014: 2.5%).",
        _dram("addition100", glimpses_per_target=4),
    ),
    "house_numbers": (
        "Rendered house numbers on 54x54, 3 glimpses a symbol (Ba et al. 2014 on SVHN: 5.1% error).",
        _numbers("house_numbers"),
    ),
    "house_numbers_backward": (
        "The same read from right to left; take --glimpse-network-from a run of the former.",
        _numbers("house_numbers", reverse=True),
    ),
    "house_numbers_110": (
        "The same in a wider view, 110x110; start it with --init-from a run on 54x54.",
        _numbers("house_numbers_110"),
    ),
    "house_numbers_32": (
        "House numbers on 32x32 in gray, 1 glimpse a symbol.",
        _small_numbers(),
    ),
    "house_numbers_32_backward": (
        "The same from right to left; take --glimpse-network-from a run of it.",
        _small_numbers(reverse=True),
    ),
    "house_numbers_65": (
        "House numbers, 65x65, wider view; with --init-from a run on 32x32 and --steps 8000.",
        _small_numbers("house_numbers_110", 65, 20_000),
    ),
    "svhn": (
        "SVHN's full numbers on 54x54 (Ba et al. 2014: 5.1% error), give --data; backward with --reverse.",
        _numbers("svhn_numbers"),
    ),
    "svhn_110": (
        "The same in a wider view, 110x110 (Ba et al. 2014: 5.1% error with focus, fine-tuned).",
        _numbers("svhn_numbers_110"),
    ),
}

FAMILY = Family(
    name="dram",
    description="Trains a deep recurrent attention model (DRAM) to read one or several digits, and reports on it.",
    experiment=DramExperiment,
    presets=PRESETS,
    build=build,
    warm_starts={
        "init_from": WarmStart(
            settings=(*GLIMPSE_SETTINGS, "agent.unit_width", "agent.core", "agent.mean_activation"),
        ),
        "glimpse_network_from": WarmStart(
            settings=(*GLIMPSE_SETTINGS, "agent.unit_width"),
            merge=_replace_glimpse_network,
        ),
    },
)
