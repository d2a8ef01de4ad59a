"""Provenance: results record each start of a run, and a run is not resumed on other images or code."""

import contextlib
import dataclasses
import hashlib
import re
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from common.data import load_task
from common.data.blank import blank_task
from common.data.source import Source
from experiments import cnn, evaluate, ram
from experiments.sweeps.study import Study, make_plan
from experiments.training import provenance
from experiments.training.run_directory import read_json

FLAGS = (
    "mnist28 --task images --network fc --units 8 --no-plots --batch-size 8 --evaluate-every 2 --steps 4 --shift 0"
    " --data images.npz --run-dir run"
)
RESULTS = Path("run/results.json")
LABELS = np.arange(60) % 3
IMAGES = np.random.default_rng(0).integers(0, 256, (60, 4, 4), dtype=np.uint8)


@pytest.fixture(autouse=True)
def images(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("images.npz", images=IMAGES, labels=LABELS)


def train(*flags):
    cnn.main([*FLAGS.split(), *flags])


def refused(capsys, main, args):
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main(args)
    return capsys.readouterr().err.splitlines()[-1]


def test_results_record_each_start(monkeypatch, capsys):
    monkeypatch.setattr(provenance, "commit", lambda *sources: "a1")
    train()
    first = read_json(RESULTS)
    monkeypatch.setattr(provenance, "commit", lambda *sources: "b2")
    train("--resume")
    assert "note: commit has changed from a1 to b2" in capsys.readouterr().err
    results = read_json(RESULTS)
    assert [start["step"] for start in results["starts"]] == [0, 4]
    assert results["starts"][0] == first["starts"][0] and first["commit"] == "a1" and results["commit"] == "b2"


def test_a_run_is_not_resumed_on_other_images(capsys):
    train()
    np.savez("images.npz", images=255 - IMAGES, labels=LABELS)
    line = "error: run directory 'run': the validation or test images have changed since this run began (SHA-256 "
    assert refused(capsys, evaluate.main, ["run"]).startswith(line)
    before = Path("run/config.json").read_bytes()
    for flags in ([], ["--steps", "8"]):
        assert refused(capsys, cnn.main, [*FLAGS.split(), "--resume", *flags]).startswith(line)
    assert Path("run/config.json").read_bytes() == before
    np.savez("images.npz", images=IMAGES, labels=LABELS)
    evaluate.main(["run"])


@pytest.mark.parametrize("change", ["image", "label"])
def test_other_training_images_are_noticed(capsys, change):
    train()
    arrays = {"images": IMAGES.copy(), "labels": LABELS.copy()}
    split = load_task("images", "images.npz")
    first = int(np.flatnonzero((np.asarray(split.train.images[0])[..., 0] == IMAGES).all(axis=(1, 2)))[0])
    arrays["images"][first] ^= change == "image"
    arrays["labels"][first] = (LABELS[first] + (change == "label")) % 3
    np.savez("images.npz", **arrays)
    line = "run directory 'run': the training images have changed since this run began (SHA-256 "
    assert refused(capsys, cnn.main, [*FLAGS.split(), "--resume"]).startswith(f"error: {line}")
    evaluate.main(["run"])
    assert f"note: {line}" in capsys.readouterr().err


@pytest.mark.parametrize("train", [True, False])
def test_training_images_that_are_not_loaded_are_not_compared(tmp_path, train):
    task = blank_task("mnist28")
    provenance.add_start(tmp_path, provenance.image_digests(task), {})
    other = dataclasses.replace(task, train=Source(jnp.full_like(task.train.images, 255), task.train.labels))
    with pytest.raises(ValueError, match="the training images") if train else contextlib.nullcontext():
        provenance.check_images(tmp_path, provenance.image_digests(other, train))


def test_the_digest_covers_validation_and_test_images_and_labels():
    task = blank_task("mnist28")
    white = Source(jnp.full_like(task.test.images, 255), task.test.labels)
    relabelled = Source(task.test.images, task.test.labels + 1)
    changes = [{split: source} for split in ("validation", "test") for source in (white, relabelled)]
    digests = {provenance.digest(dataclasses.replace(task, **change)) for change in [{}, *changes]}
    assert len(digests) == 5
    assert provenance.digest(dataclasses.replace(task, train=white)) == provenance.digest(task)


def test_an_older_run_without_recorded_starts_resumes_and_compares_its_images_once(tmp_path, capsys):
    train()
    (tmp_path / "run" / "starts.json").unlink()
    train("--resume")
    assert capsys.readouterr().err.count("the images are not compared with those of the run") == 1
    assert [start["step"] for start in read_json(RESULTS)["starts"]] == [4]


def test_commit_and_device_are_recorded():
    assert re.fullmatch(r"CPU, \w+, \d+ cores?", provenance.device())
    commit = provenance.commit()
    assert commit is None or re.fullmatch("[0-9a-f]{40}(-dirty)?", commit)


@pytest.fixture
def git():
    """Runs git in a folder."""

    def call(folder, *words):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        done = subprocess.run(["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    return call


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A file that stands for the module in a folder that stands for the project."""
    path = tmp_path / "project" / "experiments" / "training" / "code.py"
    path.parent.mkdir(parents=True)
    path.write_text("x = 1")
    monkeypatch.setattr(provenance, "__file__", str(path))
    return path


def test_the_commit_is_marked_if_files_were_changed(tmp_path, code, git):
    project = tmp_path / "project"
    assert provenance.commit() is None
    git(project, "init")
    git(project, "add", ".")
    git(project, "commit", "-m", "one")
    assert provenance.commit() == git(project, "rev-parse", "HEAD")
    code.write_text("x = 2")
    assert provenance.commit() == git(project, "rev-parse", "HEAD") + "-dirty"
    git(project, "checkout", str(code))
    own = project / "my_reward.py"
    own.write_text("")
    assert provenance.commit() == git(project, "rev-parse", "HEAD")
    assert provenance.commit([own]) == git(project, "rev-parse", "HEAD") + "-dirty", "a file of the run is not tracked"
    git(project, "add", ".")
    git(project, "commit", "-m", "two")
    assert provenance.commit([own]) == git(project, "rev-parse", "HEAD")


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("place", [".", "project"])
def test_the_commit_of_another_repository_is_not_recorded(tmp_path, code, git, place, tracked):
    """The code is installed or unpacked in it, perhaps as the only thing, or is a copy that it tracks."""
    theirs = tmp_path / place
    git(theirs, "init")
    (theirs / "theirs.py").write_text("")
    git(theirs, "add", "." if tracked else "theirs.py")
    git(theirs, "commit", "-m", "theirs")
    assert (provenance.commit() is None) == (not tracked or place == ".")


def test_the_commit_is_that_of_the_code_in_a_hook_of_another_repository(tmp_path, code, git, monkeypatch):
    """Git sets variables for hooks."""
    commits = []
    for folder in (tmp_path / "project", tmp_path / "theirs"):
        folder.mkdir(exist_ok=True)
        (folder / "own.py").write_text(str(folder))
        git(folder, "init")
        git(folder, "add", ".")
        git(folder, "commit", "-m", "one")
        commits.append(git(folder, "rev-parse", "HEAD"))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "theirs" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "theirs"))
    assert provenance.commit() == commits[0] != commits[1]


@pytest.fixture
def own_reward(tmp_path, monkeypatch):
    """Write a reward of the user into the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "own_reward.py"
    path.write_text("from common.policy_gradient.rewards import correct\n")
    yield path
    sys.modules.pop("own_reward", None)


def test_the_source_of_user_code_identifies_a_run_and_a_cell(own_reward):
    study = Study("ram", "mnist28", overrides={"reward": "own_reward:correct"})
    (cell,) = make_plan(study).cells
    digest = hashlib.sha256(own_reward.read_bytes()).hexdigest()
    before = cell.id
    assert cell.identity()["code"] == {"own_reward:correct": digest}
    own_reward.write_text("from common.policy_gradient.rewards import gain as correct\n")
    (edited,) = make_plan(study).cells
    assert edited.id != before, "a sweep does not take a cell over that other code computed"
    (without,) = make_plan(Study("ram", "mnist28")).cells
    assert without.identity()["code"] == {}


def test_a_run_is_not_resumed_with_other_user_code(own_reward, capsys):
    images = "--task images --data images.npz --steps 2 --batch-size 4 --evaluate-every 2 --no-plots --run-dir own"
    agent = "--num-scales 1 --glimpse-size 4 --num-glimpses 2 --core rnn --core-hidden 4 --reward own_reward:correct"
    command = [
        "cluttered60_dense",
        *images.split(),
        *agent.split(),
        "--eval-episodes",
        "1",
        "--validation-episodes",
        "1",
    ]
    ram.main(command)
    starts = read_json(Path("own/starts.json"))["starts"]
    assert list(starts[0]["code"]) == ["own_reward:correct"]
    own_reward.write_text(own_reward.read_text() + "# edited\n")
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        ram.main([*command, "--resume"])
    assert (
        "the source file of own_reward:correct has changed since the run began: undo the change"
        in capsys.readouterr().err
    )
    evaluate.main(["own", "--trust-code"])
    assert "the source of own_reward:correct has changed" in capsys.readouterr().err
