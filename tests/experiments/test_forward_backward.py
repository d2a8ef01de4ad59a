"""The command that combines two runs of opposite directions: its errors, its file, its table, and what it refuses."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.training.evaluation import make_scorer, predicted
from experiments import forward_backward
from experiments.cost import mean_symbols
from experiments.evaluation.errors import TEST_SEED
from experiments.families.dram import GLIMPSE_PARAMETERS
from experiments.output.readouts import READOUTS
from experiments.runs.cost import cost_of
from experiments.runs.restore import read_run
from experiments.training.augmentation import AugmentationConfig
from experiments.training.run_directory import read_json
from tests.dram.test_forward_backward import of_one_image
from tests.experiments.numbers_maker import SYMBOLS

pytestmark = pytest.mark.usefixtures("small_numbers")


@pytest.fixture(scope="module")
def runs(readers):
    return readers / "forward", readers / "backward"


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("out") / "both.json"
    with pytest.MonkeyPatch.context() as patch:
        from tests.experiments import numbers_maker

        numbers_maker.stand_in(patch)
        forward_backward.main([*map(str, runs), "--output", str(path)])
    return read_json(path)


def errors_of(written, reader, split="test"):
    return {method: written[split][reader][method]["error"] for method in READOUTS}


def test_each_run_alone_has_the_errors_of_its_results(written, runs):
    assert 10 < errors_of(written, "forward")["greedy"] < 90, "the error must not be trivial for this test"
    for reader, folder in zip(("forward", "backward"), runs, strict=True):
        results = read_json(folder / "results.json")
        for split in ("validation", "test"):
            assert written[split][reader] == results[split]


def test_the_combination_has_the_errors_of_the_rule_applied_image_by_image(written, runs):
    tables = []
    for folder in runs:
        run = read_run(folder)
        score = make_scorer(run.built.model.predict, 3, 500)
        scores = score(run.params(), jax.random.key(TEST_SEED), run.dataset.test.images)
        tables.append([np.asarray(each) for each in scores])
    labels = read_run(runs[0]).dataset.test.labels
    for method, forward, backward in zip(READOUTS, *tables, strict=True):
        symbols = [rule(*pair) for pair in zip(forward, backward, strict=True)]
        wrong = 100 * np.mean((np.array(symbols) != labels).any(axis=1))
        assert errors_of(written, "forward-backward")[method] == pytest.approx(wrong)


def rule(forward, backward):
    """Apply `of_one_image` with the number of symbols of these images."""
    padding = np.full((len(forward), 4 - SYMBOLS), -1e9, np.float32)
    widened = [np.concatenate([each[:, :SYMBOLS], padding, each[:, SYMBOLS:]], axis=1) for each in (forward, backward)]
    return [min(symbol, SYMBOLS) if symbol != 4 else SYMBOLS for symbol in of_one_image(*widened)]


def test_the_file_holds_parameters_operations_and_errors_by_agreement(written, runs):
    forward, backward = (read_run(folder) for folder in runs)
    shared = optax.tree.size(forward.state.params[GLIMPSE_PARAMETERS])
    assert written["glimpse_network_shared"] is True
    assert written["parameters"] == 2 * optax.tree.size(forward.state.params) - shared
    assert (written["forward"], written["backward"]) == tuple(map(str, runs)) and written["episodes"] == 3
    groups = written["lengths"]["test"]
    assert sum(group["n"] for group in groups.values()) == 40
    assert 0 < written["operations"] == written["operations_of_means"] / 3
    symbols = 1 + (forward.dataset.test.labels < SYMBOLS).sum(axis=1).mean()
    assert mean_symbols(runs[0]) == mean_symbols(runs[1]) == pytest.approx(symbols)
    ended = [
        cost_of("x", run.family, run.experiment, run.dataset, mean_symbols(run.run_dir)).to_end
        for run in (forward, backward)
    ]
    assert written["operations_to_end"] == pytest.approx(sum(ended))
    assert written["operations_to_end"] < 0.9 * written["operations"]
    assert written["task"] == "pairs100_sequence" and {"commit", "device", "jax_version"} <= set(written)


@pytest.mark.slow
def test_the_order_of_the_runs_does_not_matter(written, runs, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "120")  # Wide enough that no cell is folded.
    path = tmp_path / "both.json"
    forward_backward.main([str(runs[1]), str(runs[0]), "--output", str(path)])
    swapped = json.loads(path.read_text())
    assert swapped | {"commit": written["commit"]} == written
    out = capsys.readouterr().out
    assert "forward-backward" in out and "means are of 3 sampled episodes" in out and f"results: {path}" in out
    assert "mean of 3, log-probabilities" in out and "backward" in out


@pytest.mark.parametrize(
    "names, message",
    [
        (["forward", "forward"], "both read from left to right: give one of each direction (--reverse)"),
        (["backward", "other_backward"], "both read from right to left"),
        (["forward", "other_backward"], "do not read the same images: theirs are 12x12x1 and 16x16x1"),
        (["forward", "single"], "reads no sequences: task 'pairs100' has one class for each image"),
        (["forward", "absent"], "holds no config.json"),
        (["forward", "backward", "--episodes", "0"], "episodes 0: must be at least 1"),
        (["forward", "backward", "--output", "absent/file"], "output 'absent/file': must be a file in a folder"),
        (["forward"], "--help"),
    ],
    ids=lambda value: "_".join(value) if isinstance(value, list) else "",
)
def test_runs_that_cannot_be_combined_are_refused_before_images_load(
    readers, tmp_path, monkeypatch, capsys, names, message
):
    monkeypatch.chdir(tmp_path)
    # They are refused before images are made, which takes long.
    monkeypatch.setattr(
        "experiments.training.config.load_task", lambda *args, **options: pytest.fail("images were loaded")
    )
    known = ("forward", "backward", "other_backward", "single", "absent")
    with pytest.raises(SystemExit) as stop:
        forward_backward.main([str(readers / name) if name in known else name for name in names])
    out, err = capsys.readouterr()
    assert stop.value.code == 2 and out == "" and err.startswith("error: ") and len(err.splitlines()) == 1
    assert message in err and list(tmp_path.iterdir()) == []


def test_runs_on_the_same_images_are_paired_whatever_their_augmentation(runs):
    forward, backward = map(read_run, runs)
    data = dataclasses.replace(backward.experiment.data, augmentation=AugmentationConfig(shift=2))
    other = backward._replace(experiment=dataclasses.replace(backward.experiment, data=data))
    assert forward_backward.order_pair(other, forward) == (forward, other)


@pytest.mark.parametrize("split, part", [("validation", "images"), ("test", "labels")])
def test_runs_on_other_images_or_labels_are_refused(runs, split, part):
    forward, backward = map(read_run, runs)
    images = getattr(backward.dataset, split)
    changed = images._replace(**{part: getattr(images, part)[::-1]})
    other = backward._replace(dataset=dataclasses.replace(backward.dataset, **{split: changed}))
    with pytest.raises(ValueError, match=f"do not read the same images: their {split} images or labels differ"):
        forward_backward.order_pair(forward, other)


def test_scores_are_normalised_except_the_mean_log_probability():
    logits = jnp.array(np.random.default_rng(0).normal(0, 2, (5, 3, 4)), jnp.float32)
    score = make_scorer(lambda params, key, images, kind: logits + jax.random.normal(key, logits.shape), 6, 5)
    images = np.zeros((5, 2, 2, 1), np.uint8)
    greedy, sampled, probability, log_probability = score({}, jax.random.key(0), images)
    for normalised in (greedy, sampled, probability):
        np.testing.assert_allclose(np.exp(normalised).sum(-1), 1, rtol=1e-5)
    assert (np.exp(log_probability).sum(-1) < 1 + 1e-5).all()  # The geometric mean lies below the arithmetic one.
    assert (log_probability <= probability + 1e-6).all()
    assert predicted(jnp.asarray(greedy)).shape == (5, 3)
