"""Cells of a sweep: one configuration with one seed each, identified by these and by the source of the user's code."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from common.data import Dataset
from common.data.tasks import find_task
from experiments.cli.command_line import explain, own_line
from experiments.cli.fields import fields_of, get, is_bool, replace
from experiments.families import Family, find_preset
from experiments.runs.preparation import check_settings, identity, prepare
from experiments.training.config import (
    Experiment,
    flatten,
    load_blank,
    load_dataset,
    to_json,
)
from experiments.training.programs import check_step


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
      family: the family of its model.
      preset: the preset that its configuration is based on.
      config: the configuration, seed included.
    """

    family: Family
    preset: str
    config: Experiment

    @property
    def seed(self) -> int:
        """Return the seed of its configuration."""
        return self.config.training.seed

    @cached_property
    def setting(self) -> str:
        """Return ten hexadecimal digits that identify everything about the cell except its seed.

        Fields with the default of their class (not of the preset) do not count, so a new field does not change the
        identity of old cells.
        """
        unseeded = replace(self.config, ("training", "seed"), 0)
        defaults = dict(flatten(to_json(type(self.config)())))
        changed = {name: value for name, value in flatten(to_json(unseeded)) if value != defaults.get(name)}
        identity = self.identity() | {"config": changed}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:10]

    @cached_property
    def id(self) -> str:
        """Return the name of its folder."""
        return f"{self.setting}-seed{self.seed}"

    def identity(self) -> dict[str, Any]:
        """Return what identifies its run (see `experiments.runs.preparation.identity`)."""
        return identity(self.family, self.config, self.preset)

    def value(self, name: str) -> Any:
        """Return the value of a field of its configuration."""
        return get(self.config, fields_of(type(self.config))[name].path)


def arguments(cell: Cell, run_dir: Path | None, *, resume: bool, reports: bool = False) -> list[str]:
    """Return the arguments of ``python`` that run a cell.

    Args:
      cell: the cell.
      run_dir: the run directory; None if the caller adds it later.
      resume: resume the run in the run directory.
      reports: draw the plots and the report of the run.
    """
    preset = find_preset(cell.family, cell.preset)
    flags = []
    for name, field in fields_of(type(cell.config)).items():
        value = get(cell.config, field.path)
        if value == get(preset, field.path):
            continue
        flag = name.replace("_", "-")
        if is_bool(field.hint):
            flags.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            flags.append(f"--{flag}={value}")  # One argument, since the value may begin with a dash.
    flags += [f"--run-dir={run_dir}"] if run_dir else []
    flags += ["--plots" if reports else "--no-plots"]
    return ["-m", *cell.family.command.split(), cell.preset, *flags, *(["--resume"] if resume else [])]


def validate(
    cells: Iterable[Cell], describe: Any = None, is_continued: Callable[[Cell], bool] = lambda cell: False
) -> None:
    """Check cells as their runs would, down to tracing their loss, without training or rendering house numbers.

    Args:
      cells: the cells.
      describe: ``cell -> text`` for the message.
      is_continued: ``cell -> bool``; True if a cell has a checkpoint or results, so its warm start is not checked.

    Raises:
      ValueError: one line about the first bad cell that quotes the value and says what is allowed, or the error that
        code of the user's own raised.
    """
    datasets: dict[Any, Dataset] = {}
    traced: set[str] = set()
    for cell in cells:
        try:
            check_settings(cell.config)
            data = cell.config.data
            rendered = find_task(data.task).numbers is not None
            if data not in datasets:
                datasets[data] = load_blank(data) if rendered else load_dataset(data)
            dataset = datasets[data]
            continued = is_continued(cell)
            built = prepare(cell.family, cell.config, cell.preset, dataset, resumed=continued, blank=rendered)
            if cell.setting not in traced:  # Seeds do not differ in shapes.
                traced.add(cell.setting)
                check_step(cell.config, built.model, dataset)
        except Exception as error:
            if not isinstance(error, ValueError) and own_line(error) is None:
                raise
            where = f" (cell {describe(cell)})" if describe else ""
            text = str(error) if isinstance(error, ValueError) else explain(error)
            raise ValueError(f"{text}{where}") from error
