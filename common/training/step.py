"""Training: the training state, the training step, and chunks of many steps in one compiled scan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

SampleBatch = Callable[[Key[Array, ""], Any], tuple[Array, Array]]


class StepInput(NamedTuple):
    """The input of a loss that a training step adds to parameters, key, images and labels.

    Attributes:
      progress: fraction of the run that is complete, in [0, 1].
      hyper: the model's continuous hyperparameters; settings that differ in these alone share a compiled program.
      estimator_state: estimator state after the previous step, with the structure of `Model.estimator_state`.
      played: the episodes to learn from, if several updates are made on the same episodes; otherwise None.
    """

    progress: Float[Array, ""]
    hyper: PyTree = ()
    estimator_state: PyTree = ()
    played: PyTree = None


class Passes(NamedTuple):
    """Several updates on the episodes of one step.

    Attributes:
      play: ``(params, key, images [B, H, W, C], labels [B], StepInput) -> (episodes, estimator_state)``; the leaves
        of the episodes are ``[T, M, B, ...]``.
      number: passes over the episodes.
      minibatches: updates in one pass, each on its own fraction of the images.
      max_kl: skip the remaining updates of a step once the loss's metric ``kl`` exceeds this; 0 for never.
    """

    play: Callable[..., tuple[PyTree, PyTree]]
    number: int = 1
    minibatches: int = 1
    max_kl: float = 0.0


class Model(NamedTuple):
    """A model as pure functions, for training and evaluation.

    Attributes:
      init: ``key -> params``.
      loss: ``(params, key, images [B, H, W, C], labels [B], StepInput) -> (loss, (metrics, estimator_state))``;
        images are uint8, metrics are scalars.
      predict: ``(params, key, images [B, H, W, C], kind, hyper) -> scores [B, *S, num_classes]``, logits or
        log-probabilities; the kind is that of `common.attention.base.LocationChoice`.
      hyper: the configured continuous hyperparameters.
      estimator_state: estimator state at the start of training.
      passes: several updates on the same episodes; None for one update on fresh episodes.
      rate_factors: ``params -> tree of factors`` on the learning rate of each parameter; None for 1 everywhere.
      frozen: keys of the dictionary of parameters that training does not change, see `freeze`.
      stochastic: whether predictions are random, as those of an agent that samples its locations.
    """

    init: Callable[[Key[Array, ""]], PyTree]
    loss: Callable[..., tuple[Array, tuple[dict[str, Array], PyTree]]]
    predict: Callable[..., Array]
    hyper: PyTree = ()
    estimator_state: PyTree = ()
    passes: Passes | None = None
    rate_factors: Callable[[PyTree], PyTree] | None = None
    frozen: tuple[str, ...] = ()
    stochastic: bool = False


def freeze(model: Model, *names: str) -> Model:
    """Return the model with some parameters frozen: neither gradients nor weight decay change them.

    Args:
      model: a model whose parameters are a dictionary.
      names: keys of the parameters to freeze.
    """
    if not names:
        return model

    def loss(params: PyTree, *inputs: Any) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        return model.loss(params | {name: jax.lax.stop_gradient(params[name]) for name in names}, *inputs)

    return model._replace(loss=loss, frozen=names)


def _without_frozen(model: Model, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Restrict the optimiser to the parameters that are not frozen; it keeps no state for the others."""
    if not model.frozen:
        return optimizer

    def labels(params: PyTree) -> dict[str, str]:
        return {name: "frozen" if name in model.frozen else "trained" for name in params}

    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


class TrainState(NamedTuple):
    """The training state: everything that a run needs to resume.

    Attributes:
      params: current parameters.
      opt_state: state of the optimiser.
      step: number of steps so far.
      base_key: key that the key of every step is folded from.
      estimator_state: estimator state for the next step (`Model.estimator_state`).
      best_params: parameters with the lowest validation error so far.
      best_error: their validation error in per cent; infinite before the first validation.
      best_step: the step of that validation.
    """

    params: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    base_key: Key[Array, ""]
    estimator_state: PyTree
    best_params: PyTree
    best_error: Float[Array, ""]
    best_step: Int[Array, ""]


def init_state(model: Model, optimizer: optax.GradientTransformation, seed: int | Int[Array, ""]) -> TrainState:
    """Initialise a training state from a seed."""
    init_key, base_key = jax.random.split(jax.random.key(seed))
    params = jax.jit(model.init)(init_key)
    return TrainState(
        params=params,
        opt_state=_without_frozen(model, optimizer).init(params),
        step=jnp.zeros((), jnp.int32),
        base_key=base_key,
        # Copied: the chunk donates its state, and one buffer cannot be donated twice.
        estimator_state=jax.tree.map(jnp.copy, model.estimator_state),
        best_params=jax.tree.map(jnp.copy, params),
        best_error=jnp.array(jnp.inf),
        best_step=jnp.zeros((), jnp.int32),
    )


class Hyper(NamedTuple):
    """The continuous hyperparameters of a run; runs that differ in these alone share a compiled program.

    Attributes:
      learning_rate: the peak learning rate.
      model: hyperparameters of the model.
    """

    learning_rate: Float[Array, ""]
    model: PyTree


Step = Callable[[TrainState, Any, Hyper], tuple[TrainState, dict[str, Array]]]


def train_step(
    model: Model,
    optimizer: optax.GradientTransformation,
    schedule: Callable[[Array], optax.Schedule],
    sample_batch: SampleBatch,
    total_steps: int,
) -> Step:
    """Make the training step: sample a batch, compute the gradient, update; or several updates (`Passes`).

    Args:
      model: the model to train.
      optimizer: from `common.training.optimizers.make_optimizer`.
      schedule: ``peak rate -> schedule``, from `common.training.optimizers.make_schedule`.
      sample_batch: ``(key, source) -> (images, labels)``.
      total_steps: steps of the whole run; ``progress = step / total_steps``.

    Returns:
      ``(state, source, hyper) -> (state, metrics)``. Metrics include ``grad_norm``, before clipping, and
      ``param_norm``. With several updates, metrics are means over the applied updates and include their number
      ``updates``.
    """
    gradient = jax.value_and_grad(model.loss, has_aux=True)
    optimizer = _without_frozen(model, optimizer)

    def update(
        params: PyTree, opt_state: PyTree, rate: Array, *batch: Any
    ) -> tuple[PyTree, PyTree, PyTree, dict[str, Array]]:
        (_, (metrics, estimator_state)), grads = gradient(params, *batch)
        updates, opt_state = optimizer.update(grads, opt_state, params)
        if model.rate_factors is not None:
            updates = jax.tree.map(lambda factor, leaf: factor * leaf, model.rate_factors(params), updates)
        params = optax.apply_updates(params, jax.tree.map(lambda leaf: -rate * leaf, updates))
        norms = {"grad_norm": optax.tree.norm(grads), "param_norm": optax.tree.norm(params)}
        return params, opt_state, estimator_state, metrics | norms

    def step(state: TrainState, source: Any, hyper: Hyper) -> tuple[TrainState, dict[str, Array]]:
        data_key, loss_key = jax.random.split(jax.random.fold_in(state.base_key, state.step))
        images, labels = sample_batch(data_key, source)
        step_input = StepInput(state.step / total_steps, hyper.model, state.estimator_state)
        rate = schedule(hyper.learning_rate)(state.step)
        if model.passes is None:
            params, opt_state, estimator_state, metrics = update(
                state.params, state.opt_state, rate, loss_key, images, labels, step_input
            )
        else:
            params, opt_state, estimator_state, metrics = _several_updates(
                update, model.passes, state, rate, loss_key, images, labels, step_input
            )
        return state._replace(
            params=params, opt_state=opt_state, step=state.step + 1, estimator_state=estimator_state
        ), metrics

    return step


def _several_updates(
    update: Callable[..., tuple[PyTree, PyTree, PyTree, dict[str, Array]]],
    passes: Passes,
    state: TrainState,
    rate: Array,
    key: Key[Array, ""],
    images: Array,
    labels: Array,
    step_input: StepInput,
) -> tuple[PyTree, PyTree, PyTree, dict[str, Array]]:
    """Play episodes once and make several updates on them."""
    play_key, order_key, loss_key = jax.random.split(key, 3)
    played, estimator_state = passes.play(state.params, play_key, images, labels, step_input)
    step_input = step_input._replace(estimator_state=estimator_state)
    orders = jax.vmap(lambda key: jax.random.permutation(key, len(images)))(jax.random.split(order_key, passes.number))
    minibatches = orders.reshape(passes.number * passes.minibatches, -1)

    def update_once(carry: tuple[PyTree, PyTree, Array], inputs: tuple[Array, Array]) -> tuple[Any, dict[str, Array]]:
        params, opt_state, active = carry
        index, key = inputs
        episodes = jax.tree.map(lambda leaf: leaf[:, :, index], played)
        batch = images[index], labels[index], step_input._replace(played=episodes)
        *updated, _, metrics = update(params, opt_state, rate, key, *batch)
        if passes.max_kl:
            active = active & (metrics["kl"] <= passes.max_kl)
        selected = jax.tree.map(lambda new, old: jnp.where(active, new, old), tuple(updated), (params, opt_state))
        return (*selected, active), metrics | {"updates": active.astype(jnp.float32)}

    begin = (state.params, state.opt_state, jnp.array(True))
    (params, opt_state, _), metrics = jax.lax.scan(
        update_once, begin, (minibatches, jax.random.split(loss_key, len(minibatches)))
    )
    applied = metrics.pop("updates")
    # Average metrics over the applied updates; keep a NaN KL visible, since it is why updates were skipped.
    counted = (applied > 0) | jnp.isnan(metrics.get("kl", applied))
    mean = {name: jnp.where(counted, each, 0).sum() / jnp.maximum(applied.sum(), 1) for name, each in metrics.items()}
    return params, opt_state, estimator_state, mean | {"updates": applied.sum()}


def make_chunk(
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]],
) -> Callable[[TrainState, Any, int], tuple[TrainState, dict[str, Float[Array, " steps"]]]]:
    """Compile many training steps into one scan.

    Args:
      step: ``(state, source) -> (state, metrics)``; `train_step` with its hyperparameters.

    Returns:
      ``(state, source, num_steps) -> (state, metrics)``, with one entry for each step in each metric. The state is
      donated.
    """

    def chunk(state: TrainState, source: Any, num_steps: int) -> tuple[TrainState, dict[str, Array]]:
        return jax.lax.scan(lambda s, _: step(s, source), state, length=num_steps)

    return jax.jit(chunk, static_argnums=2, donate_argnums=0)


def remember_best(state: TrainState, error: float) -> TrainState:
    """Keep the current parameters as the best ones if their validation error, in per cent, is the lowest so far."""
    # Compared in float32, as it is stored: else rounding could make an equal error count as lower.
    if not np.float32(error) < np.asarray(state.best_error):
        return state
    return state._replace(
        best_params=jax.tree.map(jnp.copy, state.params),
        best_error=jnp.array(error, jnp.float32),
        best_step=jnp.copy(state.step),
    )
