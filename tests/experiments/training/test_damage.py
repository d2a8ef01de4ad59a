"""A damaged run directory: every command goes on exactly, or names the damaged file in one line."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from experiments import cnn, evaluate, ram
from experiments.training.run_directory import read_json, read_metrics
from tests.experiments.training.small_runs import CNN, RAM

FAMILIES = {"cnn": (cnn, CNN), "ram": (ram, RAM)}
TIMED = ("seconds", "images_per_second", "wall_seconds")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with images and a finished run of each family."""
    base = tmp_path_factory.mktemp("damage")
    labels = np.arange(60) % 3
    noise = np.random.default_rng(0).integers(0, 200, (60, 12, 12), dtype=np.uint8)
    np.savez(base / "images.npz", images=noise + np.uint8(25) * labels[:, None, None].astype(np.uint8), labels=labels)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(base)
        for name, (module, flags) in FAMILIES.items():
            module.main([*flags, "--data", "images.npz", "--run-dir", f"whole_{name}"])
    return base


@pytest.fixture
def outcomes(folder, monkeypatch, capsys):
    """Returns what `evaluate` and `--resume` do with a run that was damaged."""
    monkeypatch.chdir(folder)

    def call(family, damage=lambda run: None):
        module, flags = FAMILIES[family]
        for command in (
            lambda: evaluate.main(["run"]),
            lambda: module.main([*flags, "--data", "images.npz", "--run-dir", "run", "--resume"]),
        ):
            shutil.rmtree("run", ignore_errors=True)
            shutil.copytree(f"whole_{family}", "run")
            damage(Path("run"))
            status, before = 0, contents()
            try:
                command()
            except SystemExit as stop:
                status = stop.code
            out, err = capsys.readouterr()
            assert status in (0, 2) and "Traceback" not in err
            if status:
                assert out == "" and err.splitlines()[-1].startswith("error: ") and contents() == before
            yield status, err, None if status else (out.partition("report:")[0].splitlines()[:8], *state())

    return call


def contents():
    return {path: path.read_bytes() for path in Path("run").rglob("*") if path.is_file()}


def state():
    """What a run holds, without times and the last start."""
    results = read_json(Path("run/results.json")) if Path("run/results.json").exists() else {}
    last = max(Path("run/checkpoints").iterdir(), key=lambda path: int(path.name))
    starts = read_json(Path("run/starts.json"))["starts"] if Path("run/starts.json").exists() else []
    untimed = [{k: v for k, v in record.items() if k not in TIMED} for record in read_metrics(Path("run"))]
    return (
        read_json(last / "digest.json")["state"],
        {name: value for name, value in results.items() if name not in (*TIMED, "starts")},
        starts[0]["images"] if starts else None,
        [start["commit"] for start in starts],
        read_json(Path("run/config.json")),
        untimed,
    )


def check(outcomes, family, name, damage):
    """Check that the outcome is that of the whole run, or a line that names the file or its checkpoint."""
    parts = Path(name).parts
    named = str(Path("run", *parts[: 2 if parts[0] == "checkpoints" else 1]))
    wholes = outcomes(family)
    whole = [outcome for _, _, outcome in wholes]
    for expected, (_, err, outcome) in zip(whole, outcomes(family, damage), strict=True):
        lines = [line for line in err.splitlines() if named in line]
        assert lines or outcome == expected, (name, err, outcome, expected)
        assert all(len(line) < 600 for line in lines)


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
    for old, new in (('"units": [\n        8', '"units": [\n        9'), ('"seed": 5', '"seed": 6'), ("0.", "1.")):
        if old in text:
            break
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
def test_a_damaged_file_is_named_or_changes_nothing(outcomes, name, damage):
    check(outcomes, "cnn", name, lambda run: damage(run / name))


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("family", FAMILIES)
def test_each_damaged_file_is_named_or_changes_nothing(folder, outcomes, family, damage):
    whole = folder / f"whole_{family}"
    names = [path.relative_to(whole) for path in sorted(whole.rglob("*")) if path.is_file()]
    names = [name for name in names if name.parts[:2] != ("checkpoints", "2")]
    is_json = damage in (other_values, a_list, an_object)
    names = [name for name in names if not is_json or name.suffix in (".json", ".jsonl")]
    assert len(names) >= (6 if is_json else 10)
    for name in names:
        for seed in range(3) if damage is flip and name.suffix in (".json", ".jsonl") else (0,):
            spoil = (lambda path, seed=seed: flip(path, seed)) if damage is flip else damage
            check(outcomes, family, str(name), lambda run, name=name, spoil=spoil: spoil(run / name))
