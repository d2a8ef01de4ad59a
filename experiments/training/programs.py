"""The jitted functions of a run: chunks of training steps, and predictions. JAX compiles each at its first call."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from common.data import Dataset, sample_batch
from common.extensions import check_pair, check_returned, check_state, describe_arrays
from common.training.evaluation import Predictions, make_predictor
from common.training.optimizers import make_optimizer, make_schedule
from common.training.step import Hyper, Model, Step, TrainState, init_state, make_chunk, train_step
from experiments.training.augmentation import make_augmentation
from experiments.training.config import Experiment

# XLA ends the process, without an error to catch, on arrays of many more.
MOST_PARAMETERS = 10**9


def learning_rate_schedule(experiment: Experiment, dataset: Dataset) -> optax.Schedule:
    """Return the learning rate of each step as configured: ``step -> rate``."""
    config = experiment.training
    return make_schedule(experiment.optimizer, config.steps, len(dataset.train.labels) / config.batch_size)


def make_step(experiment: Experiment, model: Model, dataset: Dataset) -> Step:
    """Return the training step of an experiment (see `common.training.step.train_step`)."""
    config = experiment.training
    steps_per_epoch = len(dataset.train.labels) / config.batch_size
    schedule = functools.partial(make_schedule, experiment.optimizer, config.steps, steps_per_epoch)

    # The step outlives the images, so it takes them as an argument.
    recipe, augment = dataset.recipe, make_augmentation(experiment.data.augmentation)

    def draw(key: Any, source: Any) -> Any:
        return sample_batch(key, source, recipe, config.batch_size, augment)

    return train_step(model, make_optimizer(experiment.optimizer), schedule, draw, config.steps)


def make_initial_state(experiment: Experiment, model: Model) -> TrainState:
    """Return a fresh training state."""
    return init_state(model, make_optimizer(experiment.optimizer), experiment.training.seed)


def configured_hyper(experiment: Experiment, model: Model) -> Hyper:
    """Return the continuous hyperparameters of an experiment."""
    return Hyper(jnp.float32(experiment.optimizer.learning_rate), model.hyper)


def checked(model: Model, dataset: Dataset) -> Model:
    """Check what the loss and the predict function of a model return, whenever they are traced.

    Both are jitted, so each is traced once for its shapes, and not once more in every program that calls it.

    Raises, when traced:
      ValueError: a function returned something else than it must (`common.training.step.Model`).
    """
    targets = () if dataset.num_targets is None else (dataset.num_targets,)
    axes = "[B, S, num_classes]" if targets else "[B, num_classes]"

    def loss(*inputs: Any) -> Any:
        what, meaning = "loss function of the model", "(loss, (metrics, estimator_state))"
        value, rest = check_pair(what, model.loss(*inputs), meaning)
        check_returned(what, value, (), "[]")
        metrics, estimator_state = check_pair(f"{what}, after the loss,", rest, "(metrics, estimator_state)")
        if not isinstance(metrics, Mapping) or not {"loss", "accuracy"} <= set(metrics):
            raise ValueError(f"the {what} returned the metrics {describe_arrays(metrics)}: must have loss and accuracy")
        for name, metric in metrics.items():
            check_returned(f"{what}, as the metric {name},", metric, (), "[]")
        check_state(what, estimator_state, inputs[-1].estimator_state)
        return value, (metrics, estimator_state)

    def predict(params: Any, key: Any, images: Any, kind: str, *hyper: Any) -> Any:
        scores = model.predict(params, key, images, kind, *hyper)
        check_returned("predict function of the model", scores, (len(images), *targets, dataset.num_classes), axes)
        return scores

    return model._replace(loss=jax.jit(loss), predict=jax.jit(predict, static_argnums=3))


def check_step(experiment: Experiment, model: Model, dataset: Dataset) -> int:
    """Trace a step and a prediction, so that what does not fit together is an error before anything is written.

    Args:
      experiment: the configuration.
      model: from `checked`.
      dataset: the images.

    Returns:
      The number of parameters.

    Raises:
      ValueError: parts of the configuration do not fit together, there are too many parameters, or a function of the
        model returns something else than it must.
    """
    state = jax.eval_shape(lambda: make_initial_state(experiment, model))
    parameters = optax.tree.size(state.params)
    if parameters > MOST_PARAMETERS:
        raise ValueError(f"the model has {parameters:,} parameters: must be at most {MOST_PARAMETERS:,}")
    jax.eval_shape(make_step(experiment, model, dataset), state, dataset.train, configured_hyper(experiment, model))
    size = min(experiment.training.eval_batch_size, len(dataset.validation.labels))
    images = jax.ShapeDtypeStruct((size, *dataset.image_shape), jnp.uint8)
    for kind in ("greedy", "sampled") if model.stochastic else ("greedy",):
        jax.eval_shape(
            lambda params, key, images, kind=kind: model.predict(params, key, images, kind),
            state.params,
            state.base_key,
            images,
        )
    return parameters


class Programs(NamedTuple):
    """The jitted functions of a run.

    Attributes:
      chunk: ``(state, source, num_steps) -> (state, metrics [num_steps])``; the state is donated.
      predict_validation: ``(params, key, images [N, H, W, C]) -> Predictions``, over the episodes of a validation.
      predict_final: the same over the episodes of the final evaluation.
    """

    chunk: Callable[[TrainState, Any, int], tuple[TrainState, dict[str, Array]]]
    predict_validation: Callable[..., Predictions]
    predict_final: Callable[..., Predictions]


MakePrograms = Callable[[Experiment, Model, Dataset], Programs]


def final_predictor(
    experiment: Experiment, model: Model, episodes: int | None = None, batch_size: int | None = None
) -> Callable[..., Predictions]:
    """Return the predictor of the final evaluation; it may average other episodes or take other batches."""
    config = experiment.training
    return _predictor(model, episodes or config.eval_episodes, batch_size or config.eval_batch_size)


def validation_predictor(experiment: Experiment, model: Model) -> Callable[..., Predictions]:
    """Return the predictor of a validation during training."""
    return _predictor(model, experiment.training.validation_episodes, experiment.training.eval_batch_size)


def _predictor(model: Model, episodes: int, batch_size: int) -> Callable[..., Predictions]:
    # Without random episodes one forward pass is all there is.
    return make_predictor(model.predict, episodes if model.stochastic else 0, batch_size)


def make_programs(experiment: Experiment, model: Model, dataset: Dataset) -> Programs:
    """Make the jitted functions of one run, with its hyperparameters as constants."""
    step, hyper = make_step(experiment, model, dataset), configured_hyper(experiment, model)
    return Programs(
        make_chunk(lambda state, source: step(state, source, hyper)),
        validation_predictor(experiment, model),
        final_predictor(experiment, model),
    )
