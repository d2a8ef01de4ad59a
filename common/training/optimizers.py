"""Optimisers and schedules of the learning rate, by their configuration."""

from dataclasses import dataclass
from typing import Literal

import jax
import optax
import optax.contrib
from jaxtyping import Array, PyTree

from common import LARGEST, Scalar


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimiser and schedule."""

    optimizer: Literal["sgd", "adam", "adadelta", "muon"] = "adam"
    """SGD with momentum, Adam, Adadelta, or Muon (Jordan et al. 2024), which orthogonalises the updates of matrices and
    leaves vectors to Adam: its steps take longer and do more."""
    learning_rate: float = 1e-3
    """Learning rate at its highest."""
    momentum: float = 0.9
    """Momentum of SGD, in [0, 1)."""
    nesterov: bool = False
    """Nesterov's momentum in SGD."""
    schedule: Literal["constant", "linear", "cosine", "exponential", "step"] = "cosine"
    """Schedule of the rate: linear and cosine end at 0 with the run; exponential multiplies by `decay` every epoch;
    step divides by 10 after one third and after two thirds of the run."""
    warmup_steps: int = 0
    """Steps over which the rate first rises linearly from 0."""
    decay: float = 0.97
    """Factor an epoch of the exponential schedule, in (0, 1]."""
    gradient_clip: float = 5.0
    """Largest global norm of the gradient; 0 for no clipping."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""


def validate_optimizer(config: OptimizerConfig, steps: int) -> None:
    """Checks an optimiser's configuration for a run of ``steps`` steps.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    if not 0 < config.learning_rate < LARGEST:
        raise ValueError(f"learning_rate {config.learning_rate}: must be positive and below {LARGEST:g}")
    if not 0 <= config.momentum < 1:
        raise ValueError(f"momentum {config.momentum}: must be at least 0 and below 1")
    if not 0 < config.decay <= 1:
        raise ValueError(f"decay {config.decay}: must be above 0 and at most 1")
    for name in ("gradient_clip", "weight_decay"):
        if not 0 <= getattr(config, name) < LARGEST:
            raise ValueError(f"{name} {getattr(config, name)}: must be 0 or more, and below {LARGEST:g}")
    if not 0 <= config.warmup_steps < steps:
        raise ValueError(f"warmup_steps {config.warmup_steps}: must be 0 or more and below the run's {steps} steps")


def make_schedule(
    config: OptimizerConfig, steps: int, steps_per_epoch: float, rate: Scalar | None = None
) -> optax.Schedule:
    """Learning rate by step, for a run of ``steps`` steps; ``rate`` stands in for the configured one."""
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
    """How Muon sees each parameter: a kernel [..., out], also of a convolution, as a matrix; None for vectors."""

    def axes(leaf: Array) -> optax.contrib.MuonDimensionNumbers | None:
        last = leaf.ndim - 1
        return optax.contrib.MuonDimensionNumbers(tuple(range(last)), last) if last > 0 else None

    return jax.tree.map(axes, params)


def make_optimizer(config: OptimizerConfig) -> optax.GradientTransformation:
    """The optimiser, with clipping by global norm before it and decoupled weight decay with it.

    The step multiplies its updates by the learning rate: the rate follows the run's steps, of which one can make
    several updates.
    """
    scale = {
        "sgd": lambda: optax.trace(config.momentum, config.nesterov),
        "adam": lambda: optax.scale_by_adam(),
        "adadelta": lambda: optax.scale_by_adadelta(),
        # Updates as large as Adam's (Liu et al. 2025), so that rates and decays of one serve the other; by -1, because
        # this one would descend by itself.
        "muon": lambda: optax.contrib.muon(-1.0, consistent_rms=0.2, muon_weight_dimension_numbers=_as_matrices),
    }[config.optimizer]()
    parts = [optax.clip_by_global_norm(config.gradient_clip)] if config.gradient_clip else []
    parts.append(scale)
    if config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay))
    return optax.chain(*parts)
