"""The families of models: one file for each. A new family is a file here and a line below, or a file of your own."""

from collections.abc import Mapping
from typing import Any

from common.checks import explained
from common.extensions import Extension, describe_arrays
from common.names import check_name
from experiments.cli.fields import flags_of
from experiments.families import cnn, colocalisation, dram, ram, soft_attention, stn
from experiments.families.base import BuiltModel, Family, WarmStart
from experiments.training.config import Experiment

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (ram.FAMILY, dram.FAMILY, stn.FAMILY, soft_attention.FAMILY, colocalisation.FAMILY, cnn.FAMILY)
}

__all__ = ["FAMILIES", "BuiltModel", "Family", "WarmStart", "find_family", "find_preset"]


def find_family(name: str) -> Family:
    """Find a family by its name, or import your own as ``module:NAME``.

    Raises:
      ValueError: there is none, and names those there are; or its configuration or its presets are malformed.
    """
    family = Extension("family", FAMILIES, base=Family).resolve(name)
    if family.name != name:
        raise ValueError(
            f"family {name!r}: its name is {family.name!r}; set it to {name!r}, so that commands can import it again"
        )
    with explained(f"family {name!r}"):
        _check_family(family.experiment, family.presets)
    return family


def _check_family(experiment: Any, presets: Mapping[str, Any]) -> None:
    derived = isinstance(experiment, type) and issubclass(experiment, Experiment)
    if not derived:
        raise ValueError(f"its experiment is {experiment!r}: must be a class derived from Experiment")
    flags_of(experiment)
    for name, preset in presets.items():
        if not isinstance(preset, tuple) or [type(part) for part in preset] != [str, experiment]:
            found, expected = describe_arrays(preset), f"(text, {experiment.__name__})"
            raise ValueError(f"its preset {name!r} is {found}: must be the pair {expected}")


def find_preset(family: Family, preset: str) -> Experiment:
    """Return the configuration of a preset.

    Raises:
      ValueError: there is none of that name; names those there are.
    """
    check_name("preset", preset, family.presets)
    return family.presets[preset][1]
