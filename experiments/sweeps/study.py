"""Studies, which give values for fields, and plans, which list the cells of a study."""

import importlib.util
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from common.checks import check_values
from common.names import check_name
from experiments.cli.fields import Field, convert, fields_of, find_field, replace
from experiments.families import find_family, find_preset
from experiments.sweeps.cells import Cell

MOST_CELLS = 100_000
# Memory that a planned cell takes, as measured.
_CELL_BYTES = 2_000


@dataclass(frozen=True)
class Study:
    """The fields of a sweep and their values. Fields have the names of their flags, with dashes or underscores."""

    family: str
    """A family of models: ram, dram, stn, soft_attention, colocalisation, cnn, or module:NAME for your own."""
    preset: str
    """The preset that every cell is based on."""
    axes: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    """Values by field; every combination is a setting. A field with one value is an override."""
    zipped: Sequence[Mapping[str, Sequence[Any]]] = ()
    """Groups of fields whose values are paired: the first values of each, then the second, and so on."""
    seeds: int | Sequence[int] = 1
    """The number of seeds, counted from 0, or a list of seeds."""
    overrides: Mapping[str, Any] = field(default_factory=dict)
    """Values by field, for all cells."""
    name: str | None = None
    """NAME of the default folder, runs/ablate-NAME."""


class Axis(NamedTuple):
    """An axis of one field or of several paired fields: ``values[i]`` are the values of ``names`` at place i."""

    names: tuple[str, ...]
    values: tuple[tuple[Any, ...], ...]


class Plan(NamedTuple):
    """A study with checked values, and its cells; the seeds vary fastest."""

    study: Study
    axes: tuple[Axis, ...]
    overrides: dict[str, Any]
    seeds: tuple[int, ...]
    cells: tuple[Cell, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Return the fields that vary."""
        return tuple(name for axis in self.axes for name in axis.names)

    def values(self, cell: Cell) -> tuple[Any, ...]:
        """Return the values of a cell in the fields that vary."""
        return tuple(cell.value(name) for name in self.names)

    def describe(self, cell: Cell, seed: bool = True) -> str:
        """Describe a cell by the fields that vary and the seed."""
        parts = [f"{name} {value}" for name, value in zip(self.names, self.values(cell), strict=True)]
        return ", ".join([*parts, f"seed {cell.seed}"] if seed or not parts else parts)

    @property
    def name(self) -> str:
        """Return the name of the default folder: the fields that vary, without their values."""
        family = self.study.family.rpartition(":")[0] or self.study.family
        return self.study.name or "-".join([family, self.study.preset, *self.names])

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``sweep.json``."""
        return {
            "family": self.study.family,
            "preset": self.study.preset,
            "axes": [{"names": list(axis.names), "values": [list(v) for v in axis.values]} for axis in self.axes],
            "overrides": self.overrides,
            "seeds": list(self.seeds),
        }


def list_seeds(seeds: Any) -> tuple[int, ...]:
    """Return the seeds of a study, from their number or a list of them.

    Raises:
      ValueError: there is none, one is listed twice, they are not whole numbers, or more than the cells of a sweep.
    """

    def is_whole(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    if is_whole(seeds):
        _check_count(seeds)
    listed = range(seeds) if is_whole(seeds) else seeds
    if not isinstance(listed, Sequence) or not listed or not all(map(is_whole, listed)):
        raise ValueError(f"seeds {seeds!r}: must be their number, at least 1, or a list of whole numbers")
    check_values("seed", listed)
    return tuple(listed)


def make_plan(study: Study) -> Plan:
    """List the cells of a study.

    Raises:
      ValueError: a bad configuration.
    """
    _check_study(study)
    family = find_family(study.family)
    base = find_preset(family, study.preset)
    fields = fields_of(type(base))
    axes, overrides = _axes(study, fields)
    seeds = list_seeds(study.seeds)
    for name, value in overrides.items():
        base = replace(base, fields[name].path, value)
    names = [name for axis in axes for name in axis.names]
    _check_count(math.prod(len(axis.values) for axis in axes) * len(seeds))
    cells = []
    for combination in itertools.product(*(axis.values for axis in axes)):
        values = dict(zip(names, itertools.chain(*combination), strict=True))
        config = base
        try:
            for name, value in values.items():
                config = replace(config, fields[name].path, value)
        except ValueError as error:  # A configuration of the user's own may check itself.
            cell = ", ".join(f"{name} {value}" for name, value in values.items())
            raise ValueError(f"{error} (cell {cell})") from error
        for seed in seeds:
            cells.append(Cell(family, study.preset, replace(config, ("training", "seed"), seed)))
    return Plan(study, axes, overrides, seeds, tuple(cells))


def _check_count(cells: int) -> None:
    """Check the number of cells before they are listed."""
    if cells > MOST_CELLS:
        memory = f"about {cells * _CELL_BYTES / 2**30:,.1f} GiB of memory to plan"
        raise ValueError(f"{cells:,} cells take {memory}: give at most {MOST_CELLS:,}, with fewer seeds or values")


def _check_study(study: Study) -> None:
    """Check the containers of a study, which a user writes by hand."""
    groups = study.zipped if isinstance(study.zipped, Sequence) else [None]
    texts = {"axes": "a dictionary", "overrides": "a dictionary", "zipped": "a list of dictionaries"}
    parts = [("axes", study.axes), ("overrides", study.overrides), *(("zipped", group) for group in groups)]
    for name, part in parts:
        if not isinstance(part, Mapping):
            value = getattr(study, name)
            raise ValueError(f"{name} {value!r}: must be {texts[name]} from fields to their values")


def _axes(study: Study, fields: Mapping[str, Field]) -> tuple[tuple[Axis, ...], dict[str, Any]]:
    """Return the axes, in the order of the configuration's fields, and the overrides."""
    overrides = {name: values[0] for name, values in _columns({k: [v] for k, v in study.overrides.items()}, fields)}
    axes, seen = [], set(overrides)
    groups = [{name: values} for name, values in study.axes.items()] + [dict(group) for group in study.zipped]
    for group in groups:
        columns = sorted(_columns(group, fields), key=lambda column: list(fields).index(column[0]))
        for name, values in columns:
            if name in seen:
                raise ValueError(f"field {name!r} is given twice: as an axis, in a zipped group or as an override")
            seen.add(name)
            if len(values) != len(columns[0][1]):
                lengths = ", ".join(f"{name} has {len(values)}" for name, values in columns)
                raise ValueError(f"zipped fields must have the same number of values: {lengths}")
        rows = tuple(zip(*(values for _, values in columns), strict=True))
        if len(columns) == 1:
            check_values(*columns[0])
        else:
            check_values(" and ".join(name for name, _ in columns), rows)
        if len(rows) > 1:
            axes.append(Axis(tuple(name for name, _ in columns), rows))
        else:
            overrides |= {name: values[0] for name, values in columns}
    order = list(fields)
    axes.sort(key=lambda axis: order.index(axis.names[0]))
    return tuple(axes), {name: overrides[name] for name in order if name in overrides}


def _columns(group: Mapping[str, Sequence[Any]], fields: Mapping[str, Field]) -> list[tuple[str, list[Any]]]:
    """Check a group of fields, and return their names and converted values."""
    columns = []
    for key, values in group.items():
        name = find_field(fields, key)
        if name == "seed":
            raise ValueError("field 'seed' is no axis: give seeds, which every setting runs with")
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise ValueError(f"{name} {values!r}: must be one or more values")
        columns.append((name, [convert(name, str(value), fields[name].hint) for value in values]))
    return columns


def load_study(place: str) -> tuple[str, Study]:
    """Load a study from a Python file, and return its name and the study.

    Args:
      place: ``FILE.py``, or ``FILE.py:NAME`` if the file makes several studies.

    Raises:
      ValueError: the file does not exist or cannot be read, has no such study, or has several and no name was given.
    """
    file, colon, requested = place.rpartition(":")
    if not colon or not requested.isidentifier():
        file, requested = place, ""
    path = Path(file)
    spec = importlib.util.spec_from_file_location(path.stem, path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise ValueError(f"study {place!r}: must be a Python file that exists, FILE.py or FILE.py:NAME")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except SystemExit as error:
        raise ValueError(f"study {place!r} cannot be read: it calls exit()") from error
    except Exception as error:
        raise ValueError(f"study {place!r} cannot be read: {type(error).__name__}: {error}") from error
    studies = {name: value for name, value in vars(module).items() if isinstance(value, Study)}
    if not studies:
        raise ValueError(f"study {place!r}: the file makes no Study (from experiments.sweeps.study import Study)")
    if requested:
        check_name("study", requested, studies)
    elif len(studies) > 1:
        raise ValueError(f"study {place!r}: the file makes several, give {file}:NAME with one of {', '.join(studies)}")
    name = requested or next(iter(studies))
    return name if requested else path.stem, studies[name]
