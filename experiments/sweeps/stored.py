"""Stored sweeps: settings read from `results.csv`, for differences and figures without the runs."""

import csv
import math
from pathlib import Path
from typing import Any, NamedTuple

from experiments.output.readouts import READOUTS
from experiments.sweeps.labels import label
from experiments.sweeps.outcomes import RESULTS, Outcome, Setting
from experiments.sweeps.study import Axis


class StoredCell(NamedTuple):
    """The seed and the identity of a cell whose run is not stored."""

    seed: int
    id: str


class StoredSweep(NamedTuple):
    """The content of a `results.csv`; values of fields are text.

    Attributes:
      names: the fields that vary.
      axes: an axis for each field if all combinations are present, else one axis of paired fields.
      settings: the settings with their outcomes, in the order of the file.
    """

    names: tuple[str, ...]
    axes: tuple[Axis, ...]
    settings: list[Setting]

    @property
    def labels(self) -> list[str]:
        """Return the names of the settings, as in `differences.csv`."""
        return [label(self.names, setting.values) for setting in self.settings]


def read_sweep(folder: Path) -> StoredSweep:
    """Read the settings and errors of a sweep from its `results.csv`."""
    with (folder / RESULTS).open(newline="") as file:
        reader = csv.DictReader(file)
        header = list(reader.fieldnames or ())
        names = tuple(header[: header.index("seed")])
        outcomes: dict[tuple[str, ...], list[Outcome]] = {}
        for row in reader:
            values = tuple(row[name] for name in names)
            cell: Any = StoredCell(int(row["seed"]), row["cell"])
            outcomes.setdefault(values, []).append(Outcome(cell, values, _results(row)))
    settings = [Setting(values, tuple(each.cell for each in group), tuple(group)) for values, group in outcomes.items()]
    columns = [tuple(dict.fromkeys(values)) for values in zip(*outcomes, strict=True)]
    if math.prod(map(len, columns)) == len(settings):
        axes = tuple(
            Axis((name,), tuple((value,) for value in values))
            for name, values in zip(names, columns, strict=True)
            if len(values) > 1
        )
        if len(axes) == len(names):
            return StoredSweep(names, axes, settings)
    return StoredSweep(names, (Axis(names, tuple(outcomes)),), settings)


def _results(row: dict[str, str]) -> dict[str, Any]:
    return {
        split: {
            readout: {"error": float(row[f"{split}_{readout}_error"])}
            for readout in READOUTS
            if row.get(f"{split}_{readout}_error")
        }
        for split in ("test", "validation")
    }
