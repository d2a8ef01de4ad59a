"""Prepare a run: check its configuration against its images, build its model, open its run directory.

A single run, the cells of a sweep before they start, and runs in one program all go through `prepare`.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common.checks import check_at_most, explained
from common.data import Dataset
from common.extensions import describe_arrays
from common.unread import unread_settings
from experiments.cli.fields import fields_of, get
from experiments.families import BuiltModel, Family, find_preset
from experiments.runs.warm_start import check_warm_start, parameter_shapes
from experiments.training import run_directory
from experiments.training.augmentation import validate_augmentation_of
from experiments.training.config import (
    Experiment,
    from_json,
    is_own,
    split_sizes,
    to_json,
    unread_data_settings,
    validate_budget,
    validate_data,
)
from experiments.training.image_shapes import write_image_shapes
from experiments.training.programs import checked
from experiments.training.provenance import add_start, check_images
from experiments.training.trust import code_digests


def check_settings(experiment: Experiment) -> None:
    """Check what depends on no image, before any is loaded or made.

    Raises:
      ValueError: a bad configuration.
    """
    validate_budget(experiment)
    validate_data(experiment.data)


def prepare(
    family: Family, experiment: Experiment, preset: str, dataset: Dataset, *, resumed: bool, blank: bool = False
) -> BuiltModel:
    """Check a configuration against its images, and build its model.

    Args:
      family: what is trained.
      experiment: its configuration, after `check_settings`.
      preset: the name of the preset that it started from.
      dataset: its images.
      resumed: the run continues from a checkpoint, so its unread settings and its warm start are not checked.
      blank: the images are blank ones of the same shapes, and fewer.

    Raises:
      ValueError: a bad configuration.
    """
    sizes = split_sizes(experiment.data.num_images) if blank else (len(dataset.train.labels),)
    if sizes is not None:
        check_batch(experiment, sizes[0])
    built = build(family, experiment, dataset)
    if not resumed:
        check_unread(family, experiment, preset, built)
        check_warm_start(family, experiment, parameter_shapes(built.model))
    return built


def check_batch(experiment: Experiment, size: int) -> None:
    """Check that a batch can be drawn from ``size`` training images.

    Raises:
      ValueError: it is larger; quotes its size.
    """
    check_at_most("batch_size", experiment.training.batch_size, size, f"there are {size} training images")


def build(family: Family, experiment: Experiment, dataset: Dataset) -> BuiltModel:
    """Build the model of an experiment for its images, and check that its augmentation suits them.

    Raises:
      ValueError: a bad configuration.
    """
    validate_augmentation_of(experiment.data.augmentation, dataset, is_own(experiment.data))
    built = family.build(experiment, dataset)
    if not isinstance(built, BuiltModel):
        raise ValueError(f"the build of family {family.name!r} returned {describe_arrays(built)}: must be a BuiltModel")
    return built._replace(model=checked(built.model, dataset))


def check_unread(family: Family, experiment: Experiment, preset: str, built: BuiltModel) -> None:
    """Check that fields which nothing reads have the preset's values or their defaults.

    Raises:
      ValueError: one has another value; quotes it.
    """
    base, fields = find_preset(family, preset), fields_of(type(experiment))
    unread = {**unread_settings(experiment), **unread_data_settings(experiment.data), **built.unread}
    for name, why in unread.items():
        if name not in fields:
            raise ValueError(f"the model of family {family.name!r} names the unread setting {name!r}: no such field")
        path = fields[name].path
        (default,) = (each.default for each in dataclasses.fields(get(experiment, path[:-1])) if each.name == name)
        value, of_preset = get(experiment, path), get(base, path)
        if value not in (of_preset, default):
            raise ValueError(f"{name} {value!r}{why}, so it has no effect; leave it at {of_preset!r}")


def identity(family: Family, experiment: Experiment, preset: str) -> dict[str, Any]:
    """Return what identifies a run, the content of its ``config.json``.

    That is its family, preset and configuration, and the SHA-256 of the source of everything of the user's own that
    it uses, by ``module:name``.
    """
    config = to_json(experiment)
    return {
        "family": family.name,
        "preset": preset,
        "config": config,
        "code": code_digests(family.name, config),
    }


def check_run_directory(run_dir: Path, family: Family, experiment: Experiment, preset: str) -> None:
    """Check that a run can use its run directory (`run_directory.check_run`), and does not replace its warm start."""
    for name in family.warm_starts:
        folder = getattr(experiment.start, name)
        if folder is not None and Path(folder).resolve() == run_dir.resolve():
            raise ValueError(f"{name} {folder!r}: the new run would replace it; give another --run-dir")
    run_directory.check_run(
        run_dir,
        identity(family, experiment, preset),
        resume=experiment.output.resume,
        overwrite=experiment.output.overwrite,
        complete=lambda saved: to_json(from_json(family.experiment, saved)),
    )


def open_run_directory(
    run_dir: Path,
    family: Family,
    experiment: Experiment,
    preset: str,
    dataset: Dataset,
    images: Mapping[str, str],
    warm_start: Mapping[str, Any] | None,
) -> tuple[dict[str, str], list[int]]:
    """Make or reopen a run directory that is locked, and record the start of its run.

    Args:
      run_dir: the folder.
      family: what is trained.
      experiment: its configuration.
      preset: the name of the preset that it started from.
      dataset: its images.
      images: their `image_digests`.
      warm_start: the record of its warm start (see `experiments.runs.warm_start.begin`).

    Returns:
      The digests of its code (`code_digests`), and the steps that it was extended from (see `run_directory.open_run`).

    Raises:
      ValueError: the run cannot use or write this folder, or it has seen other images.
      OSError: a further file cannot be written.
    """
    check_run_directory(run_dir, family, experiment, preset)
    if experiment.output.resume:
        check_images(run_dir, images)
    known = identity(family, experiment, preset)
    with explained(f"run directory {str(run_dir)!r} cannot be written", OSError):
        extended_from = run_directory.open_run(run_dir, known, resume=experiment.output.resume)
    add_start(run_dir, images, known["code"], warm_start)
    write_image_shapes(run_dir, dataset)
    return known["code"], extended_from
