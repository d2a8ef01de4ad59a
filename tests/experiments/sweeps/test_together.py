"""Cells that share a process and a compiled program: what they learn is what each learns by itself."""

from pathlib import Path

import jax
import numpy as np
import pytest

from common.training.step import Model
from experiments.cli.command_line import with_output
from experiments.sweeps import local, together
from experiments.sweeps.directory import cell_folder
from experiments.sweeps.launchers import Stop
from experiments.sweeps.shared_programs import SharedPrograms, program_digest
from experiments.sweeps.study import Study, make_plan
from experiments.training.config import load_dataset
from experiments.training.restore import read_run
from experiments.training.run import run
from experiments.training.run_directory import locked, read_json, read_metrics
from tests.experiments import numbers_maker
from tests.experiments.family_of import build

SMALL = {
    "task": "images",
    "glimpse_size": 4,
    "num_scales": 1,
    "num_glimpses": 2,
    "core_hidden": 8,
    "glimpse_hidden": 8,
    "location_hidden": 8,
    "glimpse_features": 8,
    "replicates": 2,
    "steps": 6,
    "batch_size": 8,
    "log_every": 3,
    "evaluate_every": 3,
    "eval_episodes": 2,
    "validation_episodes": 1,
}

SHARED_WITH_DRAM = {"task", "num_scales", "steps", "batch_size", "log_every", "evaluate_every", "eval_episodes"}


def plan_of(images, axes=(), zipped=(), seeds=1, **overrides):
    settings = SMALL | {"data": str(images)} | overrides
    return make_plan(Study("ram", "quick", dict(axes), list(zipped), seeds, settings))


def digests(cells):
    found = []
    for cell in cells:
        dataset = load_dataset(cell.config.data)
        found.append(program_digest(cell.config, build(cell.config, dataset).model, dataset))
    return found


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


@pytest.mark.parametrize(
    "other",
    [
        {"num_glimpses": 3},
        {"core": "gru"},
        {"sigma_schedule": "linear"},
        {"advantage": "leave_one_out"},
        {"steps": 9},
        {"shift": 1},
        {"eval_episodes": 3},
        {"mean_activation": "linear"},
        {"schedule": "linear"},
        {"policy": "random"},
    ],
)
def test_what_changes_the_program_does_not_share_it(images, other):
    (plain,), (changed,) = digests(plan_of(images).cells), digests(plan_of(images, **other).cells)
    assert plain != changed


@pytest.mark.parametrize("wrap", [lambda f: f, jax.jit], ids=["plain", "jitted"])
def test_constants_belong_to_the_program(images, wrap):
    plan = plan_of(images)
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
    """Two cells that differ in seed and sigma, by themselves, in turn and batched: their folders, and what was told."""
    plan = plan_of(images, {"sigma": ("2px", "0.3")}, seeds=2)
    cells = [plan.cells[0], plan.cells[-1]]
    folders = {how: tmp_path_factory.mktemp(how) for how in ("no", "in_turn", "vmap")}
    told = {how: [] for how in folders}
    for cell in cells:
        output = {"run_dir": cell_folder(folders["no"], cell), "plots": False}
        run(with_output(cell.config, **output), cell.preset, "")
    for how in ("in_turn", "vmap"):
        (folders[how] / "cells").mkdir()
        with Stop() as stop:
            local.execute(cells, folders[how], lambda *said, to=told[how]: to.append(said), stop, together=how)
    return cells, folders, told


def test_batched_in_turn_and_separate_cells_agree(swept):
    cells, folders, _ = swept
    timed = {"seconds", "images_per_second"}
    for cell in cells:
        separate, *shared = (cell_folder(folders[how], cell) for how in ("no", "in_turn", "vmap"))
        for folder in shared:
            for one, other in zip(read_metrics(separate), read_metrics(folder), strict=True):
                assert one.keys() == other.keys()
                names = sorted(set(one) - timed)
                np.testing.assert_allclose([one[n] for n in names], [other[n] for n in names], rtol=1e-4, atol=1e-5)
            ours, theirs = (read_json(at / "results.json") for at in (folder, separate))
            for name in ("task", "family", "preset", "config", "seed", "steps", "episodes", "parameters", "test"):
                assert ours[name] == theirs[name], name
            assert read_json(folder / "config.json") == read_json(separate / "config.json")


def test_a_batch_holds_the_folders_of_its_runs(tmp_path, monkeypatch, capfd):
    jobs = [together.Job({}, str(tmp_path / name), False, False, 2) for name in ("a", "b")]
    alone = []

    def refused(jobs, programs, load):
        for job in jobs:
            with pytest.raises(ValueError, match="in use by another process"), locked(Path(job.run_dir)):
                pass
        raise ValueError("all were held")

    def free(job, programs, load):
        with locked(Path(job.run_dir)):
            alone.append(job.run_dir)

    monkeypatch.setattr(together, "_run_batched", refused)
    monkeypatch.setattr(together, "_run_alone", free)
    together._run_batch(jobs, SharedPrograms(), load_dataset)
    assert "all were held" in capfd.readouterr().err and alone == [job.run_dir for job in jobs]


def test_seeds_and_settings_differ_in_a_batch(swept):
    cells, folders, _ = swept
    one, other = (read_metrics(cell_folder(folders["vmap"], cell))[-1] for cell in cells)
    assert one["loss"] != other["loss"] and one["sigma_px"] != other["sigma_px"]


@pytest.mark.parametrize("how", ["in_turn", "vmap"])
def test_every_cell_is_told_to_have_finished(swept, how):
    cells, _, told = swept
    assert [cell for cell, status in told[how] if status.state == "finished"] == cells
    assert {status.state for _, status in told[how]} == {"running", "finished"}


def test_batched_cells_begin_with_the_parameters_of_another_run(images, tmp_path):
    tiny = {"glimpse_network": "dense", "lower_hidden": 8, "upper_hidden": 8, "context_size": 8}
    shared = {name: SMALL[name] for name in SMALL if name in SHARED_WITH_DRAM}
    settings = shared | tiny | {"data": str(images), "glimpse_size": 10, "glimpses_per_target": 1}
    former = make_plan(Study("dram", "pairs100", {}, [], 2, settings)).cells[1]
    numbers_maker.leave(tmp_path / "former", former.preset, former.config, load_dataset(former.config.data))
    # So small rates leave them as they were.
    axes = {"learning_rate": (1e-12, 2e-12)}
    cells = make_plan(Study("dram", "pairs100", axes, [], 1, settings | {"init_from": str(tmp_path / "former")})).cells
    (tmp_path / "sweep" / "cells").mkdir(parents=True)
    with Stop() as stop:
        local.execute(cells, tmp_path / "sweep", lambda *said: None, stop, together="vmap")
    expected = read_run(tmp_path / "former").params()
    for cell in cells:
        found = read_run(cell_folder(tmp_path / "sweep", cell)).params(last=True)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, atol=1e-8), found, expected)
        assert cell.config.training.seed != former.config.training.seed, "which would begin with the same"
