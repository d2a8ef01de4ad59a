"""Diagnosis: true places, ways to choose locations, groups of images."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.attention.config import PolicyConfig, RetinaConfig
from common.data import load_task
from common.data.recipes.canvas import Layout
from common.training.evaluation import error_interval
from experiments.evaluation.diagnosis import PLACES, WAYS, covered_fraction, diagnose, find_digits, watch
from ram import AgentConfig, RamConfig, make_ram

SMALL = AgentConfig(num_glimpses=3, glimpse_hidden=8, location_hidden=8, glimpse_features=16, core_hidden=16)
TINY = PolicyConfig(sigma="9px", sigma_final="0.01px", sigma_schedule="linear")
CONFIG = RamConfig(retina=RetinaConfig(4, 2), agent=SMALL, policy=TINY)


@pytest.fixture(scope="module")
def few():
    """Return cluttered60 with 30 validation images."""
    dataset = load_task("cluttered60")
    return dataclasses.replace(dataset, validation=jax.tree.map(lambda leaf: leaf[:30], dataset.validation))


@pytest.fixture(scope="module")
def agent(few):
    """Return an untrained agent whose sigma is tiny in evaluations, and its parameters."""
    attention = make_ram(CONFIG, *few.image_shape, few.num_classes)
    return attention, jax.jit(attention.model.init)(jax.random.key(0))


def test_the_covered_fraction_counts_every_pixel_once():
    generator = np.random.default_rng(0)
    corner, pasted = generator.integers(0, 32, (20, 2)), generator.integers(0, 52, (20, 4, 2))
    layouts = Layout(None, corner, None, None, pasted)
    for i, fraction in enumerate(covered_fraction(layouts, (28, 20), 8)):
        canvas = np.zeros((60, 60), bool)
        for row, column in pasted[i]:
            canvas[row : row + 8, column : column + 8] = True
        box = canvas[corner[i, 0] : corner[i, 0] + 28, corner[i, 1] : corner[i, 1] + 20]
        assert fraction == pytest.approx(box.mean())


def test_boxes_hold_the_digits(few):
    truth = find_digits(few, "validation")
    assert truth.boxes.shape == (30, 4) and (truth.boxes[:, 2:] - truth.boxes[:, :2] == 28).all()
    # A digit has far more ink than four distractors of 8x8.
    for image, (left, top, right, bottom) in zip(few.validation.images, truth.boxes.astype(int), strict=True):
        assert image[top:bottom, left:right].sum() > 0.4 * image.sum()
    assert find_digits(load_task("distorted/R"), "validation") is None


def test_each_way_chooses_its_locations(few, agent):
    attention, params = agent
    truth, images, key = find_digits(few, "validation"), few.validation.images, jax.random.key(1)
    seen = {way: watch(attention, params, images, truth, way, key, 4, 16) for way in WAYS}
    middle = (truth.boxes[:, :2] + truth.boxes[:, 2:]) / 2
    from_centre = np.linalg.norm(middle - 30, axis=1)
    np.testing.assert_allclose(seen["centre"].distance, np.stack([from_centre] * 3, axis=1), rtol=1e-5)
    np.testing.assert_allclose(seen["oracle"].distance[:, 0], from_centre, rtol=1e-5)
    assert (seen["oracle"].on_digit[:, 1:] == 1).all() and seen["oracle"].distance[:, 1:].max() < 0.1
    # Uniform locations lie in a box as often as it is large: 28 x 28 of 60 x 60 pixels.
    assert seen["random"].on_digit[:, 1:].mean() == pytest.approx((28 / 60) ** 2, abs=0.1)
    greedy = jax.jit(attention.play, static_argnums=3)(params, key, jnp.asarray(images), "greedy")
    np.testing.assert_allclose(
        seen["greedy"].probabilities, np.swapaxes(jax.nn.softmax(greedy.logits), 0, 1), rtol=1e-4, atol=1e-6
    )
    # With so small a sigma all samples are at the mode.
    np.testing.assert_allclose(seen["sampled"].probabilities, seen["greedy"].probabilities, atol=0.02)


def test_a_diagnosis_counts_every_image_once(few, agent):
    result = diagnose(*agent, few, "validation", 2, 16)
    assert list(result["by_locations"]) == list(WAYS) and len(result["by_glimpse"]) == 3
    assert result["by_locations"]["greedy"] == result["by_glimpse"][-1]["greedy"]
    assert result["by_locations"]["sampled"] == result["by_glimpse"][-1]["mean"]
    wrong = round(result["by_locations"]["sampled"]["error"] * 30 / 100)
    for groups in ([entry for row in result["by_place"] for entry in row], result["by_clutter"]):
        assert sum(entry["n"] for entry in groups) == 30
        assert sum(round((entry["error"] or 0) * entry["n"] / 100) for entry in groups) == wrong
    assert len(result["by_place"]) == PLACES and result["by_clutter"][0]["from"] <= result["by_clutter"][-1]["to"]


def test_without_a_canvas_there_is_no_oracle(agent):
    attention, params = agent
    dataset = load_task("distorted/R")
    few = dataclasses.replace(dataset, validation=jax.tree.map(lambda leaf: leaf[:12], dataset.validation))
    attention = make_ram(CONFIG, *few.image_shape, few.num_classes)
    result = diagnose(attention, params, few, "validation", 1, 12)
    assert list(result["by_locations"]) == ["greedy", "sampled", "random", "centre"]
    assert "by_place" not in result and "on_digit" not in result["by_glimpse"][0]
    play = jax.jit(attention.play, static_argnums=3)
    guess = play(params, jax.random.key(0), jnp.asarray(few.validation.images), "greedy").logits[-1].argmax(-1)
    assert result["by_locations"]["greedy"] == error_interval(guess, few.validation.labels)
