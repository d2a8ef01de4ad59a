"""Training: a state, an optimiser, and chunks of many steps in one compiled scan."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

Loss = Callable[..., tuple[Array, dict[str, Array]]]
SampleBatch = Callable[[Key[Array, ""], Any], tuple[Array, Array]]


class Model(NamedTuple):
    """What the training loop and the evaluation need of a model.

    Attributes:
      init: ``key -> params``.
      loss: ``(params, key, images [B, H, W, C], labels [B], progress) -> (loss, metrics)``; images are uint8,
        ``progress`` in [0, 1] is the part of the run that is done, metrics are scalars.
      predict: ``(params, key, images [B, H, W, C], policy kind) -> logits [B, num_classes]``; the kind is that of
        `common.episode.Policy`.
    """

    init: Callable[[Key[Array, ""]], PyTree]
    loss: Loss
    predict: Callable[..., Array]


@dataclass(frozen=True)
class OptimizerConfig:
    """Optimiser and schedule."""

    optimizer: Literal["sgd", "adam", "adadelta"] = "adam"
    """SGD with Nesterov-free momentum, Adam, or Adadelta."""
    learning_rate: float = 1e-3
    """Learning rate at its highest."""
    momentum: float = 0.9
    """Momentum of SGD, in [0, 1)."""
    schedule: Literal["constant", "linear", "cosine", "exponential"] = "cosine"
    """Schedule of the rate: linear and cosine end at 0 with the run; exponential multiplies by `decay` every epoch."""
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
    if not 0 < config.learning_rate < float("inf"):
        raise ValueError(f"learning_rate {config.learning_rate}: must be positive and finite")
    if not 0 <= config.momentum < 1:
        raise ValueError(f"momentum {config.momentum}: must be at least 0 and below 1")
    if not 0 < config.decay <= 1:
        raise ValueError(f"decay {config.decay}: must be above 0 and at most 1")
    for name in ("gradient_clip", "weight_decay"):
        if not 0 <= getattr(config, name) < float("inf"):
            raise ValueError(f"{name} {getattr(config, name)}: must be 0 or more, and finite")
    if not 0 <= config.warmup_steps < steps:
        raise ValueError(f"warmup_steps {config.warmup_steps}: must be 0 or more and below the run's {steps} steps")


def make_schedule(config: OptimizerConfig, steps: int, steps_per_epoch: float) -> optax.Schedule:
    """Learning rate by step, for a run of ``steps`` steps."""
    rate, rest = config.learning_rate, steps - config.warmup_steps
    main = {
        "constant": lambda: optax.constant_schedule(rate),
        "linear": lambda: optax.linear_schedule(rate, 0.0, rest),
        "cosine": lambda: optax.cosine_decay_schedule(rate, rest),
        "exponential": lambda: optax.exponential_decay(
            rate, max(round(steps_per_epoch), 1), config.decay, staircase=True
        ),
    }[config.schedule]()
    if not config.warmup_steps:
        return main
    warmup = optax.linear_schedule(0.0, rate, config.warmup_steps)
    return optax.join_schedules([warmup, main], [config.warmup_steps])


def make_optimizer(config: OptimizerConfig, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimiser, with clipping by global norm before it and decoupled weight decay with it."""
    scale = {
        "sgd": lambda: optax.trace(config.momentum),
        "adam": lambda: optax.scale_by_adam(),
        "adadelta": lambda: optax.scale_by_adadelta(),
    }[config.optimizer]()
    parts = [optax.clip_by_global_norm(config.gradient_clip)] if config.gradient_clip else []
    parts.append(scale)
    if config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay))
    return optax.chain(*parts, optax.scale_by_learning_rate(schedule))


class TrainState(NamedTuple):
    """Everything that a run needs to go on.

    Attributes:
      params: current parameters.
      opt_state: the optimiser's state.
      step: steps done.
      base_key: key from which every step's key is folded.
      best_params: parameters of the lowest validation error so far.
      best_error: that error in per cent; infinite before the first validation.
      best_step: the step it was measured at.
    """

    params: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    base_key: Key[Array, ""]
    best_params: PyTree
    best_error: Float[Array, ""]
    best_step: Int[Array, ""]


def init_state(
    init: Callable[[Key[Array, ""]], PyTree], optimizer: optax.GradientTransformation, seed: int
) -> TrainState:
    """A fresh state from a seed."""
    init_key, base_key = jax.random.split(jax.random.key(seed))
    params = jax.jit(init)(init_key)
    return TrainState(
        params=params,
        opt_state=optimizer.init(params),
        step=jnp.zeros((), jnp.int32),
        base_key=base_key,
        # Copied, because the chunk donates its state and one buffer cannot be donated twice.
        best_params=jax.tree.map(jnp.copy, params),
        best_error=jnp.array(jnp.inf),
        best_step=jnp.zeros((), jnp.int32),
    )


def train_step(
    loss: Loss, optimizer: optax.GradientTransformation, sample_batch: SampleBatch, total_steps: int
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]:
    """One step: images made from the step's key, a gradient, an update.

    Args:
      loss: ``(params, key, images, labels, progress) -> (loss, metrics)``.
      optimizer: from `make_optimizer`.
      sample_batch: ``(key, source) -> (images, labels)``.
      total_steps: of the whole run; ``progress = step / total_steps``.

    Returns:
      ``(state, source) -> (state, metrics)``; metrics gain ``grad_norm`` (before clipping) and ``param_norm``.
    """

    def step(state: TrainState, source: Any) -> tuple[TrainState, dict[str, Array]]:
        data_key, loss_key = jax.random.split(jax.random.fold_in(state.base_key, state.step))
        images, labels = sample_batch(data_key, source)
        progress = state.step / total_steps
        (_, metrics), grads = jax.value_and_grad(loss, has_aux=True)(state.params, loss_key, images, labels, progress)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        metrics = metrics | {"grad_norm": optax.tree.norm(grads), "param_norm": optax.tree.norm(params)}
        return state._replace(params=params, opt_state=opt_state, step=state.step + 1), metrics

    return step


def make_chunk(
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]],
) -> Callable[[TrainState, Any, int], tuple[TrainState, dict[str, Float[Array, "steps"]]]]:
    """Many steps in one compiled scan.

    Returns:
      ``(state, source, num_steps) -> (state, metrics)`` with one entry a step in each metric. The state is donated.
    """

    def chunk(state: TrainState, source: Any, num_steps: int) -> tuple[TrainState, dict[str, Array]]:
        return jax.lax.scan(lambda s, _: step(s, source), state, length=num_steps)

    return jax.jit(chunk, static_argnums=2, donate_argnums=0)


def keep_best(state: TrainState, error: float) -> TrainState:
    """Remembers the current parameters if their validation error, in per cent, is the lowest so far."""
    # Compared as it is stored: else rounding would let an equal error count as lower.
    if not np.float32(error) < np.asarray(state.best_error):
        return state
    return state._replace(
        best_params=jax.tree.map(jnp.copy, state.params),
        best_error=jnp.array(error, jnp.float32),
        best_step=jnp.copy(state.step),
    )
