"""The stored results of runs: groups of seeds, their commands, and the numbers that are quoted of them.

A folder such as `results/mnih2014` holds copies of runs' `results.json` under clear names. `ram_28.json`,
`ram_28-seed1.json` and `ram_28-seed2.json` are one group of three seeds.
"""

import functools
import re
import shlex
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.cli.fields import fields_of, is_bool
from experiments.families import FAMILIES
from experiments.output.readouts import SINGLE_PASS, readout_name
from experiments.output.results_shape import explain_misfit
from experiments.output.text import interval_text
from experiments.sweeps.cells import Cell
from experiments.sweeps.options import parse
from experiments.sweeps.statistics import mean_interval
from experiments.sweeps.study import Study, make_plan
from experiments.training.config import flatten, to_json
from experiments.training.run_directory import read_json

# Flags with which a run still counts as one of its preset: one that co-localisation needs, and those that decide what
# is recorded. How often a run validates is none of them: it decides which parameters are the best ones.
PRESET_FLAGS = ("encoder-from", "log-every", "keep-checkpoints")


class Group(NamedTuple):
    """Runs that differ in the seed alone, in the order of their seeds.

    Attributes:
      runs: what each `results.json` holds.
      files: the names of the files without their ending.
    """

    runs: tuple[Mapping[str, Any], ...]
    files: tuple[str, ...]


class Measured(NamedTuple):
    """The measured error of a group, in per cent.

    Attributes:
      value, low, high: the mean over seeds with its 95% interval: over seeds, of one seed over test images.
      readout: its name.
    """

    value: float
    low: float
    high: float
    readout: str

    def __str__(self) -> str:
        return interval_text(self.value, self.low, self.high)


def read_groups(folder: Path) -> dict[str, Group]:
    """Read every `*.json` of a folder, grouped by name.

    Raises:
      ValueError: a file is damaged, holds no results of a run, or differs from the other seeds in more than the seed;
        names the file.
    """
    runs: dict[str, list[tuple[Mapping[str, Any], str]]] = {}
    for path in sorted(folder.glob("*.json")):
        results = read_stored(path)
        results["device"] = re.sub(r"\b1 cores$", "1 core", results["device"] or "")  # So stored by early runs.
        runs.setdefault(re.sub(r"-seed\d+$", "", path.stem), []).append((results, path.stem))
    ordered = {name: sorted(group, key=lambda run: run[0]["seed"]) for name, group in runs.items()}
    for (first, name), *others in ordered.values():
        for run, other in others:
            if trained_as(run) != trained_as(first):
                differ = f"{name}.json and {other}.json differ in more than the seed"
                raise ValueError(f"{differ}: {command(first)} and {command(run)}")
    return {name: Group(*zip(*group, strict=True)) for name, group in ordered.items()}


def read_stored(path: Path) -> dict[str, Any]:
    """Read the stored results of a run of a family of the project.

    Raises:
      ValueError: the file is damaged or holds something else; names it.
    """
    results = read_json(path)
    misfit = explain_misfit(results)
    if misfit is None and results["family"] not in FAMILIES:
        misfit = f"its family is {results['family']!r}"
    if misfit is None and not _presets_of(results):
        misfit = f"no preset is called {results['preset']!r} or has its task"
    if misfit is not None:
        raise ValueError(f"{str(path)!r} cannot be shown: {misfit}")
    return results


def closest_preset(results: Mapping[str, Any]) -> str:
    """Return the preset of today, on the same task, from which a run differs in the fewest flags.

    Of several it is the run's own, or the first. The preset that a run was started from may have changed since.
    """
    own = results["preset"]
    return min(_presets_of(results), key=lambda name: (len(changed_flags(results, name)), name != own))


def _presets_of(results: Mapping[str, Any]) -> list[str]:
    """Return the presets of today that a run may be of: its own, and those on the same task."""
    presets, task = FAMILIES[results["family"]].presets, _setting(results, "task")
    return [name for name, (_, preset) in presets.items() if name == results["preset"] or preset.data.task == task]


def changed_flags(results: Mapping[str, Any], name: str | None = None) -> dict[str, str]:
    """Return the flags of a run that differ from a preset of today, with their values; "" for a switch.

    A stored setting without a flag today cannot be given. A setting that is newer than the run had its default.

    Args:
      results: of the run.
      name: of the preset; None for the closest.
    """
    preset = FAMILIES[results["family"]].presets[name or closest_preset(results)][1]
    today = {_flag(key): value for key, value in flatten(to_json(preset))}
    stored = {_flag(key): value for key, value in flatten(to_json(type(preset)()))}
    for key, value in flatten(results["config"]):
        stored[_flag(key)] = value
    switches = {_flag(name) for name, field in fields_of(type(preset)).items() if is_bool(field.hint)}
    changed = {}
    for flag, value in stored.items():
        if flag in today and today[flag] != value and flag != "seed":
            if flag in switches:
                changed[f"--{flag}" if value else f"--no-{flag}"] = ""
            else:
                changed[f"--{flag}"] = shlex.quote(str(value))
    return changed


def trained_as(results: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the closest preset, and `changed_flags` without `PRESET_FLAGS`.

    Two runs, or cells of a sweep, for which they are the same have the same training but for the seed.
    """
    preset = closest_preset(results)
    flags = changed_flags(results, preset)
    return preset, {flag: value for flag, value in flags.items() if flag.removeprefix("--") not in PRESET_FLAGS}


def command(results: Mapping[str, Any]) -> str:
    """Return the command of a run: its preset, and the flags that differ from it."""
    flags = [f"{flag} {value}".strip() for flag, value in changed_flags(results).items()]
    return " ".join([f"python -m {FAMILIES[results['family']].command}", closest_preset(results), *flags])


@functools.cache
def planned_study(row_command: str) -> Study:
    """Return the study of a row's command in `paper.toml`: its family, preset and flags, with one seed."""
    family, preset, *flags = shlex.split(row_command)
    study, _ = parse([family, "--preset", preset, *flags])
    return study


@functools.cache
def planned_cell(row_command: str) -> Cell:
    """Return the run of a row's command in `paper.toml` with seed 0."""
    return make_plan(planned_study(row_command)).cells[0]


def planned_images(row_command: str) -> str:
    """Return how many training images a row's command in `paper.toml` takes, such as "3.84 M"."""
    training = planned_cell(row_command).config.training
    return f"{training.steps * training.batch_size / 1e6:.2f} M"


def is_run_of(results: Mapping[str, Any], row_command: str) -> bool:
    """Return whether a stored run has the configuration of a row's command in `paper.toml`, but for its seed."""
    return trained_as(results) == trained_as(planned_cell(row_command).identity())


def errors_of(group: Group, readout: str = "average_probability", split: str = "test") -> list[float]:
    """Return the error of each seed of a group by a read-out, or the fraction of boxes `found`."""
    name = "found" if readout == "found" else "error"
    return [_entry(run, readout, split)[name] for run in group.runs]


def deviation(group: Group, readout: str = "average_probability") -> float | None:
    """Return the standard deviation over seeds of a group's test errors; None for one seed."""
    errors = errors_of(group, "found" if "overlap" in group.runs[0] else readout)
    return statistics.stdev(errors) if len(errors) > 1 else None


def measure(group: Group, readout: str = "average_probability", split: str = "test") -> Measured:
    """Return the error of a group by a read-out.

    Networks that sample nothing have one prediction, whose read-out is "single pass". The read-out `found` is the
    fraction of boxes that a co-localiser found.
    """
    entries = [_entry(run, readout, split) for run in group.runs]
    first = group.runs[0]
    if readout == "found":
        name = "boxes found"
    elif "average_probability" not in first[split]:
        name = SINGLE_PASS
    else:
        name = readout_name(readout, first["config"]["training"]["eval_episodes"])
    values = errors_of(group, readout, split)
    if len(values) == 1:
        return Measured(values[0], entries[0]["low"], entries[0]["high"], name)
    interval = mean_interval(values)
    assert interval is not None
    return Measured(interval.mean, interval.low, interval.high, name)


def training_images(results: Mapping[str, Any]) -> int:
    """Return how many images a run was trained on; each has as many episodes as there are replicates."""
    replicates = _setting(results, "replicates") or 1
    return int(results["episodes"] / replicates)


def has_random_locations(results: Mapping[str, Any]) -> bool:
    """Return whether the locations of a run are random, so that it has no greedy episode."""
    return bool(_setting(results, "locations") == "random")


def minutes(group: Group) -> float:
    """Return the mean wall time of a group's runs in minutes."""
    return sum(run["wall_seconds"] for run in group.runs) / len(group.runs) / 60


def _entry(results: Mapping[str, Any], readout: str, split: str) -> Mapping[str, Any]:
    if readout == "found":
        return results["overlap"][split]
    return results[split].get(readout, results[split]["greedy"])


def _setting(results: Mapping[str, Any], flag: str) -> Any:
    """Return the value of a setting of a run, named by its flag without dashes; None if it has none."""
    return next((value for key, value in flatten(results["config"]) if _flag(key) == flag), None)


def _flag(key: str) -> str:
    """Return the flag of a setting without its dashes: `model.agent.num_glimpses` is `num-glimpses`."""
    return key.rpartition(".")[2].replace("_", "-")
