"""Families of models: their configuration, presets, networks, figures and warm starts.

A family is one file: in this package, or a module of a user, which commands then take as ``module:NAME``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from jaxtyping import PyTree

from common.attention.model import AttentionModel
from common.data import Dataset
from common.training.step import Model
from experiments.output.results_lookup import describe_result
from experiments.training.config import Experiment


class BuiltModel(NamedTuple):
    """A model for the images of one data set.

    Attributes:
      model: the functions that are trained and evaluated.
      summary: one line that describes the images and the model.
      draw: ``(params, run_dir) -> None``, writes the figures of the report into ``run_dir/plots``.
      measure: ``params -> dictionary``, the measures besides errors that ``results.json`` holds.
      observe: ``(params, step, run_dir) -> None``, called at each validation; saves the data of an animation.
      attention: the hard-attention agent; None for networks that see the whole image.
      coarse_values: the numbers of the coarse image that the agent reads before its first glimpse.
      unread: fields of the configuration that this model does not read, each with the reason, which follows the field's
        value in a message. They must keep the values of the preset, or have their defaults.
    """

    model: Model
    summary: str
    draw: Callable[[PyTree, Path], None]
    measure: Callable[[PyTree], dict[str, Any]] = lambda params: {}
    observe: Callable[[PyTree, int, Path], None] = lambda params, step, run_dir: None
    attention: AttentionModel | None = None
    coarse_values: int = 0
    unread: Mapping[str, str] = {}


def replace_all(params: PyTree, other_params: PyTree) -> PyTree:
    """Return the parameters of the other run."""
    del params
    return other_params


@dataclass(frozen=True, eq=False)
class WarmStart:
    """A field of the start configuration that names another run, and what this run takes from it.

    Attributes:
      family: the family of the other run; None for the same family.
      model: the model configuration that the other run must share in `settings`; None for this run's own.
      settings: dotted names of the settings of the model that both runs must share, since they change what its
        parameters mean and may leave their shapes as they are.
      merge: ``(params, params of the other run) -> params``.
      advice: how to make the shapes agree, for the message.
    """

    family: str | None = None
    model: Any = None
    settings: tuple[str, ...] = ()
    merge: Callable[[PyTree, PyTree], PyTree] = replace_all
    advice: str = "give the model the same settings"


@dataclass(frozen=True, eq=False)
class Family:
    """A family of models.

    Attributes:
      name: what commands and ``config.json`` call it; ``module:NAME`` for a family of your own.
      description: first line of the help.
      experiment: the class of its configuration.
      presets: by name, the line that the help shows and the configuration.
      build: ``(experiment, dataset) -> BuiltModel``; raises a ValueError that quotes a bad value and says what is
        allowed.
      warm_starts: by field of the start configuration; by default `init_from`, all parameters of a run of the family.
      check_start: ``experiment -> None``; raises a ValueError where a fresh run lacks what it must start from.
    """

    name: str
    description: str
    experiment: type[Experiment]
    presets: Mapping[str, tuple[str, Experiment]]
    build: Callable[[Any, Dataset], BuiltModel]
    warm_starts: Mapping[str, WarmStart] = field(default_factory=lambda: {"init_from": WarmStart()})
    check_start: Callable[[Any], None] = lambda experiment: None

    def described_presets(self) -> dict[str, tuple[str, Experiment]]:
        """Return the presets with our best stored result at the end of each line; images of your own have none."""
        return {
            name: (
                text if experiment.data.task == "images" else f"{text} {describe_result(self.name, name)}".rstrip(),
                experiment,
            )
            for name, (text, experiment) in self.presets.items()
        }

    @property
    def command(self) -> str:
        """Return the arguments of ``python -m`` that train a model of this family."""
        return f"experiments.train {self.name}" if ":" in self.name else f"experiments.{self.name}"


def describe(dataset: Dataset) -> str:
    """Describe the images of a data set and their labels in a few words."""
    images = f"{dataset.name}: {dataset.height}x{dataset.width}x{dataset.channels}"
    if dataset.num_targets is None:
        return f"{images}, {dataset.num_classes} classes"
    return f"{images}, labels of {dataset.num_targets} symbols, end symbols included"
