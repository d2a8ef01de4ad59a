"""Cells that share a process and a compiled program: they learn the same as in processes of their own."""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import pytest

from common.training.step import Model
from experiments.runs.restore import read_run
from experiments.runs.run import run
from experiments.sweeps import local, together
from experiments.sweeps.batched import BatchedRun, train_batched
from experiments.sweeps.directory import cell_folder
from experiments.sweeps.launchers import Stop
from experiments.sweeps.shared_programs import SharedPrograms, program_digest
from experiments.sweeps.study import Study, make_plan
from experiments.training.config import OutputConfig, load_dataset
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import locked, read_json
from tests.experiments.family_of import build

SMALL = {
    "task": "images",
    "glimpse_size": 4,
    "num_scales": 1,
    "num_glimpses": 2,
    "core": "rnn",
    "core_hidden": 8,
    "glimpse_hidden": 8,
    "location_hidden": 8,
    "glimpse_features": 8,
    "replicates": 2,
    "steps": 4,
    "batch_size": 8,
    "log_every": 2,
    "evaluate_every": 2,
    "eval_episodes": 2,
    "validation_episodes": 1,
}


def plan_of(images, axes=(), zipped=(), seeds=1, **overrides):
    settings = SMALL | {"data": str(images)} | overrides
    return make_plan(Study("ram", "cluttered60_dense", dict(axes), list(zipped), seeds, settings))


def digests(cells):
    digest_list = []
    for cell in cells:
        dataset = load_dataset(cell.config.data)
        digest_list.append(program_digest(cell.config, build(cell.config, dataset).model, dataset))
    return digest_list


def test_continuous_hyperparameters_and_seeds_share_a_program(images):
    continuous = {
        "sigma": ("2px", "0.3"),
        "sigma_final": ("1px", "0.2"),
        "learning_rate": (0.1, 0.2),
        "policy_weight": (0.5, 0.6),
        "value_weight": (0.5, 0.6),
        "classification_weight": (0.5, 0.6),
        "discount": (0.5, 0.6),
    }
    zipped = plan_of(images, zipped=[continuous], seeds=2)
    first, *_, last = zipped.cells
    assert all(first.value(name) != last.value(name) for name in (*continuous, "seed"))
    one, other = digests((first, last))
    assert one == other


@pytest.fixture(scope="module")
def digest(images):
    """Return the digest of the small cell."""
    (digest,) = digests(plan_of(images).cells)
    return digest


@pytest.mark.parametrize(
    "other",
    [
        {"core": "gru"},
        {"steps": 9},
        {"shift": 1},
        {"eval_episodes": 3},
        {"schedule": "linear"},
        *(
            pytest.param(other, marks=pytest.mark.slow)
            for other in (
                {"sigma_schedule": "linear"},
                {"advantage": "leave_one_out"},
                {"mean_activation": "linear"},
                {"locations": "random"},
            )
        ),
    ],
)
def test_settings_that_change_the_program_have_another_digest(images, digest, other):
    assert digests(plan_of(images, **other).cells) != [digest]


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jitted"])
def test_constants_are_part_of_the_digest(images, wrap):
    plan = plan_of(images, num_glimpses=1, replicates=1)
    (cell,), dataset = plan.cells, load_dataset(plan.cells[0].config.data)
    model = build(cell.config, dataset).model

    def shifted(by):
        table = np.full((1, 3), by, np.float32)

        add = wrap(lambda logits: logits + table)

        def predict(*args):
            return add(model.predict(*args))

        return Model(**(model._asdict() | {"predict": predict}))

    one, same, other = (program_digest(cell.config, shifted(by), dataset) for by in (1.0, 1.0, 2.0))
    assert one == same != other


@pytest.fixture(scope="module")
def swept(images, tmp_path_factory):
    """Run two cells that differ in seed and sigma alone, in turn in this process and batched in another.

    Returns them, their folders, and the statuses of the batched ones.
    """
    plan = plan_of(images, {"sigma": ("2px", "0.3")}, seeds=2)
    cells = [plan.cells[0], plan.cells[-1]]
    folders = {mode: tmp_path_factory.mktemp(mode) for mode in ("no", "in_turn", "vmap")}
    statuses, programs = [], SharedPrograms()
    for cell in cells:
        output = OutputConfig(run_dir=cell_folder(folders["no"], cell), plots=False)
        run(cell.family, dataclasses.replace(cell.config, output=output), cell.preset, "")
        job = together.Job(cell.identity(), str(cell_folder(folders["in_turn"], cell)), False, False, 2)
        together._run_alone(job, programs, load_dataset)
    (folders["vmap"] / "cells").mkdir()
    with Stop() as stop:
        local.execute(cells, folders["vmap"], lambda *status: statuses.append(status), stop, together="vmap")
    return cells, folders, statuses


def test_batched_and_in_turn_cells_agree_with_separate_ones(swept):
    cells, folders, _ = swept
    timed = {"seconds", "images_per_second"}
    for cell in cells:
        separate, *shared = (cell_folder(folders[mode], cell) for mode in ("no", "in_turn", "vmap"))
        for folder in shared:
            for one, other in zip(read_metrics(separate), read_metrics(folder), strict=True):
                assert one.keys() == other.keys()
                names = sorted(set(one) - timed)
                np.testing.assert_allclose([one[n] for n in names], [other[n] for n in names], rtol=1e-4, atol=1e-5)
            ours, theirs = (read_json(at / "results.json") for at in (folder, separate))
            for name in ("task", "family", "preset", "config", "seed", "steps", "episodes", "parameters", "test"):
                assert ours[name] == theirs[name], name
            assert read_json(folder / "config.json") == read_json(separate / "config.json")


def test_a_batch_locks_the_run_directories_of_its_cells(tmp_path, monkeypatch, capfd):
    jobs = [together.Job({}, str(tmp_path / name), False, False, 2) for name in ("a", "b")]
    alone = []

    def refused(jobs, programs, load):
        for job in jobs:
            with pytest.raises(ValueError, match="in use by another process"), locked(Path(job.run_dir)):
                pass
        raise ValueError("all were locked")

    def free(job, programs, load):
        with locked(Path(job.run_dir)):
            alone.append(job.run_dir)

    monkeypatch.setattr(together, "_run_batched", refused)
    monkeypatch.setattr(together, "_run_alone", free)
    together._run_batch(jobs, SharedPrograms(), load_dataset)
    assert "all were locked" in capfd.readouterr().err and alone == [job.run_dir for job in jobs]


def test_seeds_and_settings_differ_in_a_batch(swept):
    cells, folders, _ = swept
    one, other = (read_metrics(cell_folder(folders["vmap"], cell))[-1] for cell in cells)
    assert one["loss"] != other["loss"] and one["sigma_px"] != other["sigma_px"]


def test_every_cell_is_reported_as_finished(swept):
    cells, _, statuses = swept
    assert [cell for cell, status in statuses if status.state == "finished"] == cells
    assert {status.state for _, status in statuses} == {"running", "finished"}


@pytest.mark.slow
def test_batched_cells_start_from_the_parameters_of_another_run(swept, images, tmp_path):
    cells, folders, _ = swept
    former = cell_folder(folders["no"], cells[1])
    # These learning rates are too small to change the parameters.
    further = plan_of(images, {"learning_rate": (1e-12, 2e-12)}, init_from=str(former)).cells
    batch = [BatchedRun(cell.family, cell.config, cell.preset, cell_folder(tmp_path, cell)) for cell in further]
    (tmp_path / "cells").mkdir()
    train_batched(batch, SharedPrograms(), load_dataset)
    expected = read_run(former).params()
    for member in batch:
        params = read_run(member.run_dir).params(last=True)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-8), params, expected)
        assert member.experiment.training.seed != cells[1].config.training.seed, "the seeds must differ"
