"""Warm starts: from the glimpse network of another run, frozen or not, or from all its parameters; refusals."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from common.data import blank_task, load_task
from experiments import dram, ram
from experiments.families.dram import GLIMPSE_NETWORK
from experiments.training.restore import read_run
from experiments.training.run_directory import read_json
from tests.experiments.numbers_maker import FLAGS

pytestmark = pytest.mark.usefixtures("small_numbers")


RAM = (
    "quick --task pairs100 --glimpse-size 4 --num-scales 2 --num-glimpses 2 --core rnn --core-hidden 4"
    " --glimpse-hidden 4 --location-hidden 4 --glimpse-features 4"
    " --steps 1 --batch-size 8 --eval-episodes 1 --no-plots --run-dir ram"
)


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
    assert same(forward[GLIMPSE_NETWORK], backward[GLIMPSE_NETWORK])
    assert not any(same(forward[name], backward[name]) for name in forward if name != GLIMPSE_NETWORK)
    saved = read_json(readers / "backward" / "config.json")["config"]
    assert saved["start"]["glimpse_network_from"] == str(readers / "forward") and saved["data"]["reverse"] is True


@pytest.mark.slow
def test_a_glimpse_network_that_is_not_frozen_is_trained(readers, train):
    folder = readers / "forward"
    # The same seed, so that everything else begins as it does there.
    frozen = read_run(readers / "backward")
    trained = train("--reverse", "--glimpse-network-from", folder, "--no-freeze-glimpse-network")
    assert not same(parts(trained)[GLIMPSE_NETWORK], parts(frozen)[GLIMPSE_NETWORK])


def test_init_from_starts_with_all_parameters_of_the_run(readers, train):
    # So small a rate leaves them as they were.
    run = train("--init-from", readers / "forward", "--seed", 8, "--learning-rate", 1e-12)
    for name, part in parts(read_run(readers / "forward")).items():
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-8), parts(run)[name], part)


def test_a_run_resumes_without_the_run_of_its_warm_start(readers, train, capsys):
    flags = ["--glimpse-network-from", "former", "--run-dir", "run"]
    Path("former").symlink_to(readers / "forward")
    train(*flags)
    Path("former").unlink()
    dram.main([*FLAGS, *flags, "--resume"])
    assert "test accuracy" in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags, said",
    [
        ("--glimpse-network-from absent", "glimpse_network_from: run directory 'absent' holds no config.json"),
        ("--init-from {}/forward", "give the model the same settings"),
        ("--glimpse-size 99", "glimpse_size 99: the finest patch must fit"),
        ("--num-images 10 --batch-size 16", "batch_size 16: larger than the train split, so at most 10"),
        ("--task pairs100 --num-images 10", "num_images 10: only for rendered house numbers"),
        ("--no-freeze-glimpse-network", "freeze_glimpse_network False: is for --glimpse-network-from alone"),
        (
            "--resize 200",
            "resize 200 (--resize): must be SIDE or HxW in pixels, such as 64 or 48x64; each side from 7 to 108",
        ),
    ],
)
def test_bad_input_is_refused_before_images_are_made(readers, flags, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("experiments.training.config.blank_task", blank_task)
    monkeypatch.setattr("common.data.dataset.load_numbers", lambda *args, **options: pytest.fail("images are made"))
    monkeypatch.setattr("experiments.training.config.load_task", load_task)
    with pytest.raises(SystemExit, match="2"):
        dram.main(["house_numbers_32", *flags.format(readers).split()])
    assert said in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    "flags, said",
    [
        (["--glimpse-network-from", "absent"], "glimpse_network_from: run directory 'absent' holds no config.json"),
        (
            ["--init-from", "a", "--glimpse-network-from", "b"],
            "init_from 'a' with glimpse_network_from 'b'",
        ),
        (["--init-from", "{}/forward", "--lower-hidden", "9"], "here [9, 4]; give the model the same settings"),
        (["--glimpse-network-from", "{}/forward", "--num-scales", "1"], "what/kernel is [128, 24], here [64, 24]"),
        (["--glimpse-network-from", "{}/forward", "--subtract-mean"], "its subtract_mean is False, here True"),
        (["--glimpse-network-from", "{}/forward", "--combine", "add"], "its combine is multiply, here add"),
        (["--glimpse-network-from", "{}/forward", "--unit-width", "2"], "its unit_width is 1, here 2"),
        (["--glimpse-network-from", "ram"], "glimpse_network_from 'ram' is no run of experiments.dram"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_parameters_that_do_not_fit_are_refused_in_one_line(readers, tmp_path, monkeypatch, capsys, flags, said):
    monkeypatch.chdir(tmp_path)
    if "ram" in flags:
        ram.main(RAM.split())
        capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        dram.main([*FLAGS, "--run-dir", "run", *(flag.format(readers) for flag in flags)])
    line = capsys.readouterr().err.splitlines()[-1]
    assert stop.value.code == 2 and line.startswith("error: ") and said in line
    assert not Path("run").exists()


def test_older_runs_without_these_fields_are_read(readers, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(readers / "forward", folder)
    identity = read_json(folder / "config.json")
    del identity["config"]["start"]
    (folder / "config.json").write_text(json.dumps(identity))
    assert read_run(folder).experiment == read_run(readers / "forward").experiment
