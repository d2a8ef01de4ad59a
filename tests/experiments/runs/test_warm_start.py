"""Warm starts: from the glimpse network of another run, frozen or not, or from all its parameters; refusals."""

import json
import operator
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from common.data import blank_task, load_task
from experiments import dram
from experiments.families import FAMILIES
from experiments.families.dram import GLIMPSE_PARAMETERS
from experiments.runs.restore import read_run
from experiments.training.config import to_json
from experiments.training.run_directory import open_run, read_json
from tests.experiments.numbers_maker import FLAGS

pytestmark = pytest.mark.usefixtures("small_numbers")
SHORT = ["--steps", "2", "--log-every", "2", "--evaluate-every", "2"]


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train a run in ``run`` of an empty folder, and read it back."""
    monkeypatch.chdir(tmp_path)

    def call(*flags):
        dram.main([*FLAGS, "--run-dir", "run", *map(str, flags)])
        return read_run(Path("run"))

    return call


def parts(run):
    """Return the last parameters by network."""
    return {name: jax.tree.map(np.asarray, part) for name, part in run.state.params.items()}


def same(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def test_a_frozen_glimpse_network_does_not_change(readers):
    # The weights of the second decay, where they are not frozen.
    forward, backward = (parts(read_run(readers / name)) for name in ("forward", "backward"))
    assert same(forward[GLIMPSE_PARAMETERS], backward[GLIMPSE_PARAMETERS])
    assert not any(same(forward[name], backward[name]) for name in forward if name != GLIMPSE_PARAMETERS)
    saved = read_json(readers / "backward" / "config.json")["config"]
    assert saved["start"]["glimpse_network_from"] == str(readers / "forward") and saved["data"]["reverse"] is True


@pytest.mark.slow
def test_a_glimpse_network_that_is_not_frozen_is_trained(readers, train):
    folder = readers / "forward"
    # The same seed, so that everything else begins as it does there.
    frozen = read_run(readers / "backward")
    trained = train("--reverse", "--glimpse-network-from", folder, "--no-freeze-glimpse-network")
    assert not same(parts(trained)[GLIMPSE_PARAMETERS], parts(frozen)[GLIMPSE_PARAMETERS])


def test_init_from_starts_with_all_parameters_of_the_run_and_resumes_without_it(readers, train, capsys):
    # So small a rate leaves them as they were.
    flags = ["--init-from", "former", "--seed", "8", "--learning-rate", "1e-12", "--run-dir", "run", *SHORT]
    Path("former").symlink_to(readers / "forward")
    run = train(*flags)
    first = read_run(readers / "forward")
    for name, part in parts(first).items():
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), parts(run)[name], part)
    (start,) = read_json(Path("run/results.json"))["starts"]
    assert start["warm_start"] == {
        "run_dir": "former",
        "step": 150,
        "training_images": 150 * 16,
        "commit": read_json(readers / "forward" / "results.json")["commit"],
    }
    Path("former").unlink()
    dram.main([*FLAGS, *flags, "--resume"])
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_resumes_without_the_run_of_its_glimpse_network(readers, train, capsys):
    flags = ["--glimpse-network-from", "former", "--run-dir", "run", *SHORT]
    Path("former").symlink_to(readers / "forward")
    train(*flags)
    Path("former").unlink()
    dram.main([*FLAGS, *flags, "--resume"])
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, message",
    [
        ("--glimpse-network-from absent", "glimpse_network_from: run directory 'absent' holds no config.json"),
        ("--init-from {}/forward", "glimpse_size is 8 in that run but 12 here"),
        ("--glimpse-size 99", "glimpse_size 99: the finest patch must fit"),
        ("--num-images 10 --batch-size 16", "batch_size 16: there are 10 training images, so at most 10"),
        ("--task pairs100 --num-images 10", "num_images 10: only for rendered house numbers"),
        ("--no-freeze-glimpse-network", "freeze_glimpse_network False without glimpse_network_from, so it has"),
        (
            "--resize 200",
            "resize 200 (--resize): must be SIDE or HxW in pixels, such as 64 or 48x64; each side from 7 to 108",
        ),
    ],
)
def test_bad_input_is_refused_before_images_are_made(readers, flags, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments.training.config.blank_task", blank_task)
    monkeypatch.setattr("common.data.dataset.load_numbers", lambda *args, **options: pytest.fail("images are made"))
    monkeypatch.setattr("experiments.training.config.load_task", load_task)
    with pytest.raises(SystemExit, match="2"):
        dram.main(["house_numbers_32", *flags.format(readers).split()])
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--glimpse-network-from", "absent"], "glimpse_network_from: run directory 'absent' holds no config.json"),
        (
            ["--init-from", "a", "--glimpse-network-from", "b"],
            "init_from 'a' with glimpse_network_from 'b'",
        ),
        (["--init-from", "{}/forward", "--lower-hidden", "9"], "in that run but has shape [9, 4] here; give the model"),
        (["--glimpse-network-from", "{}/forward", "--num-scales", "1"], "num_scales is 2 in that run but 1 here"),
        (["--glimpse-network-from", "{}/forward", "--unit-width", "2"], "unit_width is 1 in that run but 2 here"),
        (["--init-from", "{}/forward", "--growth", "3"], "growth is 2 in that run but 3 here"),
        (["--init-from", "{}/forward", "--subtract-mean"], "subtract_mean is False in that run but True here"),
        (["--init-from", "{}/forward", "--combine", "add"], "combine is multiply in that run but add here"),
        (["--init-from", "{}/forward", "--unit-width", "2"], "unit_width is 1 in that run but 2 here"),
        (["--init-from", "{}/forward", "--core", "gru"], "core is rnn in that run but gru here"),
        (
            ["--init-from", "{}/forward", "--mean-activation", "linear"],
            "mean_activation is tanh in that run but linear",
        ),
        (["--init-from", "run/", "--overwrite"], "init_from 'run': the new run would replace it; give another"),
        (["--glimpse-network-from", "ram"], "glimpse_network_from 'ram' is no run of experiments.dram"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_parameters_that_do_not_fit_are_refused_in_one_line(readers, tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.chdir(tmp_path)
    if "ram" in flags:
        _, experiment = FAMILIES["ram"].presets["quick"]
        open_run(Path("ram"), {"family": "ram", "preset": "quick", "config": to_json(experiment)}, resume=False)
    with pytest.raises(SystemExit) as stop:
        dram.main([*FLAGS, "--run-dir", "run", *(flag.format(readers) for flag in flags)])
    line = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and line.startswith("error: ") and message in line
    assert not Path("run").exists()


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_the_settings_of_warm_starts_exist(family):
    for start in family.warm_starts.values():
        model = start.model or family.experiment().model
        assert all(operator.attrgetter(setting)(model) is not None for setting in start.settings)


def test_older_runs_without_these_fields_are_read(readers, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(readers / "forward", folder)
    identity = read_json(folder / "config.json")
    del identity["config"]["start"]
    (folder / "config.json").write_text(json.dumps(identity))
    assert read_run(folder).experiment == read_run(readers / "forward").experiment
