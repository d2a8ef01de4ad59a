"""Classifiers against parameter counts by hand and forward passes in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.signal

from common.networks.image_classifiers import ClassifierConfig, check_classifier, make_classifier
from common.training.step import Model, StepInput


def images_of(batch, height, width, channels=1, seed=0):
    rng = np.random.default_rng(seed)
    return jnp.asarray(rng.integers(0, 256, (batch, height, width, channels), dtype=np.uint8))


def make(network, height=28, width=28, channels=1, classes=10, units=256, seed=0):
    """Return a classifier with compiled functions, and its parameters."""
    model = make_classifier(ClassifierConfig(network, units), height, width, channels, classes)
    compiled = Model(jax.jit(model.init), jax.jit(model.loss), jax.jit(model.predict, static_argnums=3))
    return compiled, compiled.init(jax.random.key(seed))


# Weights and biases of each layer, multiplied out by hand.
COUNTS = [
    ("fc", (28, 28, 1), 256, (784 * 256 + 256) + (256 * 256 + 256) + (256 * 10 + 10)),
    ("fc", (5, 7, 3), 4, (105 * 4 + 4) + (4 * 4 + 4) + (4 * 10 + 10)),
    ("paper_cnn", (28, 28, 1), 256, (100 * 8 + 8) + (4 * 4 * 8 * 256 + 256) + (256 * 10 + 10)),
    ("paper_cnn", (60, 60, 1), 256, (100 * 8 + 8) + (11 * 11 * 8 * 256 + 256) + (256 * 10 + 10)),
    ("paper_cnn", (100, 100, 1), 86, (100 * 8 + 8) + (19 * 19 * 8 * 86 + 86) + (86 * 10 + 10)),
    ("article_cnn", (28, 28, 1), 256, (9 * 32 + 32) + (9 * 32 * 64 + 64) + (12 * 12 * 64 * 128 + 128) + 1290),
    ("article_cnn", (13, 10, 3), 256, (27 * 32 + 32) + (9 * 32 * 64 + 64) + (4 * 3 * 64 * 128 + 128) + 1290),
    (
        "residual_cnn",
        (60, 60, 1),
        256,
        (9 * 32 + 32)
        + 2 * (64 + 9 * 32 * 32 + 32)
        + (64 + 32 * 64 + 64 + 9 * 32 * 64 + 64 + 128 + 9 * 64 * 64 + 64)
        + (128 + 64 * 128 + 128 + 9 * 64 * 128 + 128 + 256 + 9 * 128 * 128 + 128)
        + (256 + 1290),
    ),
]


@pytest.mark.parametrize("network, shape, units, count", COUNTS)
def test_parameter_count_and_output_shape(network, shape, units, count):
    model = make_classifier(ClassifierConfig(network, units), *shape, 10)
    params = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == count
    images = jax.ShapeDtypeStruct((6, *shape), jnp.uint8)
    predict = jax.eval_shape(lambda *args: model.predict(*args, "greedy"), params, jax.random.key(0), images)
    assert predict.shape == (6, 10) and predict.dtype == jnp.float32


def test_fully_connected_by_hand():
    model, params = make("fc", 4, 5, units=6, classes=3)
    images = images_of(2, 4, 5)
    x = np.asarray(images).reshape(2, -1) / 255
    for name in ("Dense_0", "Dense_1", "Dense_2"):
        x = x @ np.asarray(params[name]["kernel"]) + np.asarray(params[name]["bias"])
        x = np.maximum(x, 0) if name != "Dense_2" else x
    np.testing.assert_allclose(model.predict(params, jax.random.key(0), images, "greedy"), x, rtol=1e-4, atol=1e-6)


def test_residual_cnn_by_hand():
    """With SciPy, on an odd number of pixels, where the padding of a stride of 2 is the same on both sides."""
    config = ClassifierConfig("residual_cnn", width=0.25)
    model = make_classifier(config, 9, 17, 1, 3)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    random = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype(np.float32), shapes)

    def conv(x, number, stride=1):
        kernel, bias = params[f"Conv_{number}"]["kernel"], params[f"Conv_{number}"]["bias"]
        maps = [
            sum(scipy.signal.correlate2d(x[..., c], kernel[..., c, f], "same") for c in range(x.shape[-1])) + bias[f]
            for f in range(kernel.shape[-1])
        ]
        return np.stack(maps, -1)[::stride, ::stride]

    def normalise(x, number):
        groups = x.reshape(*x.shape[:2], -1, 8)
        groups = (groups - groups.mean((0, 1, 3), keepdims=True)) / np.sqrt(groups.var((0, 1, 3), keepdims=True) + 1e-6)
        layer = params[f"GroupNorm_{number}"]
        return np.maximum(groups.reshape(x.shape) * layer["scale"] + layer["bias"], 0)

    images = images_of(1, 9, 17)
    x = conv(4 * np.asarray(images[0], np.float64) / 255, 0, 2)
    first = normalise(x, 0)
    x = x + conv(normalise(conv(first, 1), 1), 2)
    for block, number in enumerate((3, 6)):
        first = normalise(x, 2 + 2 * block)
        x = conv(first, number, 2) + conv(normalise(conv(first, number + 1, 2), 3 + 2 * block), number + 2)
    expected = normalise(x, 6).mean((0, 1)) @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"]
    outputs = model.predict(jax.tree.map(jnp.asarray, params), jax.random.key(0), images, "greedy")
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-4, atol=1e-4)


def test_paper_cnn_by_hand():
    """Its 8 filters of 10x10 have stride 5 and no padding."""
    model, params = make("paper_cnn", 17, 21, units=6, classes=3)
    images = images_of(2, 17, 21)
    kernel, bias = np.asarray(params["Conv_0"]["kernel"]), np.asarray(params["Conv_0"]["bias"])
    padded = np.asarray(images) / 255
    maps = np.stack(
        [
            np.stack([np.tensordot(padded[:, r : r + 10, c : c + 10], kernel, 3) + bias for c in (0, 5, 10)], axis=1)
            for r in (0, 5)
        ],
        axis=1,
    )
    x = np.maximum(maps, 0).reshape(2, -1)
    x = np.maximum(x @ np.asarray(params["Dense_0"]["kernel"]) + np.asarray(params["Dense_0"]["bias"]), 0)
    x = x @ np.asarray(params["Dense_1"]["kernel"]) + np.asarray(params["Dense_1"]["bias"])
    np.testing.assert_allclose(model.predict(params, jax.random.key(0), images, "greedy"), x, rtol=1e-4, atol=1e-5)


def test_dropout_acts_in_training_only():
    model, params = make("article_cnn", 8, 8)
    images, labels = images_of(4, 8, 8), jnp.arange(4)
    keys = jax.random.split(jax.random.key(1), 3)
    losses = [float(model.loss(params, key, images, labels, StepInput(jnp.zeros(())))[0]) for key in [*keys, keys[0]]]
    assert len(set(losses[:3])) == 3, "another key, another mask"
    assert losses[3] == losses[0]
    predictions = [
        np.asarray(model.predict(params, key, images, kind)) for key in keys for kind in ("greedy", "sampled")
    ]
    assert all((p == predictions[0]).all() for p in predictions)


@pytest.mark.parametrize("network", ["fc", "paper_cnn", "residual_cnn"])
def test_networks_without_dropout_do_not_depend_on_the_key(network):
    model, params = make(network, 12, 12, units=8)
    images, labels = images_of(4, 12, 12), jnp.arange(4)
    losses = [model.loss(params, jax.random.key(seed), images, labels, StepInput(jnp.zeros(())))[0] for seed in (1, 2)]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("network, smallest", [("fc", 1), ("paper_cnn", 10), ("article_cnn", 6)])
def test_images_below_the_smallest_size_are_refused(network, smallest):
    config = ClassifierConfig(network, 8)
    check_classifier(config, smallest, smallest + 3)
    params = jax.eval_shape(make_classifier(config, smallest, smallest + 3, 1, 10).init, jax.random.key(0))
    assert all(leaf.size for leaf in jax.tree.leaves(params))
    if smallest > 1:
        small = smallest - 1
        with pytest.raises(ValueError, match=rf"^network '{network}' on {small}x20 images: needs at least {smallest}"):
            check_classifier(config, small, 20)


@pytest.mark.parametrize("units", [0, -1])
def test_units_below_one_are_refused(units):
    with pytest.raises(ValueError, match=f"^units {units}: must be at least 1$"):
        check_classifier(ClassifierConfig("fc", units), 28, 28)


def test_loss_is_the_mean_cross_entropy_and_accuracy_counts_hits():
    model, params = make("fc", 4, 4, units=8, classes=3)
    images, labels = images_of(5, 4, 4), jnp.array([0, 1, 2, 0, 1])
    logits = np.asarray(model.predict(params, jax.random.key(0), images, "greedy"), np.float64)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    loss, (metrics, _) = model.loss(params, jax.random.key(0), images, labels, StepInput(jnp.zeros(())))
    assert float(loss) == pytest.approx(-log_probs[np.arange(5), np.asarray(labels)].mean(), rel=1e-5)
    assert metrics["loss"] == loss
    assert float(metrics["accuracy"]) == pytest.approx((logits.argmax(-1) == np.asarray(labels)).mean())


@pytest.mark.parametrize("network, size", [("fc", 4), ("paper_cnn", 10), ("article_cnn", 6), ("residual_cnn", 6)])
def test_classifiers_memorise_16_random_images(network, size):
    model, params = make(network, size, size, units=32, classes=4)
    images, labels = images_of(16, size, size), jnp.arange(16) % 4
    optimizer = optax.adam(3e-3)

    def step(carry, key):
        params, opt_state = carry
        (loss, _), grads = jax.value_and_grad(model.loss, has_aux=True)(
            params, key, images, labels, StepInput(jnp.zeros(()))
        )
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), loss

    train = jax.jit(
        lambda params: jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(jax.random.key(2), 80))
    )
    (params, _), losses = train(params)
    assert np.isfinite(losses).all() and losses[0] > 1
    assert (model.predict(params, jax.random.key(0), images, "greedy").argmax(-1) == labels).all()
