"""Co-localisation: its loss, its boxes, and the frozen encoder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.training.optimizers import OptimizerConfig, make_optimizer
from common.training.step import Hyper, StepInput, init_state, train_step
from stn.colocalisation import (
    ENCODER,
    ColocalisationConfig,
    bounding_boxes,
    check_colocalisation,
    make_colocaliser,
    overlap,
    relative_to,
    triplet_hinge,
)
from stn.config import NetworkConfig, StnConfig, TransformerConfig
from stn.localisation import NAME
from stn.models import make_stn
from stn.samplers import sample
from stn.transforms import make_transform

CONFIG = ColocalisationConfig(crop=22, filters=2, units=4)
HEIGHT, WIDTH = 32, 40


def make_encoder():
    return make_stn(StnConfig(TransformerConfig(place="none"), NetworkConfig("fcn", units=4)), 22, 22, 1, 3)


def make(height=HEIGHT, **changes):
    config = dataclasses.replace(CONFIG, **changes)
    return make_colocaliser(config, make_encoder(), height, WIDTH, 1)


def make_images(count=6, height=HEIGHT):
    images = jax.random.randint(jax.random.key(1), (count, height, WIDTH, 1), 0, 256)
    return images.astype(jnp.uint8), jnp.arange(count) % 2


def test_the_triplet_hinge_equals_its_formula():
    rng = np.random.default_rng(0)
    crops, elsewhere = rng.normal(size=(2, 5, 3)).astype(np.float32)
    crops, elsewhere = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (crops, elsewhere))
    labels = np.array([0, 1, 0, 0, 2])
    expected = np.zeros((5, 5))
    for n in range(5):
        for m in range(5):
            if n != m and labels[n] == labels[m]:
                near, far = ((crops[n] - crops[m]) ** 2).sum(), ((crops[n] - elsewhere[n]) ** 2).sum()
                expected[n, m] = max(near - far + 0.5, 0)
    assert 0 < (expected > 0).sum() < 6, "some hinges must be positive"
    actual = triplet_hinge(*map(jnp.asarray, (crops, elsewhere, labels)), 0.5)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_short_vectors_are_far_from_equal_ones():
    """The distance of two equal vectors is 2 at length 0, and 2 - 2 / 4 at length 1/2."""
    along, across = np.eye(2, dtype=np.float32)
    for length, near in ((0.0, 2.0), (0.5, 1.5), (1.0, 0.0)):
        crops = jnp.asarray(np.stack([length * along] * 2))
        elsewhere = jnp.asarray(np.stack([across, along]))
        actual = triplet_hinge(crops, elsewhere, jnp.zeros(2, int), 1.0)
        far = np.array([2.0, 2 - 2 * length])
        np.testing.assert_allclose(actual[[0, 1], [1, 0]], np.maximum(near - far + 1, 0), atol=1e-6)


def test_crops_like_an_empty_crop_are_far_from_all_others():
    empty = jnp.array([[1.0, 2.0]])
    crops = jnp.array([[1.0, 2.0], [1.0, 5.0], [4.0, -2.0]])  # At distances 0, 3 and 5 from the empty crop.
    elsewhere = jnp.array([[1.0, 2.0], [1.0, 6.0], [1.0, 2.0]])  # At distances 0, 4 and 0: the mean square is 16/3.
    actual, others = relative_to(empty, crops, elsewhere)
    np.testing.assert_allclose(
        jnp.linalg.norm(actual, axis=1), [0, 3 / np.sqrt(9 + 16 / 3), 5 / np.sqrt(25 + 16 / 3)], rtol=1e-6
    )
    np.testing.assert_allclose(actual[2] / jnp.linalg.norm(actual[2]), [0.6, -0.8], rtol=1e-6)
    np.testing.assert_allclose(others, [[0, 0], [0, 4 / np.sqrt(16 + 16 / 3)], [0, 0]], rtol=1e-6)
    # The hinge of two empty crops of one class is the margin, whatever the random crops.
    alone = triplet_hinge(actual[:1].repeat(2, axis=0), others[1:].at[1].set(0.0), jnp.zeros(2, int), 1.0)
    np.testing.assert_allclose(alone, [[0, 1], [1, 0]])


@pytest.mark.parametrize(
    "parameters, box",
    [
        ((0.0, 0.0), (9, 5, 31, 27)),
        ((0.1, -0.25), (11, 1, 33, 23)),  # A tenth of half the width is 2 pixels, a quarter of half the height 4.
    ],
)
def test_bounding_boxes_of_translated_crops(parameters, box):
    transform = make_transform("translation", 22, 22, scale=(22 / WIDTH, 22 / HEIGHT))
    grid = transform.grid(jnp.array(parameters))[None]
    np.testing.assert_allclose(bounding_boxes(grid, HEIGHT, WIDTH), [box], atol=1e-4)


def test_overlap_counts_pixels():
    rng = np.random.default_rng(0)
    corners = np.sort(rng.integers(0, 12, (2, 40, 2, 2)), axis=2)
    corners[:, :, 1] += 1
    boxes = corners.reshape(2, 40, 4)

    def covered(box):
        left, top, right, bottom = box
        picture = np.zeros((14, 14), bool)
        picture[top:bottom, left:right] = True
        return picture

    expected = [(covered(a) & covered(b)).sum() / (covered(a) | covered(b)).sum() for a, b in zip(*boxes, strict=True)]
    assert min(expected) == 0 and max(expected) > 0.3
    np.testing.assert_allclose(overlap(*jnp.asarray(boxes, jnp.float32)), expected, rtol=1e-5)


# One scale for both axes gives a square crop only in a square image.
@pytest.mark.parametrize("transform, height", [("translation", HEIGHT), ("attention", WIDTH), ("affine", HEIGHT)])
def test_crops_start_in_the_middle_at_the_scale_of_the_image(transform, height):
    colocaliser, (images, _) = make(height, transform=transform), make_images(2, height)
    actual = jax.jit(colocaliser.find)(jax.jit(colocaliser.model.init)(jax.random.key(0)), images)
    top = (height - 22) // 2
    np.testing.assert_allclose(bounding_boxes(actual.grids, height, WIDTH), [[9, top, 31, top + 22]] * 2, atol=1e-3)
    np.testing.assert_allclose(actual.images, images[:, top : top + 22, 9:31] / 255, atol=1e-4)


def test_only_the_localisation_network_is_trained():
    colocaliser, (images, labels) = make(), make_images()
    params = jax.jit(colocaliser.model.init)(jax.random.key(0))

    def loss(params):
        return colocaliser.model.loss(params, jax.random.key(2), images, labels, StepInput(jnp.zeros(())))[0]

    gradient = jax.jit(jax.grad(loss))(params)
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient[ENCODER])) == 0
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient[NAME])) > 0
    # Weight decay would change parameters without gradients.
    optimizer = make_optimizer(OptimizerConfig(weight_decay=0.1))
    state = init_state(colocaliser.model, optimizer, 0)
    step = train_step(colocaliser.model, optimizer, optax.constant_schedule, lambda key, source: (images, labels), 1)
    after, _ = jax.jit(step)(state, None, Hyper(jnp.array(0.01), ()))
    same = jax.tree.map(lambda new, old: bool((new == old).all()), after.params, state.params)
    assert all(jax.tree.leaves(same[ENCODER]))
    kernels = [kept for path, kept in jax.tree.leaves_with_path(same[NAME]) if "kernel" in jax.tree_util.keystr(path)]
    assert len(kernels) == 4 and not any(kernels)
    # The optimiser keeps two moments of the trained parameters only.
    assert optax.tree.size(state.opt_state) < 3 * optax.tree.size(params[NAME])


def test_random_crops_are_uniform_over_the_image(monkeypatch):
    colocaliser, (images, labels) = make(), make_images(200)
    seen = []

    def watch(images, grids, **settings):
        seen.append(grids)
        return sample(images, grids, **settings)

    @jax.jit
    def boxes(params, key):
        colocaliser.model.loss(params, key, images, labels, StepInput(jnp.zeros(())))
        return bounding_boxes(seen.pop(), HEIGHT, WIDTH)

    monkeypatch.setattr("stn.colocalisation.sample", watch)
    params = jax.jit(colocaliser.model.init)(jax.random.key(0))
    first, second = (np.asarray(boxes(params, jax.random.key(key))) for key in (1, 2))
    assert not np.allclose(first, second)
    for axis, side in ((0, WIDTH), (1, HEIGHT)):
        np.testing.assert_allclose(first[:, 2 + axis] - first[:, axis], 22, atol=1e-3)
        # Uniform from 0 to the side minus the crop: 200 draws come near both ends and average one half.
        starts = np.sort(first[:, axis]) / (side - 22)
        assert -1e-4 < starts[0] < 0.05 and 0.95 < starts[-1] < 1 + 1e-4 and abs(starts.mean() - 0.5) < 0.08


def loss_by_hand(images, labels, margin, background, key):
    """Compute the loss at initialisation, with crops in the middle, by the model and from its definition."""
    colocaliser = make(margin=margin, background=background)
    params = jax.jit(colocaliser.model.init)(jax.random.key(0))
    encoder = make_encoder()
    room = 1 - np.array([22 / WIDTH, 22 / HEIGHT])
    places = room * np.asarray(jax.random.uniform(key, (len(images), 2), minval=-1.0, maxval=1.0))
    family = make_transform("translation", 22, 22, scale=(22 / WIDTH, 22 / HEIGHT))
    there = jax.vmap(family.grid)(jnp.asarray(places, jnp.float32))
    crops = {
        "crops": images[:, 5:27, 9:31] / 255,
        "elsewhere": sample(images / 255.0, there, fill=background),
        "empty": jnp.full((1, 22, 22, 1), background),
    }
    features = jax.jit(lambda params, crop: encoder.forward(params, crop).features)
    seen = {name: features(params[ENCODER], crop) for name, crop in crops.items()}
    hinges = triplet_hinge(*relative_to(seen["empty"], seen["crops"], seen["elsewhere"]), labels, margin)
    pairs = sum(a == b for i, a in enumerate(labels.tolist()) for j, b in enumerate(labels.tolist()) if i != j)
    actual = jax.jit(colocaliser.model.loss)(params, key, images, labels, StepInput(jnp.zeros(())))[0]
    return float(actual), float(hinges.sum()) / pairs


@pytest.mark.parametrize("margin, background", [(0.3, 0.0), (2.0, 0.6)])
def test_the_loss_depends_on_margin_and_background(margin, background):
    actual, expected = loss_by_hand(*make_images(), margin, background, jax.random.key(3))
    assert actual == pytest.approx(expected, rel=1e-3) and actual > 0


def test_crops_outside_the_image_show_the_background():
    colocaliser, (images, _) = make(background=0.6), make_images(2)
    params = jax.jit(colocaliser.model.init)(jax.random.key(0))
    params[NAME]["localisation"]["regression"]["parameters"]["bias"] = jnp.array([4.0, 0.0])
    np.testing.assert_allclose(jax.jit(colocaliser.find)(params, images).images, 0.6, rtol=1e-6)


def test_the_localisation_network_has_the_configured_layers():
    colocaliser = make(layers=3)
    regression = jax.eval_shape(colocaliser.model.init, jax.random.key(0))[NAME]["localisation"]["regression"]
    assert sorted(regression) == ["Dense_0", "Dense_1", "Dense_2", "parameters"]


def test_the_loss_is_zero_if_all_labels_differ():
    colocaliser, (images, _) = make(), make_images()
    params = jax.jit(colocaliser.model.init)(jax.random.key(0))
    labels = jnp.arange(len(images))
    value, (metrics, _) = jax.jit(colocaliser.model.loss)(
        params, jax.random.key(2), images, labels, StepInput(jnp.zeros(()))
    )
    assert value == 0 and metrics["violated"] == 0


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"crop": 33}, "crop 33: must fit the 32x40 image, so at most 32"),
        ({"crop": 0}, "crop 0: must be at least 1"),
        ({"layers": -1}, "layers -1: must be at least 0"),
        ({"transform": "attention"}, "transform 'attention' on 32x40 images: needs square ones"),
        ({"margin": -1.0}, "margin -1.0: must be at least 0"),
        ({"downsample": 3}, "downsample 3 on 11x14 images: needs at least 13x13"),
    ],
)
def test_bad_configurations_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check_colocalisation(dataclasses.replace(CONFIG, **changes), HEIGHT, WIDTH)
