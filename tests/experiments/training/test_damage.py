"""A damaged run directory: every command goes on exactly, or names the damaged file in one line."""

import contextlib
import functools
import json
import random
import shutil
from pathlib import Path

import pytest

from experiments import cnn, evaluate, ram
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import read_json
from tests.experiments.training.small_runs import CNN, RAM, save_images

FAMILIES = {"cnn": (cnn, CNN), "ram": (ram, RAM)}
TIMED = ("seconds", "images_per_second", "wall_seconds")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with images."""
    base = tmp_path_factory.mktemp("damage")
    save_images(base, 60, 12)
    return base


@pytest.fixture(scope="module")
def whole(folder):
    """Returns the folder of a finished run of a family."""

    @functools.cache
    def call(family):
        with contextlib.chdir(folder):
            train(family, f"whole_{family}")
        return folder / f"whole_{family}"

    return call


@pytest.fixture
def attempt(folder, whole, monkeypatch, capsys):
    """Returns a function that damages a copy of a run, and tells what `evaluate` and `--resume` do with each copy.

    That is the output on standard error and, unless it was refused, what came of it.
    """
    monkeypatch.chdir(folder)

    def call(family, damage=lambda run: None):
        whole(family), capsys.readouterr()  # What it printed is no outcome.
        for command in (lambda: evaluate.main(["run"]), lambda: train(family, "run", "--resume")):
            shutil.rmtree("run", ignore_errors=True)
            shutil.copytree(whole(family), "run")
            damage(Path("run"))
            before, status, resumes = contents(), 0, command.__code__.co_names[0] == "train"
            try:
                command()
            except SystemExit as stop:
                status = stop.code
            out, err = capsys.readouterr()
            assert "Traceback" not in err
            if status:
                assert status == 2 and out == "" and err.splitlines()[-1].startswith("error: ")
            if status or not resumes:
                assert contents() == before
            yield err, None if status else state() if resumes else out

    return call


def train(family, run_dir, *flags):
    module, small = FAMILIES[family]
    module.main([*small, "--data", "images.npz", "--run-dir", run_dir, *flags])


def contents():
    return {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}


def state():
    """What a run holds, without times and the last start."""
    results, starts = read_json(Path("run/results.json")), read_json(Path("run/starts.json"))["starts"]
    untimed = [{k: v for k, v in record.items() if k not in TIMED} for record in read_metrics(Path("run"))]
    return (
        read_json(Path("run/checkpoints/4/digest.json"))["state"],
        {name: value for name, value in results.items() if name not in (*TIMED, "starts", "commit")},
        starts[:-1],
        read_json(Path("run/config.json")),
        read_json(Path("run/images.json")),
        untimed,
    )


@pytest.fixture
def check(attempt, wholes, record_fault):
    """Checks that a damaged run comes to what the whole run comes to, or that a line names the file or checkpoint."""

    def call(family, name, damage):
        if family not in wholes:
            wholes[family] = [outcome for _, outcome in attempt(family)]
        named = "/".join(Path(name).parts[:2]) if name.startswith("checkpoints") else name
        for whole, (err, outcome) in zip(wholes[family], attempt(family, damage), strict=True):
            lines = [line for line in err.splitlines() if named in line and "run" in line]
            assert lines or outcome == whole, (name, err, outcome, whole)
            assert all(len(line) < 600 for line in lines)
            record_fault("damaged files of a run", "exact" if outcome == whole else "named")

    return call


@pytest.fixture(scope="module")
def wholes():
    """What undamaged runs come to, by family."""
    return {}


def flip(path, seed=0):
    data = bytearray(path.read_bytes())
    data[random.Random(seed).randrange(len(data))] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def delete(path):
    path.unlink()


def other_values(path):
    """Keep the names of a JSON object and change the types of their values."""
    value = json.loads(path.read_text().splitlines()[0] if path.suffix == ".jsonl" else path.read_text())
    value.pop("sha256", None)
    path.write_text(json.dumps({key: 3 if isinstance(entry, list | dict) else [] for key, entry in value.items()}))


def a_list(path):
    path.write_text("[]\n")


def an_object(path):
    path.write_text("{}\n")


DAMAGES = (flip, cut, empty, delete, other_values, a_list, an_object)


def change_a_digit(path):
    text = path.read_text()
    old, new = ('"seed": 5', '"seed": 6') if path.name == "config.json" else ("0.", "1.")
    assert old in text
    path.write_text(text.replace(old, new, 1))


FEW = [
    ("config.json", change_a_digit),
    ("config.json", other_values),
    ("starts.json", an_object),
    ("starts.json", delete),
    ("images.json", a_list),
    ("results.json", other_values),
    ("metrics.jsonl", change_a_digit),
    ("metrics.jsonl", cut),
    ("metrics.jsonl", delete),
    ("checkpoints/4/digest.json", other_values),
    ("checkpoints/4/digest.json", cut),
]


@pytest.mark.parametrize(("name", "damage"), FEW, ids=lambda value: getattr(value, "__name__", value))
def test_a_damaged_file_is_named_or_changes_nothing(check, name, damage):
    check("cnn", name, lambda run: damage(run / name))


EACH = [*(("cnn", damage) for damage in DAMAGES), ("ram", flip), ("ram", other_values)]


@pytest.mark.slow
@pytest.mark.parametrize("family, damage", EACH, ids=lambda value: getattr(value, "__name__", value))
def test_each_damaged_file_is_named_or_changes_nothing(whole, check, family, damage):
    folder, is_json = whole(family), damage in (other_values, a_list, an_object)
    names = [str(path.relative_to(folder)) for path in sorted(folder.rglob("*")) if path.is_file()]
    names = [name for name in names if not name.startswith("checkpoints/2/") and (not is_json or ".json" in name)]
    assert len(names) >= (6 if is_json else 10)
    for name in names:
        for seed in range(4 if damage is flip and ".json" in name else 1):
            check(family, name, lambda run, name=name, seed=seed: damage(run / name, *[seed] * (damage is flip)))
