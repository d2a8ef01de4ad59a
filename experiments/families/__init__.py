"""The families of models: one file for each. A new family is a file here and a line below, or a file of your own."""

from common.extensions import Extension
from common.names import check_name
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
      ValueError: there is none; names those there are.
    """
    family = Extension("family", FAMILIES, base=Family).resolve(name)
    if family.name != name:
        raise ValueError(
            f"family {name!r}: its name is {family.name!r}; set it to {name!r}, so that commands can import it again"
        )
    return family


def find_preset(family: Family, preset: str) -> Experiment:
    """Return the configuration of a preset.

    Raises:
      ValueError: there is none of that name; names those there are.
    """
    check_name("preset", preset, family.presets)
    return family.presets[preset][1]
