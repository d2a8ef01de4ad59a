"""Training: a state, and chunks of many steps in one compiled scan."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

SampleBatch = Callable[[Key[Array, ""], Any], tuple[Array, Array]]


class Given(NamedTuple):
    """What a loss is given beside parameters, key and images.

    Attributes:
      progress: part of the run that is done, in [0, 1].
      hyper: the model's continuous hyperparameters, so that several settings can share a compiled program.
      estimator_state: what the step before left; its structure is that of `Model.estimator_state`.
      rollout: of several updates on the same episodes, those episodes; else None.
    """

    progress: Float[Array, ""]
    hyper: PyTree = ()
    estimator_state: PyTree = ()
    rollout: PyTree = None


class Passes(NamedTuple):
    """Several updates on the episodes of one step.

    Attributes:
      play: ``(params, key, images [B, H, W, C], labels [B], given) -> (rollout, estimator_state)``; the leaves of
        the rollout are ``[T, M, B, ...]``.
      number: passes over the episodes.
      minibatches: parts of the images that are an update each.
      max_kl: the rest of a step's updates is skipped once the loss's metric ``kl`` exceeds it; 0 for never.
    """

    play: Callable[..., tuple[PyTree, PyTree]]
    number: int = 1
    minibatches: int = 1
    max_kl: float = 0.0


class Model(NamedTuple):
    """What the training loop and the evaluation need of a model.

    Attributes:
      init: ``key -> params``.
      loss: ``(params, key, images [B, H, W, C], labels [B], given) -> (loss, (metrics, estimator_state))``; images
        are uint8, metrics are scalars.
      predict: ``(params, key, images [B, H, W, C], policy kind, hyper) -> scores [B, *S, num_classes]``, logits or
        log-probabilities; the kind is that of `common.attention.base.Policy`.
      hyper: the configured continuous hyperparameters.
      estimator_state: what the first step finds in place of what a step before left.
      passes: how several updates are made on the same episodes; None for one update on fresh episodes.
      rate_factors: ``params -> tree of factors`` on the learning rate of each parameter; None for 1 everywhere.
      frozen: keys of the parameters, a dictionary, that are held fixed: see `freeze`.
      stochastic: predictions are random, as those of an agent that samples its locations.
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
    """The model with these parts of its parameters held fixed: neither gradients nor weight decay change them.

    Args:
      model: its parameters are a dictionary.
      names: keys of that.
    """
    if not names:
        return model

    def loss(params: PyTree, *given: Any) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        return model.loss(params | {name: jax.lax.stop_gradient(params[name]) for name in names}, *given)

    return model._replace(loss=loss, frozen=names)


def _without_frozen(model: Model, optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """The optimiser of the parameters that are not frozen: of the others it keeps no state."""
    if not model.frozen:
        return optimizer

    def parts(params: PyTree) -> dict[str, str]:
        return {name: "frozen" if name in model.frozen else "trained" for name in params}

    return optax.partition({"trained": optimizer, "frozen": optax.set_to_zero()}, parts)


class TrainState(NamedTuple):
    """Everything that a run needs to go on.

    Attributes:
      params: current parameters.
      opt_state: the optimiser's state.
      step: steps done.
      base_key: key from which every step's key is folded.
      estimator_state: what the last step left for the next (`Model.estimator_state`).
      best_params: parameters of the lowest validation error so far.
      best_error: that error in per cent; infinite before the first validation.
      best_step: the step it was measured at.
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
    """A fresh state from a seed."""
    init_key, base_key = jax.random.split(jax.random.key(seed))
    params = jax.jit(model.init)(init_key)
    return TrainState(
        params=params,
        opt_state=_without_frozen(model, optimizer).init(params),
        step=jnp.zeros((), jnp.int32),
        base_key=base_key,
        # Copied, because the chunk donates its state and one buffer cannot be donated twice.
        estimator_state=jax.tree.map(jnp.copy, model.estimator_state),
        best_params=jax.tree.map(jnp.copy, params),
        best_error=jnp.array(jnp.inf),
        best_step=jnp.zeros((), jnp.int32),
    )


class Hyper(NamedTuple):
    """The continuous hyperparameters of a run: settings that differ in these alone share a compiled program.

    Attributes:
      learning_rate: at its highest.
      model: those of the model.
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
    """One step: images made from the step's key, a gradient, an update; or several updates (`Passes`).

    Args:
      model: what is trained.
      optimizer: from `common.training.optimizers.make_optimizer`.
      schedule: ``highest rate -> schedule``, from `common.training.optimizers.make_schedule`.
      sample_batch: ``(key, source) -> (images, labels)``.
      total_steps: of the whole run; ``progress = step / total_steps``.

    Returns:
      ``(state, source, hyper) -> (state, metrics)``; metrics gain ``grad_norm`` (before clipping) and ``param_norm``.
      With several updates metrics are means over them, and gain ``updates``, their number.
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
        given = Given(state.step / total_steps, hyper.model, state.estimator_state)
        rate = schedule(hyper.learning_rate)(state.step)
        if model.passes is None:
            params, opt_state, estimator_state, metrics = update(
                state.params, state.opt_state, rate, loss_key, images, labels, given
            )
        else:
            params, opt_state, estimator_state, metrics = _several_updates(
                update, model.passes, state, rate, loss_key, images, labels, given
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
    given: Given,
) -> tuple[PyTree, PyTree, PyTree, dict[str, Array]]:
    play_key, order_key, loss_key = jax.random.split(key, 3)
    rollout, estimator_state = passes.play(state.params, play_key, images, labels, given)
    given = given._replace(estimator_state=estimator_state)
    orders = jax.vmap(lambda key: jax.random.permutation(key, len(images)))(jax.random.split(order_key, passes.number))
    parts = orders.reshape(passes.number * passes.minibatches, -1)

    def one(carry: tuple[PyTree, PyTree, Array], part: tuple[Array, Array]) -> tuple[Any, dict[str, Array]]:
        params, opt_state, going = carry
        index, key = part
        episodes = jax.tree.map(lambda leaf: leaf[:, :, index], rollout)
        here = given._replace(rollout=episodes)
        *updated, _, metrics = update(params, opt_state, rate, key, images[index], labels[index], here)
        if passes.max_kl:
            going = going & (metrics["kl"] <= passes.max_kl)
        kept = jax.tree.map(lambda new, old: jnp.where(going, new, old), tuple(updated), (params, opt_state))
        return (*kept, going), metrics | {"updates": going.astype(jnp.float32)}

    begin = (state.params, state.opt_state, jnp.array(True))
    (params, opt_state, _), metrics = jax.lax.scan(one, begin, (parts, jax.random.split(loss_key, len(parts))))
    done = metrics.pop("updates")
    # Of the updates that were skipped nothing is told, unless it is what skipped them that is not a number.
    told = (done > 0) | jnp.isnan(metrics.get("kl", done))
    mean = {name: jnp.where(told, values, 0).sum() / jnp.maximum(done.sum(), 1) for name, values in metrics.items()}
    return params, opt_state, estimator_state, mean | {"updates": done.sum()}


def make_chunk(
    step: Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]],
) -> Callable[[TrainState, Any, int], tuple[TrainState, dict[str, Float[Array, " steps"]]]]:
    """Many steps in one compiled scan.

    Args:
      step: ``(state, source) -> (state, metrics)``; `train_step` with its hyperparameters.

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
