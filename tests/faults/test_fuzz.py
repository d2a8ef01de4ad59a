"""Ten thousand damaged files of runs, each read by all that reads it: the same values, or a line with its name."""

import contextlib
import functools
import io
import json
import random
import shutil

import jax
import numpy as np
import pytest

from common.training.checkpoints import CheckpointError, Checkpoints
from experiments import cnn, export, ram
from experiments.pages.run_page import write_report
from experiments.runs.restore import read_experiment, read_run_without_images
from experiments.runs.trained_agents import load_agent
from experiments.training.image_shapes import describe_images, read_image_shapes
from experiments.training.metrics_file import read_metrics
from experiments.training.run_directory import read_identity, read_results, read_starts
from tests.common.data.own_images.test_damage import _damage as damage_bytes
from tests.experiments.training.small_runs import CNN, RAM, save_images

pytestmark = [pytest.mark.slow, pytest.mark.fault("damaged files of a run, read alone")]
LONGEST = 700
ODD = (None, True, 3, -1.5, float("nan"), "x", "", [], [1], {}, {"a": 1}, [[]])


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Finished runs of a classifier and of an agent, and the file of the agent."""
    base = tmp_path_factory.mktemp("fuzz")
    save_images(base, 60, 12)
    quiet = contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO())
    with contextlib.chdir(base), quiet[0], quiet[1]:
        for module, flags, name in ((cnn, CNN, "cnn"), (ram, RAM, "ram")):
            module.main([*flags, "--data", "images.npz", "--run-dir", name])
        export.main(["ram", "ram/agent.npz"])
    return base


def mutate(value, rng):
    """Return JSON with one entry replaced by one of another kind, or left out."""
    if isinstance(value, dict) and value and rng.random() < 0.85:
        name = rng.choice(list(value))
        kept = {key: entry for key, entry in value.items() if key != name}
        return kept if rng.random() < 0.1 else {**value, name: mutate(value[name], rng)}
    if isinstance(value, list) and value and rng.random() < 0.6:
        place = rng.randrange(len(value))
        return [*value[:place], mutate(value[place], rng), *value[place + 1 :]]
    return rng.choice(ODD)


def damage_values(content, rng):
    """Return a JSON file whose values have other kinds, without a digest that would tell."""
    lines = [json.loads(line) for line in content.decode().splitlines()] if content.count(b"}\n{") else None
    value = json.loads(content) if lines is None else lines
    for each in [value] if lines is None else lines:
        each.pop("sha256", None)
    value = mutate(value, rng)
    lines = [value] if lines is None or not isinstance(value, list) else value
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def attempt(read, name):
    """Return what a reader returns, or None if it refuses in a line with the name of the file."""
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            return read()
        except ValueError as error:
            line, names = str(error), (name, "run directory ") if name == "config.json" else (name,)
            assert any(each in line for each in names) and len(line) < LONGEST and len(line.splitlines()) == 1, line
            return None


READERS = {
    "config.json": [read_identity, lambda run: repr(read_experiment(run)), write_report],
    "starts.json": [read_starts],
    "images.json": [lambda run: repr(describe_images(read_image_shapes(run)))],
    "results.json": [read_results, write_report],
    "metrics.jsonl": [read_metrics, write_report],
}


@pytest.mark.parametrize("family", ["cnn", "ram"])
@pytest.mark.parametrize("name", READERS)
def test_damaged_json_files(runs, tmp_path, record_fault, unchecked, name, family):
    run, rng, np_rng = tmp_path / "run", random.Random(name), np.random.default_rng(len(name))
    shutil.copytree(runs / family, run)
    content, whole = (run / name).read_bytes(), [read(run) for read in READERS[name]]
    for case in range(900):
        by_values = case % 3 == 0
        (run / name).write_bytes(damage_values(content, rng) if by_values else damage_bytes(content, np_rng))
        values = [attempt(functools.partial(read, run), name) for read in READERS[name]]
        for value, expected in zip(values, whole, strict=True):
            is_cut = isinstance(value, list) and value == whole[0][: len(value)]
            assert by_values or value is None or value == expected or is_cut, (case, value)
        outcome = "named" if None in values else "exact" if values == whole else "read"
        record_fault("damaged files of a run, read alone", outcome)


@pytest.mark.parametrize("family", ["cnn", "ram"])
def test_damaged_checkpoints(runs, tmp_path, record_fault, family):
    run, rng = tmp_path / "run", np.random.default_rng(7)
    shutil.copytree(runs / family, run)
    shutil.rmtree(run / "checkpoints" / "2")
    state = read_run_without_images(run).state
    files = [path for path in sorted((run / "checkpoints").rglob("*")) if path.is_file()]
    assert len(files) >= 5
    for case in range(600):
        path = files[case % len(files)]
        content = path.read_bytes()
        path.write_bytes(damage_bytes(content, rng))
        lines = []
        try:
            restored = Checkpoints(run / "checkpoints").restore(state, lines.append)
        except CheckpointError:
            assert len(lines) == 1 and "checkpoints/4' cannot be read (" in lines[0] and len(lines[0]) < LONGEST
            record_fault("damaged files of a run, read alone", "named")
        else:
            jax.tree.map(lambda a, b: np.testing.assert_array_equal(*map(raw, (a, b))), restored, state)
            record_fault("damaged files of a run, read alone", "exact")
        path.write_bytes(content)


def raw(leaf):
    """Return the numbers of an array, also of random keys."""
    return jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_damaged_agents(runs, tmp_path, record_fault):
    path, rng = tmp_path / "agent.npz", np.random.default_rng(3)
    content = (runs / "ram" / "agent.npz").read_bytes()
    path.write_bytes(content)
    whole = load_agent(path)
    for _ in range(300):
        path.write_bytes(damage_bytes(content, rng))
        agent = attempt(lambda: load_agent(path), "agent.npz'")
        if agent is not None:
            assert repr(agent) == repr(whole)
            jax.tree.map(np.testing.assert_array_equal, agent.params, whole.params)
        record_fault("damaged files of a run, read alone", "named" if agent is None else "exact")
