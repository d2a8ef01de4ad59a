"""The cost of a model: its parameters, and for a greedy prediction of one image the operations and the values read.

`experiments.evaluation.operations` counts the operations of the traced program. Nothing is computed.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from common.data import Dataset, Source
from common.training.step import Model
from experiments.evaluation.operations import count_operations
from experiments.families import BuiltModel, Family
from experiments.training.config import Experiment


class Cost(NamedTuple):
    """The cost of a model.

    Attributes:
      name: the run or the preset, with its family.
      image: rows, columns and channels.
      glimpses: the most of an episode; None for a network that sees the whole image.
      parameters: their number.
      flops: operations on one image.
      to_end: mean operations of episodes that stop with the end symbol; None if the lengths of sequences are unknown.
      values: numbers that the networks read of the image (`values_read`).
    """

    name: str
    image: tuple[int, int, int]
    glimpses: int | None
    parameters: int
    flops: int
    to_end: float | None = None
    values: int = 0


def forward_cost(model: Model, image_shape: tuple[int, int, int]) -> tuple[int, int]:
    """Return the number of parameters of a model and of operations of its greedy prediction for an image [H, W, C]."""
    key = jax.random.key(0)
    params = jax.eval_shape(model.init, key)
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.uint8)
    predict = jax.jit(lambda params, image: model.predict(params, key, image, "greedy"))
    return optax.tree.size(params), count_operations(predict, params, image)


def cost_of(name: str, family: Family, experiment: Experiment, dataset: Dataset, symbols: float | None = None) -> Cost:
    """Return the cost of an experiment's model on images with the shape of a data set's.

    Args:
      name: the run or the preset.
      family: the family of the experiment.
      experiment: the configuration.
      dataset: the images.
      symbols: mean number of symbols of a sequence, with the end symbol; None if unknown.

    Raises:
      ValueError: a bad configuration; quotes the value and says what is allowed.
    """
    built = family.build(experiment, dataset)
    attention = built.attention
    parameters, flops = forward_cost(built.model, dataset.image_shape)
    to_end = None
    if symbols is not None and attention is not None and attention.sequence is not None:
        to_end = flops_to_end(family, experiment, dataset, symbols, flops)
    glimpses = None if attention is None else attention.num_glimpses
    values = values_read(built, dataset.image_shape)
    return Cost(f"{name} ({family.name})", dataset.image_shape, glimpses, parameters, flops, to_end, values)


def values_read(built: BuiltModel, image_shape: tuple[int, int, int]) -> int:
    """Return how many numbers the networks of a model read of an image [H, W, C].

    An agent reads the cells of its glimpses, each the mean of the pixels in its box, of every scale and of every
    glimpse of the longest episode, and perhaps a coarse image. Every other model reads the whole image.
    """
    if built.attention is None:
        return math.prod(image_shape)
    retina = built.attention.retina
    return built.attention.num_glimpses * retina.scales * retina.size**2 * image_shape[-1] + built.coarse_values


def cost_record(cost: Cost) -> dict[str, Any]:
    """Return the cost of a prediction as the entry ``cost`` of stored results."""
    return {"values_read": cost.values, "image_values": math.prod(cost.image), "operations": cost.flops}


def flops_to_end(family: Family, experiment: Experiment, dataset: Dataset, symbols: float, longest: int) -> float:
    """Return the mean operations on one image of episodes that stop with the end symbol.

    Each symbol after the first costs the same, so the count follows from the shortest and the longest episode.

    Args:
      family: the family of the experiment.
      experiment: the configuration of an agent that reads sequences.
      dataset: images with the shape of those that it reads.
      symbols: mean number of symbols of a sequence, with the end symbol.
      longest: operations of an episode with the most symbols.
    """
    assert dataset.num_targets is not None
    split = dataset.validation
    shortest = dataclasses.replace(dataset, validation=Source(split.images, split.labels[:, :1]))
    first = forward_cost(family.build(experiment, shortest).model, dataset.image_shape)[1]
    return first + (symbols - 1) * (longest - first) / max(dataset.num_targets - 1, 1)


def symbols_of(greedy: Mapping[str, Any]) -> float | None:
    """Return the mean number of symbols of an image's sequence, with the end symbol; None if labels are classes.

    Args:
      greedy: the greedy errors, of `common.training.evaluation.summarise`.
    """
    return 1 + greedy["symbol"]["n"] / greedy["n"] if "symbol" in greedy else None
