"""Optimisers and learning-rate schedules."""

from dataclasses import dataclass
from typing import Annotated, Literal

import jax
import optax
import optax.contrib
from jaxtyping import Array, PyTree

from common import Scalar
from common.checks import Range, check_at_most, check_ranges
from common.unread import ReadBy


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimiser and schedule."""

    optimizer: Literal["sgd", "adam", "adadelta", "muon"] = "adam"
    """SGD with momentum, Adam, Adadelta, or Muon (Jordan et al. 2024). Muon orthogonalises the updates of matrices and
    updates vectors by Adam."""
    learning_rate: Annotated[float, Range(above=0)] = 1e-3
    """Peak learning rate."""
    momentum: Annotated[float, Range(0, below=1), ReadBy("optimizer", "sgd")] = 0.9
    """Momentum of SGD, in [0, 1)."""
    nesterov: Annotated[bool, ReadBy("optimizer", "sgd")] = False
    """Nesterov's momentum in SGD."""
    schedule: Literal["constant", "linear", "cosine", "exponential", "step"] = "cosine"
    """Schedule of the rate: linear and cosine fall to 0 at the end of the run; exponential multiplies by `decay` after
    every epoch; step divides by 10 after one third and after two thirds of the run."""
    warmup_steps: Annotated[int, Range(0)] = 0
    """Steps over which the rate first rises linearly from 0."""
    decay: Annotated[float, Range(above=0, most=1), ReadBy("schedule", "exponential")] = 0.97
    """Factor of the exponential schedule for each epoch, in (0, 1]."""
    gradient_clip: Annotated[float, Range(0)] = 5.0
    """Largest global norm of the gradient; 0 for no clipping."""
    weight_decay: Annotated[float, Range(0)] = 0.0
    """Decoupled weight decay."""


def check_optimizer(config: OptimizerConfig, steps: int) -> None:
    """Check an optimiser's configuration for a run of ``steps`` steps.

    Raises:
      ValueError: a bad configuration.
    """
    check_ranges(config)
    check_at_most("warmup_steps", config.warmup_steps, steps - 1, f"must be below the run's {steps} steps")


def make_schedule(
    config: OptimizerConfig, steps: int, steps_per_epoch: float, rate: Scalar | None = None
) -> optax.Schedule:
    """Make the learning-rate schedule of a run of ``steps`` steps; ``rate`` replaces the configured peak rate."""
    rate, rest = config.learning_rate if rate is None else rate, steps - config.warmup_steps
    main = {
        "constant": lambda: optax.constant_schedule(rate),
        "linear": lambda: optax.linear_schedule(rate, 0.0, rest),
        "cosine": lambda: optax.cosine_decay_schedule(rate, rest),
        "exponential": lambda: optax.exponential_decay(
            rate, max(round(steps_per_epoch), 1), config.decay, staircase=True
        ),
        "step": lambda: optax.piecewise_constant_schedule(rate, {round(rest * i / 3): 0.1 for i in (1, 2)}),
    }[config.schedule]()
    if not config.warmup_steps:
        return main
    warmup = optax.linear_schedule(0.0, rate, config.warmup_steps)
    return optax.join_schedules([warmup, main], [config.warmup_steps])


def _as_matrices(params: PyTree) -> PyTree:
    """Return the axes that Muon treats as a matrix: all but the last against the last; None for vectors."""

    def axes(leaf: Array) -> optax.contrib.MuonDimensionNumbers | None:
        last = leaf.ndim - 1
        return optax.contrib.MuonDimensionNumbers(tuple(range(last)), last) if last > 0 else None

    return jax.tree.map(axes, params)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """Make the optimiser: clipping by global norm, then the optimiser, then decoupled weight decay.

    The training step, not the optimiser, multiplies updates by the learning rate. An optimiser counts updates, but the
    schedule counts training steps, and one step can make several updates.
    """
    scale = {
        "sgd": lambda: optax.trace(config.momentum, config.nesterov),
        "adam": lambda: optax.scale_by_adam(),
        "adadelta": lambda: optax.scale_by_adadelta(),
        # With `consistent_rms` updates are as large as Adam's (Liu et al. 2025), so both can have the same rates and
        # decays. The rate is -1 because optax's Muon includes the sign of the descent.
        "muon": lambda: optax.contrib.muon(-1.0, consistent_rms=0.2, muon_weight_dimension_numbers=_as_matrices),
    }[config.optimizer]()
    transformations = [optax.clip_by_global_norm(config.gradient_clip)] if config.gradient_clip else []
    transformations.append(scale)
    if config.weight_decay:
        transformations.append(optax.add_decayed_weights(config.weight_decay))
    return optax.chain(*transformations)
