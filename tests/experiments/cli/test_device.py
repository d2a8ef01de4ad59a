"""A device that does not exist is one line, before anything is computed or written."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from experiments import (
    check_estimator,
    cost,
    diagnose,
    evaluate,
    export,
    focus,
    forward_backward,
    look,
    ram,
    train,
)
from experiments.benchmarks import convolution_speed, training_speed
from experiments.cli import device
from experiments.cli.device import keep_programs, require_device, require_device_of_children
from experiments.studies import gradient_variance
from experiments.sweeps import driver
from experiments.sweeps.options import parse

ROOT = Path(__file__).parents[3]
LINE = (
    "error: JAX_PLATFORMS 'gppu': no such device can be used here (there is none); there is cpu: unset JAX_PLATFORMS, "
    "or set it to one of these\n"
)
COMMANDS = [
    (ram, "quick"),
    (train, "ram quick"),
    (evaluate, "run"),
    (diagnose, "run"),
    (look, "quick picture.png"),
    (export, "run agent.npz"),
    (focus, "run"),
    (forward_backward, "run other"),
    (cost, "--preset ram/quick"),
    (check_estimator, "gain"),
    (gradient_variance, "run"),
    (training_speed, ""),
    (convolution_speed, ""),
]


@pytest.fixture
def no_device(monkeypatch):
    """Has JAX find no device of the kind that the environment asks for, and a CPU when it may choose."""

    def devices():
        raise RuntimeError("there is none. (set JAX_PLATFORMS='' to choose)\nmore")

    platforms = jax.config.jax_platforms
    monkeypatch.setenv("JAX_PLATFORMS", "gppu")
    monkeypatch.setattr(jax, "devices", devices)
    yield
    jax.config.update("jax_platforms", platforms)


@pytest.mark.parametrize("module, args", COMMANDS, ids=[module.__name__ for module, _ in COMMANDS])
def test_every_command_that_computes_asks_for_the_device_first(no_device, module, args, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        module.main(args.split())
    out, err = capsys.readouterr()
    assert (stop.value.code, out, err.count("\n")) == (2, "", 1) and err == LINE
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_device(no_device, capsys):
    with pytest.raises(SystemExit) as stop:
        ram.main(["quick", "--help"])
    assert stop.value.code == 0 and "--learning-rate" in capsys.readouterr().out


def test_a_sweep_asks_for_the_device_of_its_cells_before_they_start(tmp_path, monkeypatch, capsys):
    """In another process, since its own leaves the memory of a GPU to its cells."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", "gppu")
    asked = subprocess.CompletedProcess([], 1, "", "Traceback\nValueError: JAX_PLATFORMS 'gppu': there is none\n")
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: asked)
    monkeypatch.setattr(jax, "devices", lambda: pytest.fail("asked for in this process"))
    study, options = parse(["ram", "--preset", "quick"])
    with pytest.raises(SystemExit, match="2"):
        driver.run_sweep(study, options, "")
    assert capsys.readouterr().err == "error: JAX_PLATFORMS 'gppu': there is none\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asked", [None, "cpu"])
def test_a_sweep_starts_no_process_to_ask_for_what_always_exists(asked, monkeypatch):
    for variable in ("JAX_PLATFORMS", "JAX_PLATFORM_NAME"):
        monkeypatch.delenv(variable, raising=False)
    if asked:
        monkeypatch.setenv("JAX_PLATFORMS", asked)
    monkeypatch.setattr(subprocess, "run", lambda *args, **options: pytest.fail("a process was started"))
    require_device_of_children()


def test_a_device_that_exists_is_started():
    require_device()


@pytest.mark.slow
@pytest.mark.parametrize("variable, value", [("JAX_PLATFORMS", "gppu"), ("JAX_PLATFORM_NAME", "gppu")])
def test_a_misspelt_device_is_one_line(variable, value, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = [sys.executable, "-m", "experiments.ram", "quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (
        done.returncode == 2 and done.stderr.startswith(f"error: {variable} 'gppu': ") and done.stderr.count("\n") == 1
    )


@pytest.fixture
def cache_dir(monkeypatch, tmp_path):
    """Yield an empty cache folder, and a function that returns where programs are kept."""
    monkeypatch.setenv("HARD_ATTENTION_CACHE", str(tmp_path / "cache"))
    before = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", None)
    yield tmp_path / "cache", lambda: jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", before)


def test_programs_are_kept_in_the_cache_folder_by_kind_of_processor(cache_dir, monkeypatch):
    cache, kept_in = cache_dir
    keep_programs()
    here = Path(kept_in())
    assert here.is_dir() and here.parent == cache / "programs"
    jax.config.update("jax_compilation_cache_dir", None)
    monkeypatch.setattr(device.platform, "machine", lambda: "another")
    keep_programs()
    assert Path(kept_in()).parent == here.parent and Path(kept_in()) != here


def test_a_folder_that_the_user_names_or_that_cannot_be_made_is_left_alone(cache_dir):
    cache, kept_in = cache_dir
    cache.write_text("a file")
    keep_programs()
    assert kept_in() is None
    jax.config.update("jax_compilation_cache_dir", "mine")
    keep_programs()
    assert kept_in() == "mine" and not Path("mine").exists()


def test_the_oldest_programs_are_deleted(cache_dir, monkeypatch):
    monkeypatch.setattr(device, "MOST_PROGRAMS", 250)
    folder = cache_dir[0] / "programs/old"
    folder.mkdir(parents=True)
    for age, name in enumerate("abcd"):
        (folder / name).write_bytes(bytes(100))
        os.utime(folder / name, (1000 - age, 1000 - age))
    keep_programs()
    assert sorted(path.name for path in folder.iterdir()) == ["a", "b"]
