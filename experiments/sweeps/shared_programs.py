"""Programs shared by runs that differ only in seeds and continuous hyperparameters."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from common.data import Dataset
from common.training.evaluation import Predictions
from common.training.step import Hyper, Model, Step, TrainState, make_chunk
from experiments.training.config import Experiment
from experiments.training.programs import (
    Programs,
    configured_hyper,
    final_predictor,
    make_initial_state,
    make_step,
    validation_predictor,
)


class GeneralPrograms(NamedTuple):
    """Programs that take the hyperparameters as an argument.

    Attributes:
      step: see `common.training.step.train_step`.
      chunk: ``(state, (source, hyper), num_steps) -> (state, metrics [num_steps])``.
      predict_validation: ``(params, key, images, hyper) -> Predictions``.
      predict_final: likewise, with the episodes of the final evaluation.
    """

    step: Step
    chunk: Callable[..., tuple[TrainState, dict[str, Array]]]
    predict_validation: Callable[..., Predictions]
    predict_final: Callable[..., Predictions]


class SharedPrograms:
    """A `MakePrograms` that gives runs with the same lowered programs the same jitted functions."""

    def __init__(self) -> None:
        self._made: dict[str, GeneralPrograms] = {}

    def __call__(self, experiment: Experiment, model: Model, dataset: Dataset) -> Programs:
        """Return the programs of a run, made once for all runs that share them."""
        return bind(self.general(experiment, model, dataset), configured_hyper(experiment, model))

    def general(self, experiment: Experiment, model: Model, dataset: Dataset) -> GeneralPrograms:
        """Return the programs that a run shares with others."""
        digest = program_digest(experiment, model, dataset)
        if digest not in self._made:
            step = make_step(experiment, model, dataset)
            self._made[digest] = GeneralPrograms(
                step,
                make_chunk(lambda state, source_and_hyper: step(state, *source_and_hyper)),
                validation_predictor(experiment, model),
                final_predictor(experiment, model),
            )
        return self._made[digest]


def bind(general: GeneralPrograms, hyper: Hyper) -> Programs:
    """Return the programs of a run with its hyperparameters."""

    def bound(predict: Callable[..., Predictions]) -> Callable[..., Predictions]:
        return lambda params, key, images: predict(params, key, images, hyper.model)

    return Programs(
        lambda state, source, num_steps: general.chunk(state, (source, hyper), num_steps),
        bound(general.predict_validation),
        bound(general.predict_final),
    )


def program_digest(experiment: Experiment, model: Model, dataset: Dataset) -> str:
    """Return the SHA-256 of everything that a run computes except its seed and its continuous hyperparameters.

    It covers the lowered step and predictions, which hold every constant, the budget and the configuration of the
    images. So runs with the same digest share their programs, their validation steps and their images.
    """
    hyper: Hyper = configured_hyper(experiment, model)
    state = jax.eval_shape(lambda: make_initial_state(experiment, model))
    images = dataset.validation.images[:1]

    def predict(params: Any, key: Any, images: Any, hyper: Any) -> list[Array]:
        return [model.predict(params, key, images, kind, hyper) for kind in ("greedy", "sampled")]

    step = jax.jit(make_step(experiment, model, dataset)).lower(state, dataset.train, hyper)
    predictions = jax.jit(predict).lower(state.params, state.base_key, images, hyper.model)
    budget = {name: value for name, value in vars(experiment.training).items() if name != "seed"}
    sha = hashlib.sha256(repr((type(experiment), sorted(budget.items()), experiment.data)).encode())
    for lowered in (step, predictions):
        sha.update(lowered.as_text().encode())
    return sha.hexdigest()
