"""Killed, interrupted and damaged runs resume to the same bits as an undisturbed run."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import cnn, ram
from experiments.training import run_directory
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import read_json
from tests.docs.pages import unexplained_names
from tests.experiments.training.small_runs import save_images

ROOT = Path(__file__).parents[3]
STEPS = 24
FLAGS = (
    "mnist28 --task images --network fc --units 8 --no-plots --batch-size 8 --log-every 3 --evaluate-every 2"
    f" --steps {STEPS} --learning-rate 0.01 --seed 3 --data images.npz --run-dir run"
).split()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Make a folder with the images and an undisturbed run."""
    folder = tmp_path_factory.mktemp("whole")
    save_images(folder, 90, 8)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        cnn.main(FLAGS)
    return folder


@pytest.fixture
def here(whole, tmp_path, monkeypatch):
    """Make an empty folder with the images the current one; other processes import from the project."""
    shutil.copy(whole / "images.npz", tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start(*flags):
    """Start a command in another process."""
    return subprocess.Popen(
        [sys.executable, "-m", "experiments.cnn", *FLAGS, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def latest():
    """Return the latest step with a checkpoint in the run of the current folder."""
    names = os.listdir("run/checkpoints") if Path("run/checkpoints").is_dir() else []
    return max((int(name) for name in names if name.isdecimal()), default=0)


def wait_until(process, condition):
    """Wait until the condition holds; fail if the process ends before."""
    deadline = time.monotonic() + 120
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.001)


def untimed(folder):
    timed = ("seconds", "images_per_second")
    return [{k: v for k, v in record.items() if k not in timed} for record in read_metrics(folder / "run")]


def assert_same_run(folder, whole):
    """Check that the states are the same to the bit, and the metrics too except for times."""
    digests = [read_json(f / "run" / "checkpoints" / str(STEPS) / "digest.json")["state"] for f in (folder, whole)]
    assert digests[0] == digests[1]
    assert untimed(folder) == untimed(whole)
    assert [record["step"] for record in untimed(folder)] == [
        s for s in range(1, STEPS + 1) if s % 2 == 0 or s % 3 == 0
    ]
    results = [read_json(f / "run" / "results.json") for f in (folder, whole)]
    for result in results:
        del result["wall_seconds"], result["commit"], result["starts"]
    assert results[0] == results[1]
    assert sorted(os.listdir(folder / "run")) == sorted(os.listdir(whole / "run"))
    assert sorted(os.listdir(folder / "run" / "checkpoints")) == sorted(os.listdir(whole / "run" / "checkpoints"))


@pytest.mark.parametrize("kills", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_a_killed_run_resumes_to_the_same_bits(here, whole, kills):
    delays = []
    for attempt in range(kills):
        begin = latest()
        process = start(*(["--resume"] if attempt else []))
        wait_until(process, lambda begin=begin: latest() > begin)
        if attempt == 0:  # In the middle of writing a checkpoint.
            wait_until(process, Path("run/checkpoints/partial").is_dir)
        else:
            delays.append(random.uniform(0, 0.1))
            time.sleep(delays[-1])
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL, f"killed {delays} s after a checkpoint"
        if attempt == 0:
            assert Path("run/checkpoints/partial").is_dir()
    assert 0 < latest() < STEPS, delays
    cnn.main([*FLAGS, "--resume"])
    assert_same_run(here, whole)


def test_ctrl_c_prints_the_command_that_resumes(here, whole):
    process = start("--overwrite")
    wait_until(process, lambda: latest() >= 4)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130 and out == "" and "Traceback" not in err
    line = err.splitlines()[-1]
    message, _, command = line.partition("; resume with: ")
    step = int(message.removeprefix("stopped after step ").removesuffix(", which is saved"))
    assert step == latest() and 4 <= step <= STEPS
    assert command.endswith(" --run-dir run --resume") and "--overwrite" not in command
    pasted = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert pasted.returncode == 0, pasted.stderr
    assert f"resuming after step {step}" in pasted.stderr
    assert_same_run(here, whole)


@pytest.mark.slow
@pytest.mark.fault("signals", "exact")
@pytest.mark.parametrize("step", [2, 20])
@pytest.mark.parametrize("names", ["SIGINT", "SIGTERM", "SIGHUP", "SIGINT SIGINT", "SIGKILL"])
def test_a_run_that_any_signal_ends_resumes_to_the_same_bits(here, whole, names, step):
    process = start()
    wait_until(process, lambda: latest() >= step)
    for name in names.split():
        process.send_signal(getattr(signal, name))
    out, err = process.communicate(timeout=120)
    killed = names == "SIGKILL"
    assert process.returncode == (-signal.SIGKILL if killed else 130) and out == "" and "Traceback" not in err
    assert killed or len(names.split()) > 1 or "resume with: " in err.splitlines()[-1]
    cnn.main([*FLAGS, "--resume"])
    assert_same_run(here, whole)


def copy_run(whole, here):
    shutil.copytree(whole / "run", here / "run")
    (here / "run" / "results.json").unlink()
    kept = latest()
    assert kept == STEPS and (here / "run" / "checkpoints" / str(STEPS - 2)).is_dir()
    return here / "run" / "checkpoints"


def largest_file(folder):
    return max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)


def truncate(folder):
    path = largest_file(folder)
    path.write_bytes(path.read_bytes()[:-20])


def flip_a_bit(folder):
    path = largest_file(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def leave_nothing(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, leave_nothing])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(here, whole, capfd, damage):
    checkpoints = copy_run(whole, here)
    damage(checkpoints / str(STEPS))
    cnn.main([*FLAGS, "--resume"])
    _, _, warning, resuming, *_ = capfd.readouterr().err.splitlines()
    assert f"checkpoints/{STEPS}' cannot be read" in warning and "trying the one before" in warning
    assert resuming == f"resuming after step {STEPS - 2}"
    assert_same_run(here, whole)


def test_a_run_without_a_readable_checkpoint_is_refused(here, whole, capfd):
    checkpoints = copy_run(whole, here)
    for step in (STEPS - 2, STEPS):
        (checkpoints / str(step) / "digest.json").unlink()
    with pytest.raises(SystemExit) as stop:
        cnn.main([*FLAGS, "--resume"])
    _, _, *warnings, error = capfd.readouterr().err.splitlines()
    assert stop.value.code == 2 and len(warnings) == 2 and all("cannot be read" in line for line in warnings)
    assert error.startswith("error: ") and "no checkpoint of 2 can be read" in error and "run/checkpoints" in error


def test_a_finished_run_is_only_evaluated_when_resumed(here, whole, capfd):
    copy_run(whole, here)
    begun = time.monotonic()
    cnn.main([*FLAGS, "--resume"])
    assert f"resuming after step {STEPS}" in capfd.readouterr().err
    assert time.monotonic() - begun < 30
    assert_same_run(here, whole)


def test_a_finished_run_resumes_with_more_steps(here, whole, capfd):
    """The rate from there on is that of the longer run; with a constant rate every bit is."""
    half = STEPS // 2
    cnn.main([*FLAGS, "--steps", str(half)])
    cnn.main([*FLAGS, "--resume"])
    message = capfd.readouterr().err
    assert f"extended from {half} to {STEPS} steps: the learning rate and sigma follow the schedules" in message
    rates = [[line["learning_rate"] for line in untimed(f) if line["step"] > half] for f in (here, whole)]
    assert rates[0] == rates[1] and max(rates[0]) > 0
    for name in ("config.json", "results.json"):
        saved = read_json(here / "run" / name)
        assert saved["extended_from"] == [half] and saved["config"]["training"]["steps"] == STEPS
    with pytest.raises(SystemExit, match="2"):
        cnn.main([*FLAGS, "--resume", "--steps", str(half)])
    assert f"its config.training.steps is {STEPS}, now {half}; it can be resumed with more" in capfd.readouterr().err
    constant = ["--schedule", "constant", "--log-every", str(half), "--evaluate-every", str(half)]
    cnn.main([*FLAGS, *constant, "--overwrite", "--steps", str(half)])
    cnn.main([*FLAGS, *constant, "--resume"])
    states = [read_json(here / "run" / "checkpoints" / str(STEPS) / "digest.json")["state"]]
    cnn.main([*FLAGS, *constant, "--overwrite"])
    states += [read_json(here / "run" / "checkpoints" / str(STEPS) / "digest.json")["state"]]
    assert states[0] == states[1] and "extended_from" not in read_json(here / "run" / "results.json")


def test_a_run_killed_before_its_first_checkpoint_starts_over(here, whole):
    Path("run").mkdir()
    shutil.copy(whole / "run" / "config.json", "run")
    (here / "run" / "metrics.jsonl").write_text(json.dumps({"step": 2, "loss": 0.0}) + '\n{"step": 3, "lo')
    cnn.main([*FLAGS, "--resume"])
    assert_same_run(here, whole)


def test_a_run_directory_in_use_by_another_process_is_refused(here, whole, capfd):
    shutil.copytree(whole / "run", "run")
    before = {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}
    for flag in ("--resume", "--overwrite"):
        with run_directory.locked(Path("run")), pytest.raises(SystemExit, match="2"):
            cnn.main([*FLAGS, flag])
        assert "error: run directory 'run' is in use by another process" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()} == before


def test_a_run_that_appears_while_images_are_loaded_is_kept(here, whole, capfd, monkeypatch):
    def begin(*args):
        shutil.copytree(whole / "run", "run")
        return None, None

    monkeypatch.setattr("experiments.runs.run.begin", begin)
    with pytest.raises(SystemExit, match="2"):
        cnn.main(FLAGS)
    assert "error: run directory 'run' exists: give --resume" in capfd.readouterr().err
    assert Path("run/results.json").exists() and Path("run/checkpoints").exists()


def test_an_agent_resumes_with_its_whole_training_state(whole, monkeypatch, tmp_path):
    """It holds the moving average of the rewards and the moments of two optimisers."""
    flags = (
        "cluttered60_dense --task images --glimpse-size 4 --num-scales 1 --num-glimpses 2 --core rnn --core-hidden 8"
        " --sigma 2px --glimpse-hidden 8 --location-hidden 8 --glimpse-features 8 --no-plots --batch-size 8"
        " --log-every 2 --steps 4 --evaluate-every 2 --validation-episodes 1 --eval-episodes 1"
        " --advantage moving_average --optimizer muon"
        " --surrogate ppo_clip --passes 2 --minibatches 2 --max-kl 0.5"
        f" --data {whole}/images.npz --run-dir run"
    ).split()
    monkeypatch.chdir(tmp_path)
    ram.main(flags)
    assert unexplained_names(Path("run")) == set() and "kl" in untimed(tmp_path)[-1]
    left, digest = untimed(tmp_path), Path("run/checkpoints/4/digest.json")
    state = read_json(digest)["state"]
    shutil.rmtree(digest.parent)
    ram.main([*flags, "--resume"])
    assert read_json(digest)["state"] == state
    assert untimed(tmp_path) == left
