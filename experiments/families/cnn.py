"""Classifiers that see the whole image: convolutional and fully connected networks."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.data import Dataset
from common.networks.image_classifiers import (
    ClassifierConfig,
    check_classifier,
    make_classifier,
)
from common.training.optimizers import OptimizerConfig
from common.training.step import Model
from experiments.families.base import BuiltModel, Family, WarmStart, describe
from experiments.training.config import DataConfig, Experiment, one_pass


@dataclass(frozen=True)
class CnnExperiment(Experiment):
    """A classifier that sees the whole image, on a task."""

    model: ClassifierConfig = ClassifierConfig()


def build(experiment: CnnExperiment, dataset: Dataset) -> BuiltModel:
    """Build a classifier for a data set.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    check_classifier(experiment.model, dataset.height, dataset.width)
    model = make_classifier(experiment.model, *dataset.image_shape, dataset.num_classes, dataset.num_targets)
    draw = functools.partial(_draw, model, dataset, experiment.training.eval_batch_size)
    unread = {"heads": ": the labels are no sequences"} if dataset.num_targets is None else {}
    return BuiltModel(model, f"{describe(dataset)}; {experiment.model.network}", draw, unread=unread)


def _draw(model: Model, dataset: Dataset, batch_size: int, params: Any, run_dir: Path) -> None:
    from experiments.plots.classifiers import draw_classifier

    draw_classifier(model, params, dataset, run_dir, batch_size)


def _cnn(task: str, model: ClassifierConfig, optimizer: OptimizerConfig, steps: int, **data: Any) -> CnnExperiment:
    return CnnExperiment(
        data=DataConfig(task=task, **data),
        model=model,
        optimizer=optimizer,
        training=one_pass(steps),
    )


# Its constants are those of Zeiler (2012), 0.9 and 1e-6. The article was trained with Keras, which has 0.95 and 1e-7.
ADADELTA = OptimizerConfig(optimizer="adadelta", learning_rate=1.0, schedule="constant", gradient_clip=0.0)
NUMBERS = OptimizerConfig(learning_rate=5e-4)

PRESETS: dict[str, tuple[str, CnnExperiment]] = {
    "augmented100": (
        "The article's CNN on augmented100 (its error: 49.1%).",
        _cnn("augmented100", ClassifierConfig("article_cnn"), ADADELTA, 5_000),
    ),
    "mnist28": (
        "The 2-layer CNN of Mnih et al. 2014 (1.21% error).",
        _cnn("mnist28", ClassifierConfig("paper_cnn", 256), OptimizerConfig(), 20_000),
    ),
    "translated60": (
        "The 2-layer CNN of Mnih et al. 2014 (1.62% error).",
        _cnn("translated60", ClassifierConfig("paper_cnn", 256), OptimizerConfig(), 40_000),
    ),
    "cluttered60": (
        "The 2-layer CNN of Mnih et al. 2014 (8.09% error).",
        _cnn("cluttered60", ClassifierConfig("paper_cnn", 256), OptimizerConfig(), 40_000),
    ),
    "cluttered100": (
        "The 2-layer CNN of Mnih et al. 2014 (14.35% error).",
        _cnn("cluttered100", ClassifierConfig("paper_cnn", 86), OptimizerConfig(), 40_000),
    ),
    "pairs100": (
        "Two digits on 100x100 as a set, three convolutions.",
        _cnn("pairs100", ClassifierConfig("addition_cnn"), OptimizerConfig(), 20_000),
    ),
    "addition100": (
        "The sum of two digits on 100x100 (Ba et al. 2014: 3.2% error).",
        _cnn("addition100", ClassifierConfig("addition_cnn"), OptimizerConfig(), 20_000),
    ),
    "house_numbers": (
        "House numbers of 1 to 5 digits, 54x54 in gray, by the 11-layer CNN. For a GPU.",
        _cnn("house_numbers", ClassifierConfig("cnn11"), NUMBERS, 60_000, grayscale=True),
    ),
    "house_numbers_cnn10": (
        "The same by a CNN of about the cost of that of Ba et al. 2014. For a GPU.",
        _cnn("house_numbers", ClassifierConfig("cnn10"), NUMBERS, 60_000, grayscale=True),
    ),
    "house_numbers_110": (
        "The same in a wider view, 110x110, by the 11-layer CNN. For a GPU.",
        _cnn("house_numbers_110", ClassifierConfig("cnn11"), NUMBERS, 60_000, grayscale=True),
    ),
    "house_numbers_32": (
        "House numbers on 32x32 in gray, the 11-layer CNN at half its width.",
        _cnn(
            "house_numbers",
            ClassifierConfig("cnn11", width=0.5, dropout=0.25),
            NUMBERS,
            10_000,
            resize=32,
            grayscale=True,
        ),
    ),
    "svhn": (
        "SVHN's numbers, 54x54 in gray, by the 11-layer CNN (Goodfellow et al. 2014: 3.96%): give --data.",
        _cnn("svhn_numbers", ClassifierConfig("cnn11"), NUMBERS, 150_000, grayscale=True),
    ),
    "svhn_110": (
        "The same in a wider view, 110x110 (Ba et al. 2014: 5.60% error): give --data.",
        _cnn("svhn_numbers_110", ClassifierConfig("cnn11"), NUMBERS, 150_000, grayscale=True),
    ),
    "svhn_32": (
        "SVHN's numbers in tight gray crops of 32x32, five labels, by a smaller CNN: give --data.",
        _cnn("svhn_numbers_32", ClassifierConfig("article_digits"), NUMBERS, 40_000),
    ),
    "images": (
        "Your own images as they are, the article's CNN: give --data.",
        _cnn("images", ClassifierConfig(), ADADELTA, 2_000),
    ),
}

FAMILY = Family(
    name="cnn",
    description="Trains a network that sees the whole image, and reports on it.",
    experiment=CnnExperiment,
    presets=PRESETS,
    build=build,
    warm_starts={"init_from": WarmStart(settings=("network", "heads"))},
)
