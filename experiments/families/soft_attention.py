"""Soft attention: attention pooling over features, and RAM with a differentiable retina."""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data import Dataset
from common.training.optimizers import OptimizerConfig
from experiments.families.base import BuiltModel, Family, WarmStart, describe
from experiments.training.config import DataConfig, Experiment, one_pass
from stn.soft_attention.config import FilterBankConfig, PoolingConfig, SoftAttentionConfig, check_soft_attention
from stn.soft_attention.model import SoftModel, make_soft_attention


@dataclass(frozen=True)
class SoftExperiment(Experiment):
    """A network with soft attention on a task."""

    model: SoftAttentionConfig = SoftAttentionConfig()


def build(experiment: SoftExperiment, dataset: Dataset) -> BuiltModel:
    """Build a network with soft attention for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    config = experiment.model
    check_soft_attention(config, dataset.height, dataset.width)
    soft = make_soft_attention(config, *dataset.image_shape, dataset.num_classes, dataset.num_targets)
    bank, pooling = config.filter_bank, config.pooling
    attention = {
        "filter_bank": f"{bank.num_glimpses} glimpses of {bank.glimpse_size}x{bank.glimpse_size} filters, {bank.core}",
        "pooling": f"{pooling.scores} attention over features, {pooling.heads} head{'s' * (pooling.heads > 1)}",
    }[config.attention]
    draw = functools.partial(_draw, soft, dataset, experiment.training.eval_batch_size)
    return BuiltModel(soft.model, f"{describe(dataset)}; {attention}", draw)


def _draw(soft: SoftModel, dataset: Dataset, batch_size: int, params: Any, run_dir: Path) -> None:
    from experiments.plots.differentiable_attention import draw_soft

    draw_soft(soft, params, dataset, run_dir, batch_size)


def _pooling(task: str, pooling: PoolingConfig) -> SoftExperiment:
    return SoftExperiment(
        data=DataConfig(task=task), model=SoftAttentionConfig("pooling", pooling), training=one_pass(20_000)
    )


def _differentiable_ram(task: str, glimpses: int = 8) -> SoftExperiment:
    """Configure differentiable RAM. A dense glimpse network without a limit on windows has twice the error."""
    bank = FilterBankConfig(num_glimpses=glimpses, glimpse_network="conv", window_clip=10.0)
    return SoftExperiment(
        data=DataConfig(task=task),
        model=SoftAttentionConfig(filter_bank=bank),
        optimizer=OptimizerConfig("muon", weight_decay=0.1),
        training=dataclasses.replace(one_pass(20_000), batch_size=256),
    )


PRESETS: dict[str, tuple[str, SoftExperiment]] = {
    "cluttered100": (
        "Differentiable RAM, 8 glimpses of Gaussian filters (the DRAW paper: 3.36%).",
        _differentiable_ram("cluttered100"),
    ),
    "cluttered100_4": (
        "The same with 4 glimpses.",
        _differentiable_ram("cluttered100", glimpses=4),
    ),
    "cluttered60": (
        "Differentiable RAM on 60x60, 8 glimpses.",
        _differentiable_ram("cluttered60"),
    ),
    "cluttered60_additive": (
        "Attention pooling over the features of a CNN, additive scores.",
        _pooling("cluttered60", PoolingConfig()),
    ),
    "cluttered60_dot_product": (
        "The same with scaled dot products and four heads.",
        _pooling("cluttered60", PoolingConfig("dot_product", heads=4, size=16)),
    ),
}

FAMILY = Family(
    name="soft_attention",
    description="Trains a network with soft attention, and reports on it.",
    experiment=SoftExperiment,
    presets=PRESETS,
    build=build,
    warm_starts={
        "init_from": WarmStart(
            settings=("attention", "pooling.scores", "pooling.heads", "filter_bank.relative_sigma", "filter_bank.core"),
        ),
    },
)
