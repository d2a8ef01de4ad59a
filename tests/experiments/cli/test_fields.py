"""Fields by their flat names, and conversion of text to values."""

import dataclasses
import typing
from typing import Literal

import pytest

from experiments.cli.fields import convert, fields_of, find_field, get, replace
from experiments.families.cnn import PRESETS as CNN_PRESETS
from experiments.families.cnn import CnnExperiment
from experiments.families.ram import PRESETS as RAM_PRESETS
from experiments.families.ram import RamExperiment


def leaves(cls):
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(typing.get_type_hints(cls)[field.name]):
            yield from leaves(typing.get_type_hints(cls)[field.name])
        else:
            yield field.name


@pytest.mark.parametrize("cls", [RamExperiment, CnnExperiment])
def test_every_field_except_the_output_appears_once_with_its_help(cls):
    names = [name for name in leaves(cls) if name not in ("run_dir", "resume", "overwrite", "plots")]
    assert list(fields_of(cls)) == names and len(set(names)) == len(names)
    assert all(field.help for field in fields_of(cls).values())
    assert "10px" not in fields_of(cls)["task"].help


def test_help_is_the_docstring_of_the_field():
    assert fields_of(RamExperiment)["max_kl"].help == (
        "Skip the remaining updates of a step once the KL divergence of the current policy from the one that played "
        "the episodes exceeds this, in nats per location; 0 for never."
    )


@pytest.mark.parametrize("presets", [RAM_PRESETS, CNN_PRESETS])
def test_every_value_of_every_preset_survives_a_round_trip_through_text(presets):
    for _, config in presets.values():
        for name, field in fields_of(type(config)).items():
            value = get(config, field.path)
            assert convert(name, str(value), field.hint) == value


def test_replace_changes_one_value():
    config = RAM_PRESETS["quick"][1]
    path = fields_of(RamExperiment)["num_glimpses"].path
    assert path == ("model", "agent", "num_glimpses")
    changed = replace(config, path, 3)
    assert changed.model.agent.num_glimpses == 3 and replace(changed, path, 8) == config


@pytest.mark.parametrize("name", ["num-glimpses", "num_glimpses", "--num-glimpses"])
def test_a_field_is_found_by_name_with_dashes_or_underscores(name):
    assert find_field(fields_of(RamExperiment), name) == "num_glimpses"


def test_an_unknown_field_is_refused_with_the_closest_name():
    with pytest.raises(ValueError, match="unknown field 'num_glimpse': did you mean 'num_glimpses'"):
        find_field(fields_of(RamExperiment), "num_glimpse")


@pytest.mark.parametrize(
    "text, hint, value",
    [
        ("3", int, 3),
        ("-3", int, -3),
        ("1e-3", float, 0.001),
        ("5px", str, "5px"),
        ("None", str | None, None),
        ("none", str | None, "none"),
        ("7", int | None, 7),
        ("False", bool, False),
        ("lstm", Literal["rnn", "lstm"], "lstm"),
    ],
)
def test_text_converts_to_values_of_the_type(text, hint, value):
    found = convert("x", text, hint)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    "text, hint, allowed",
    [
        ("3.0", int, "a whole number"),
        ("abc", float, "a number"),
        ("nan", float, "a number"),
        ("", int, "a whole number"),
        ("x", int | None, "a whole number or None"),
        ("1", bool, "True or False"),
        ("gru", Literal["rnn", "lstm"], "one of rnn, lstm"),
    ],
)
def test_bad_values_are_quoted_with_the_allowed_ones(text, hint, allowed):
    with pytest.raises(ValueError) as error:
        convert("size", text, hint)
    assert str(error.value) == f"size {text!r}: must be {allowed}"
