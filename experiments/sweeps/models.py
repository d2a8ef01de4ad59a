"""The models that can be swept. A new one is a line here."""

from collections.abc import Mapping
from typing import NamedTuple

from common.names import unknown
from experiments.presets import CNN_PRESETS, DRAM_PRESETS, RAM_PRESETS
from experiments.presets_stn import COLOCALISATION_PRESETS, SOFT_PRESETS, STN_PRESETS
from experiments.training.config import Experiment


class SweepModel(NamedTuple):
    """A model that can be swept.

    Attributes:
      module: its command line, ``python -m experiments.MODULE``.
      presets: by name, the line of the help and the configuration, whose class is the experiment's.
    """

    module: str
    presets: Mapping[str, tuple[str, Experiment]]


MODELS = {
    "ram": SweepModel("ram", RAM_PRESETS),
    "dram": SweepModel("dram", DRAM_PRESETS),
    "stn": SweepModel("stn", STN_PRESETS),
    "colocalisation": SweepModel("colocalisation", COLOCALISATION_PRESETS),
    "soft_attention": SweepModel("soft_attention", SOFT_PRESETS),
    "cnn": SweepModel("cnn", CNN_PRESETS),
}


def find_preset(model: str, preset: str) -> Experiment:
    """The configuration of a preset.

    Raises:
      ValueError: the model or the preset is unknown; names those there are.
    """
    if model not in MODELS:
        raise unknown("model", model, MODELS)
    presets = MODELS[model].presets
    if preset not in presets:
        raise unknown("preset", preset, presets)
    return presets[preset][1]
