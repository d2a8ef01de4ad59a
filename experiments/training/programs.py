"""The compiled functions of a run: its own, or those of runs that are the same but for continuous hyperparameters."""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jaxtyping import Array

from common.data import Dataset
from common.training.evaluation import Predictions, make_predictor
from common.training.step import Hyper, Model, Step, TrainState, make_chunk
from experiments.training.config import Experiment, WholeImageExperiment
from experiments.training.loop import configured_hyper, make_initial_state, make_step


class Programs(NamedTuple):
    """What a run compiles.

    Attributes:
      chunk: ``(state, source, num_steps) -> (state, metrics [num_steps])``; the state is donated.
      validate: ``(params, key, images) -> Predictions``, over as many episodes as a validation.
      evaluate: the same over as many as the final evaluation.
    """

    chunk: Callable[[TrainState, Any, int], tuple[TrainState, dict[str, Array]]]
    validate: Callable[..., Predictions]
    evaluate: Callable[..., Predictions]


Compile = Callable[[Experiment, Model, Dataset], Programs]


def final_predictor(
    experiment: Experiment, model: Model, episodes: int | None = None, batch_size: int | None = None
) -> Callable[..., Predictions]:
    """The predictor of the final evaluation; other numbers of episodes and of images in a call may be given.

    A network that sees the whole image plays no episodes: one forward pass.
    """
    config = experiment.training
    return _predictor(experiment, model, episodes or config.eval_episodes, batch_size or config.eval_batch_size)


def validation_predictor(experiment: Experiment, model: Model) -> Callable[..., Predictions]:
    """The predictor of a validation during training."""
    config = experiment.training
    return _predictor(experiment, model, config.validation_episodes, config.eval_batch_size)


def _predictor(experiment: Experiment, model: Model, episodes: int, batch_size: int) -> Callable[..., Predictions]:
    return make_predictor(model.predict, 0 if isinstance(experiment, WholeImageExperiment) else episodes, batch_size)


def compile_alone(experiment: Experiment, model: Model, dataset: Dataset) -> Programs:
    """The programs of a run of its own, with its hyperparameters as constants."""
    step, hyper = make_step(experiment, model, dataset), configured_hyper(experiment, model)
    return Programs(
        make_chunk(lambda state, source: step(state, source, hyper)),
        validation_predictor(experiment, model),
        final_predictor(experiment, model),
    )


class General(NamedTuple):
    """Programs that take the hyperparameters as an argument.

    Attributes:
      step: see `common.training.step.train_step`.
      chunk: ``(state, (source, hyper), num_steps) -> (state, metrics [num_steps])``.
      validate: ``(params, key, images, hyper) -> Predictions``.
      evaluate: the same.
    """

    step: Step
    chunk: Callable[..., tuple[TrainState, dict[str, Array]]]
    validate: Callable[..., Predictions]
    evaluate: Callable[..., Predictions]


class SharedPrograms:
    """Compiles once for all runs whose lowered programs are the same; a `Compile`."""

    def __init__(self) -> None:
        self._known: dict[str, General] = {}

    def __call__(self, experiment: Experiment, model: Model, dataset: Dataset) -> Programs:
        """The programs of a run, compiled at most once for all that are the same."""
        general, hyper = self.general(experiment, model, dataset), configured_hyper(experiment, model)

        def bound(predict: Callable[..., Predictions]) -> Callable[..., Predictions]:
            return lambda params, key, images: predict(params, key, images, hyper.model)

        return Programs(
            lambda state, source, num_steps: general.chunk(state, (source, hyper), num_steps),
            bound(general.validate),
            bound(general.evaluate),
        )

    def general(self, experiment: Experiment, model: Model, dataset: Dataset) -> General:
        """The programs that a run shares with others."""
        digest = program_digest(experiment, model, dataset)
        if digest not in self._known:
            step = make_step(experiment, model, dataset)
            self._known[digest] = General(
                step,
                make_chunk(lambda state, given: step(state, *given)),
                validation_predictor(experiment, model),
                final_predictor(experiment, model),
            )
        return self._known[digest]


def program_digest(experiment: Experiment, model: Model, dataset: Dataset) -> str:
    """SHA-256 of everything that a run computes but for its seed and its continuous hyperparameters.

    It is that of the lowered step and predictions, in which every constant stands, and of the budget and the images'
    configuration, so runs of the same digest share their programs, their stops and their images whatever fields they
    differ in.
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
