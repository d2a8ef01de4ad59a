"""Figures of a trained agent that reads sequences: from its episodes to the figures, the report and its data."""

import json
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.config import RetinaConfig
from common.attention.glimpse import make_sensor
from common.policy_gradient import EstimatorConfig
from common.training.evaluation import sequence_errors
from experiments import evaluate
from experiments.plots import agents, classifiers
from experiments.runs.restore import read_run
from experiments.training.run_directory import read_json
from ram.agent import make_ram
from ram.config import RamConfig
from tests.experiments import numbers_maker
from tests.experiments.family_of import build
from tests.experiments.numbers_maker import SYMBOLS

pytestmark = pytest.mark.usefixtures("small_numbers")


@pytest.fixture(scope="module")
def drawn(readers, tmp_path_factory):
    """Return a run with its figures, and by function the arguments of the figures of all test images."""
    folder, caught = tmp_path_factory.mktemp("drawn") / "run", {}
    shutil.copytree(readers / "forward", folder)

    def catching(name, function):
        def call(*args, **options):
            caught[name] = (args, options)
            return function(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        numbers_maker.stand_in(patch)
        for module, names in (
            (agents, ("error_by_glimpse", "location_heatmaps")),
            (classifiers, ("confusion_matrix", "error_by_length")),
        ):
            for name in names:
                patch.setattr(module, name, catching(name, getattr(module, name)))
        evaluate.main([str(folder), "--plots", "--episodes", "1"])
    return folder, caught


def test_everything_is_drawn(drawn):
    folder, _ = drawn
    assert {path.name for path in (folder / "plots").iterdir()} == {
        *("learning_curves.png", "episodes.png", "retina.png", "locations.png", "confusion.png"),
        *("error_by_glimpse.png", "error_by_length.png", "episodes.gif", "episodes.json"),
    }
    content = json.loads((folder / "plots" / "episodes.json").read_text())
    assert (content["glimpses_per_target"], content["end"]) == (1, SYMBOLS)
    report = (folder / "report.html").read_text()
    assert "Confusions of symbols" in report and "Error by length" in report


def test_figures_are_of_the_greedy_readings(readers, drawn):
    _, caught = drawn
    run = read_run(readers / "forward")
    agent, test = build(run.experiment, run.dataset).attention, run.dataset.test
    played = agents.play_greedy(agent, run.params(), test.images, 40)
    symbols = np.asarray(played.logits).argmax(-1)  # One glimpse each.
    symbols[np.cumsum(symbols == SYMBOLS, axis=1) > 0] = SYMBOLS
    (by_length,), _ = caught["error_by_length"]
    assert by_length == sequence_errors(symbols, test.labels, SYMBOLS)["by_length"]
    results = read_json(readers / "forward" / "results.json")["test"]["greedy"]
    assert by_length == results["by_length"] and set(by_length) == {"1", "2"}
    # Confusions and errors are those up to the end of each label.
    labels, predictions, counted, wrong = [], [], np.zeros(3), np.zeros(3)
    for label, read, likeliest in zip(test.labels, symbols, np.asarray(played.logits).argmax(-1), strict=True):
        for place, symbol in enumerate(label):
            labels.append(symbol), predictions.append(read[place])
            counted[place] += 1
            wrong[place] += symbol != likeliest[place]
            if symbol == SYMBOLS:
                break
    (true, predicted, names), options = caught["confusion_matrix"]
    assert sorted(zip(true.tolist(), predicted.tolist(), strict=True)) == sorted(zip(labels, predictions, strict=True))
    assert names == ("0", "1", "2", "end") and options["path"] == "Greedy path, symbols"
    (errors, low, high, each), _ = caught["error_by_glimpse"]
    np.testing.assert_allclose(errors, 100 * wrong / counted)
    assert each == 1 and (low <= errors).all() and (errors <= high).all()
    _, options = caught["location_heatmaps"]
    lengths = (symbols != SYMBOLS).sum(axis=1)
    np.testing.assert_array_equal(options["taken"], np.minimum(lengths + 1, 3))


@pytest.mark.parametrize("surrogate", ["score_function", "pathwise"])
def test_drawn_glimpses_are_those_of_the_sensor(surrogate):
    images = np.random.default_rng(0).integers(0, 256, (2, 9, 8, 1), dtype=np.uint8)
    locations = np.random.default_rng(1).uniform(-1, 1, (3, 2, 2)).astype(np.float32)
    drawn = {}
    for subtract_mean in (False, True):
        estimator = EstimatorConfig("log_probability", "plain_return", surrogate)
        config = RamConfig(RetinaConfig(4, 2, subtract_mean=subtract_mean), estimator=estimator)
        agent = make_ram(config, 9, 8, 1, 10)
        sensor = make_sensor(jnp.asarray(images), agent.retina, differentiable=surrogate == "pathwise")
        expected = np.stack([sensor(jnp.asarray(each)) for each in locations])
        if subtract_mean:
            expected += np.round(images.mean(axis=(1, 2, 3))).reshape(2, 1, 1, 1, 1) / 255
        drawn[subtract_mean] = agents.take_glimpses(agent, images, locations)
        np.testing.assert_allclose(drawn[subtract_mean], expected, atol=1e-6)
    assert not np.allclose(drawn[False], drawn[True]), "outside an image lies black, or its mean"


def test_a_network_that_sees_the_whole_image_has_the_same_figures_of_symbols(readers, tmp_path):
    run = read_run(readers / "forward")
    model = run.built.model

    def predict(params, key, images, kind):
        return model.predict(run.params(), key, images, "greedy")

    classifiers.draw_classifier(model._replace(predict=predict), {}, run.dataset, tmp_path, 40)
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {
        *("learning_curves.png", "confusion.png", "error_by_length.png"),
    }
