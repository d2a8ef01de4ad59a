"""Studies: which fields take which values. A study becomes a plan, which lists the cells."""

import importlib.util
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from common.names import unknown
from experiments.cli.fields import Field, convert, fields_of, find_field, replace, to_text
from experiments.families import find_family, find_preset
from experiments.sweeps.cells import Cell


@dataclass(frozen=True)
class Study:
    """What to sweep. Fields have the names of their flags, with dashes or underscores."""

    family: str
    """A family of models: ram, dram, stn, soft_attention, colocalisation, cnn, or module:NAME for your own."""
    preset: str
    """The preset that every cell starts from."""
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Values by field; every combination is a setting. A field with one value is an override."""
    zipped: Sequence[Mapping[str, Sequence[Any]]] = ()
    """Groups of fields that move together: the first values of each, then the second, and so on."""
    seeds: int | Sequence[int] = 1
    """How many seeds from 0, or which."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Values by field, for all cells."""
    name: str | None = None
    """The default folder is runs/ablate-NAME."""


class Dimension(NamedTuple):
    """An axis, or several fields that move together: ``values[i]`` are those of ``names`` at place i."""

    names: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]


class Plan(NamedTuple):
    """A study with its values checked and its cells listed, seeds fastest."""

    study: Study
    dimensions: tuple[Dimension, ...]
    overrides: dict[str, Any]
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that vary."""
        return tuple(name for dimension in self.dimensions for name in dimension.names)

    def values(self, cell: Cell) -> tuple[Any, ...]:
        """The values of a cell in the fields that vary."""
        return tuple(cell.value(name) for name in self.names)

    def describe(self, cell: Cell, seed: bool = True) -> str:
        """A cell in words: the fields that vary, and the seed."""
        parts = [f"{name} {value}" for name, value in zip(self.names, self.values(cell), strict=True)]
        return ", ".join([*parts, f"seed {cell.seed}"] if seed or not parts else parts)

    @property
    def name(self) -> str:
        """Name the default folder by the fields that vary, not by their values."""
        family = self.study.family.rpartition(":")[0] or self.study.family
        return self.study.name or "-".join([family, self.study.preset, *self.names])

    def to_json(self) -> dict[str, Any]:
        """What ``sweep.json`` holds."""
        return {
            "family": self.study.family,
            "preset": self.study.preset,
            "dimensions": [{"names": list(d.names), "values": [list(v) for v in d.values]} for d in self.dimensions],
            "overrides": self.overrides,
            "seeds": list(self.seeds),
        }


def seeds_of(given: Any) -> tuple[int, ...]:
    """The seeds that a study asks for, by their number or one by one.

    Raises:
      ValueError: there is none, one is given twice, or they are no whole numbers.
    """

    def whole(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    seeds = range(given) if whole(given) else given
    if not isinstance(seeds, Sequence) or not all(map(whole, seeds)):
        raise ValueError(f"seeds {given!r}: must be their number, or a list of whole numbers")
    if not seeds:
        raise ValueError(f"seeds {given}: must be at least 1")
    _require_distinct("seed", seeds)
    return tuple(seeds)


def make_plan(study: Study) -> Plan:
    """Lists the cells of a study.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    family = find_family(study.family)
    base = find_preset(family, study.preset)
    fields = fields_of(type(base))
    dimensions, overrides = _dimensions(study, fields)
    seeds = seeds_of(study.seeds)
    for name, value in overrides.items():
        base = replace(base, fields[name].path, value)
    cells = []
    for combination in itertools.product(*(dimension.values for dimension in dimensions)):
        config = base
        for dimension, values in zip(dimensions, combination, strict=True):
            for name, value in zip(dimension.names, values, strict=True):
                config = replace(config, fields[name].path, value)
        for seed in seeds:
            cells.append(Cell(family, study.preset, replace(config, ("training", "seed"), seed)))
    return Plan(study, dimensions, overrides, seeds, tuple(cells))


def _dimensions(study: Study, fields: Mapping[str, Field]) -> tuple[tuple[Dimension, ...], dict[str, Any]]:
    """The dimensions, in the order in which their first fields stand in the configuration, and the overrides."""
    overrides = {name: values[0] for name, values in _columns({k: [v] for k, v in study.overrides.items()}, fields)}
    found, seen = [], set(overrides)
    groups = [{name: values} for name, values in study.axes.items()] + [dict(group) for group in study.zipped]
    for group in groups:
        columns = sorted(_columns(group, fields), key=lambda column: list(fields).index(column[0]))
        for name, values in columns:
            if name in seen:
                raise ValueError(f"field {name!r} is given twice: as an axis, in a zipped group or as an override")
            seen.add(name)
            if len(values) != len(columns[0][1]):
                lengths = ", ".join(f"{name} has {len(values)}" for name, values in columns)
                raise ValueError(f"zipped fields must have as many values as each other: {lengths}")
        rows = tuple(zip(*(values for _, values in columns), strict=True))
        if len(columns) == 1:
            _require_distinct(columns[0][0], columns[0][1])
        else:
            _require_distinct(" and ".join(name for name, _ in columns), rows)
        if len(rows) > 1:
            found.append(Dimension(tuple(name for name, _ in columns), rows))
        else:
            overrides |= {name: values[0] for name, values in columns}
    order = list(fields)
    found.sort(key=lambda dimension: order.index(dimension.names[0]))
    return tuple(found), {name: overrides[name] for name in order if name in overrides}


def _columns(group: Mapping[str, Sequence[Any]], fields: Mapping[str, Field]) -> list[tuple[str, list[Any]]]:
    """Names and values of a group of fields, checked."""
    columns = []
    for given, values in group.items():
        name = find_field(fields, given)
        if name == "seed":
            raise ValueError("field 'seed' is no axis: give seeds, which every setting is run with")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"{name} {values!r}: must be one or more values")
        columns.append((name, [convert(name, to_text(value), fields[name].hint) for value in values]))
    return columns


def _require_distinct(name: str, values: Sequence[Any]) -> None:
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ValueError(f"{name} {value!r}: given twice")


def load_study(place: str) -> tuple[str, Study]:
    """The study in a Python file, ``FILE.py`` or ``FILE.py:NAME``, and its name.

    Raises:
      ValueError: there is no such file or study in it, or several and no name.
    """
    file, colon, wanted = place.rpartition(":")
    if not colon or not wanted.isidentifier():
        file, wanted = place, ""
    path = Path(file)
    if not path.is_file():
        raise ValueError(f"study {place!r}: there is no file {file!r}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"study {place!r}: must be a Python file, FILE.py or FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"study {place!r} cannot be read: {type(error).__name__}: {error}") from error
    studies = {name: value for name, value in vars(module).items() if isinstance(value, Study)}
    if not studies:
        raise ValueError(f"study {place!r}: the file makes no Study (from experiments.sweeps.study import Study)")
    if wanted and wanted not in studies:
        raise unknown("study", wanted, studies)
    if not wanted and len(studies) > 1:
        raise ValueError(f"study {place!r}: the file makes several, give {file}:NAME with one of {', '.join(studies)}")
    name = wanted or next(iter(studies))
    return name if wanted else path.stem, studies[name]
