"""Classifiers of whole numbers against counts by hand, PyTorch, and an enumeration of all numbers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from common.networks.image_classifiers import ClassifierConfig, check_classifier, make_classifier
from common.networks.multi_digit import LAYOUTS, joint_log_probs, make_output
from common.training.evaluation import average_over_episodes, predicted
from common.training.step import StepInput

STEP_INPUT = StepInput(jnp.zeros(()))


def images_of(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8))


# -- The networks. --


def dense(*units):
    return sum(a * b + b for a, b in itertools.pairwise(units))


def convolutions(kernel, *filters):
    return sum(kernel * kernel * a * b + b for a, b in itertools.pairwise(filters))


EIGHT = (48, 64, 128, 160, 192, 192, 192)
# Sides after the poolings: 54, 27, 14, 7, 4, and for the 10 layers 54, 27, 14, 7.
COUNTS = [
    ("cnn11", 1.0, (54, 54, 3), convolutions(5, 3, *EIGHT, 192) + dense(4 * 4 * 192, 3072, 3072, 3072, 66)),
    ("cnn10", 1.0, (54, 54, 3), convolutions(5, 3, *EIGHT, 256) + dense(7 * 7 * 256, 3072, 3072, 66)),
    ("cnn11", 0.25, (32, 32, 1), convolutions(5, 1, 12, 16, 32, 40, *[48] * 4) + dense(4 * 48, *[768] * 3, 66)),
    ("article_digits", 1.0, (32, 32, 1), convolutions(3, 1, 32, 32, 64, 64, 128, 128) + dense(4 * 4 * 128, 512, 66)),
    ("addition_cnn", 1.0, (100, 100, 1), convolutions(5, 1, 64, 64, 64) + dense(13 * 13 * 64, 512, 66)),
]


def parameters(network, shape, **config):
    model = make_classifier(ClassifierConfig(network, **config), *shape, 11, 6)
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))))


@pytest.mark.parametrize("network, width, shape, count", COUNTS)
def test_parameter_counts_by_hand(network, width, shape, count):
    assert parameters(network, shape, width=width) == count
    # A head for 7 lengths, and 6 for digits, in place of 6 for 11 symbols.
    features = {"cnn11": 3072, "cnn10": 3072}.get(network, 512) * width
    assert parameters(network, shape, width=width, heads="length") == count + (7 + 60 - 66) * (features + 1)


@pytest.mark.parametrize("side, millions, billions", [(54, 51, 2.1), (110, 169, 8.5)])
def test_cnn10_has_the_cost_of_the_paper(side, millions, billions):
    layout = LAYOUTS["cnn10"]
    assert len(layout.filters) + len(layout.dense) == 10
    assert parameters("cnn10", (side, side, 3)) / 1e6 == pytest.approx(millions, rel=0.04)
    products, channels = 0, 3
    for filters, stride in zip(layout.filters, layout.strides, strict=True):
        products += side**2 * layout.kernel**2 * channels * filters
        channels, side = filters, -(-side // 2) if stride == 2 else side
    units = (side**2 * channels, *layout.dense)
    products += sum(a * b for a, b in itertools.pairwise(units))
    assert products / 1e9 == pytest.approx(billions, rel=0.07)


@pytest.mark.parametrize("network", ["cnn11", "cnn10"])
def test_forward_pass_against_pytorch(network):
    torch = pytest.importorskip("torch")
    functional, layout = torch.nn.functional, LAYOUTS[network]
    model = make_classifier(ClassifierConfig(network, width=0.04, heads="end"), 13, 10, 3, 4, 2)
    params = jax.jit(model.init)(jax.random.key(0))
    images = images_of(2, 13, 10, 3)
    x = torch.tensor(np.asarray(images) / 255.0).permute(0, 3, 1, 2)
    x = 4 * (x - x.mean(dim=(1, 2, 3), keepdim=True))

    def weights(name):
        return (torch.tensor(np.asarray(params[name][part], np.float64)) for part in ("kernel", "bias"))

    for index, stride in enumerate(layout.strides):
        kernel, bias = weights(f"Conv_{index}")
        x = functional.relu(functional.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=2))
        if stride:
            # Padding at the lower and right edge must never be the largest value.
            down, right = (1 if stride == 1 or side % 2 else 0 for side in x.shape[2:])
            x = functional.max_pool2d(functional.pad(x, (0, right, 0, down), value=-torch.inf), 2, stride)
    x = x.permute(0, 2, 3, 1).reshape(2, -1)
    for index in range(len(layout.dense) + 1):
        kernel, bias = weights(f"Dense_{index}")
        x = x @ kernel + bias
        x = functional.relu(x) if index < len(layout.dense) else x
    expected = functional.log_softmax(x.reshape(2, 2, 4), dim=-1)
    actual = jax.jit(model.predict, static_argnums=3)(params, jax.random.key(0), images, "greedy")
    np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_predictions_ignore_brightness_and_dropout_acts_in_training_only():
    model = make_classifier(ClassifierConfig("addition_cnn", width=0.1), 8, 8, 1, 5)
    params, images = jax.jit(model.init)(jax.random.key(0)), images_of(3, 8, 8, 1) // 2
    predict, loss = jax.jit(model.predict, static_argnums=3), jax.jit(model.loss)
    dark, bright = (predict(params, jax.random.key(1), i, "greedy") for i in (images, images + jnp.uint8(100)))
    assert dark.shape == (3, 5), "one class"
    np.testing.assert_allclose(dark, bright, atol=1e-4)
    np.testing.assert_array_equal(dark, predict(params, jax.random.key(2), images, "sampled"))
    losses = [float(loss(params, jax.random.key(seed), images, jnp.arange(3), STEP_INPUT)[0]) for seed in (1, 2, 1)]
    assert losses[0] == losses[2] != losses[1]


@pytest.mark.parametrize("name, value", [("width", 0.0), ("width", np.nan), ("dropout", 1.0)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name} {value}: must be "):
        check_classifier(ClassifierConfig("cnn11", **{name: value}), 32, 32)


def test_no_layer_is_empty_at_a_small_width():
    model = make_classifier(ClassifierConfig("article_digits", width=1e-6), 1, 1, 1, 11, 6)
    assert all(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0))))


# -- Sequences. --

DIGITS, TARGETS = 3, 3
END = DIGITS


def all_numbers():
    """Yield every number of up to three digits in base three, with its label."""
    for length in range(TARGETS + 1):
        for digits in itertools.product(range(DIGITS), repeat=length):
            yield digits, [*digits, *[END] * (TARGETS - length)]


def random_log_probs(batch, seed=0):
    keys = jax.random.split(jax.random.key(seed))
    lengths = jax.nn.log_softmax(2 * jax.random.normal(keys[0], (batch, TARGETS + 1)))
    return lengths, jax.nn.log_softmax(jax.random.normal(keys[1], (batch, TARGETS, DIGITS)))


def joint(lengths, digits, number):
    """Return the joint log-probability of one number under the heads of one image."""
    return lengths[len(number)] + sum(digits[place, digit] for place, digit in enumerate(number))


def test_the_most_likely_number_is_decoded():
    lengths, digits = random_log_probs(200)
    actual = np.asarray(predicted(joint_log_probs(lengths, digits)))
    numbers = list(all_numbers())
    scores = np.array(
        [
            [joint(*heads, number) for number, _ in numbers]
            for heads in zip(*map(np.asarray, (lengths, digits)), strict=True)
        ]
    )
    expected = np.array([label for _, label in numbers])[scores.argmax(axis=1)]
    np.testing.assert_array_equal(actual, expected)
    assert set((expected != END).sum(axis=1)) == {0, 1, 2, 3}, "all lengths are met"
    # The symbols that are most likely separately form other numbers.
    marginal = jnp.log(jnp.cumsum(jnp.exp(lengths), axis=1))[:, :-1, None]
    alone = jnp.concatenate([digits + jnp.log1p(-jnp.exp(marginal)), marginal], axis=-1)
    assert (np.asarray(predicted(alone)) != expected).any()


def test_the_score_of_a_symbol_is_that_of_the_best_number_with_it():
    lengths, digits = random_log_probs(1, seed=3)
    scores = np.asarray(joint_log_probs(lengths, digits))[0]
    np.testing.assert_allclose(np.exp(scores).sum(axis=-1), 1, rtol=1e-5)
    best = digits[0].argmax(-1)
    for place in range(TARGETS):
        begun = tuple(int(digit) for digit in best[:place])
        values = np.full(DIGITS + 1, -np.inf)
        for number, label in all_numbers():
            if number[:place] == begun:
                values[label[place]] = max(values[label[place]], joint(lengths[0], digits[0], number))
        np.testing.assert_allclose(np.diff(scores[place]), np.diff(values), atol=1e-5)


@pytest.mark.parametrize("heads", ["end", "length"])
def test_probabilities_of_all_numbers_add_up_to_one(heads):
    output = make_output(heads, DIGITS + 1, TARGETS)
    labels = jnp.array([label for _, label in all_numbers()])
    outputs = jax.random.normal(jax.random.key(0), (1, output.size))
    losses = output.loss(jnp.repeat(outputs, len(labels), axis=0), labels)
    assert float(jnp.exp(-losses).sum()) == pytest.approx(1, rel=1e-5)
    assert output.scores(outputs).shape == (1, TARGETS, DIGITS + 1)


def test_loss_with_end_symbols_by_hand():
    output, labels = make_output("end", 4, 3), jnp.array([[1, 3, 3], [0, 2, 1], [3, 3, 3]])
    outputs = jax.random.normal(jax.random.key(0), (3, 12))
    log_probs = np.asarray(jax.nn.log_softmax(outputs.reshape(3, 3, 4)))
    expected = [
        -log_probs[0, 0, 1] - log_probs[0, 1, 3],
        -log_probs[1, 0, 0] - log_probs[1, 1, 2] - log_probs[1, 2, 1],
        -log_probs[2, 0, 3],
    ]
    np.testing.assert_allclose(output.loss(outputs, labels), expected, rtol=1e-5)
    np.testing.assert_allclose(output.scores(outputs), log_probs, rtol=1e-5)


def test_loss_with_a_length_by_hand():
    output, labels = make_output("length", 4, 3), jnp.array([[1, 3, 3], [0, 2, 1], [3, 3, 3]])
    outputs = jax.random.normal(jax.random.key(0), (3, 4 + 9))
    lengths = np.asarray(jax.nn.log_softmax(outputs[:, :4]))
    digits = np.asarray(jax.nn.log_softmax(outputs[:, 4:].reshape(3, 3, 3)))
    expected = [
        -lengths[0, 1] - digits[0, 0, 1],
        -lengths[1, 3] - digits[1, 0, 0] - digits[1, 1, 2] - digits[1, 2, 1],
        -lengths[2, 0],
    ]
    np.testing.assert_allclose(output.loss(outputs, labels), expected, rtol=1e-5)


@pytest.mark.parametrize("heads", ["end", "length"])
def test_the_average_of_equal_scores_predicts_the_same(heads):
    output = make_output(heads, DIGITS + 1, TARGETS)
    scores = output.scores(jax.random.normal(jax.random.key(0), (50, output.size)))
    for average in average_over_episodes(jnp.stack([scores] * 3)):
        np.testing.assert_array_equal(average, predicted(scores))


def draw_numbers(key, batch):
    """Draw up to three digits from left to right, each a bar at its own height on a dark background."""
    keys = jax.random.split(key, 3)
    digits = jax.random.randint(keys[0], (batch, TARGETS), 0, DIGITS)
    length = jax.random.randint(keys[1], (batch, 1), 0, TARGETS + 1)
    labels = jnp.where(jnp.arange(TARGETS)[None] < length, digits, END)
    bars = 150 * (labels[:, None] == jnp.arange(6)[None, :, None] // 2)
    images = jnp.repeat(bars, 2, axis=2) + jax.random.randint(keys[2], (batch, 6, 6), 0, 50)
    return images[..., None].astype(jnp.uint8), labels


@pytest.mark.parametrize(
    "heads, network", [pytest.param("end", "addition_cnn", marks=pytest.mark.slow), ("end", "fc"), ("length", "fc")]
)
def test_classifiers_learn_to_read_numbers(heads, network):
    config = ClassifierConfig(network, units=32, width=0.25, dropout=0.1, heads=heads)
    model, optimizer = make_classifier(config, 6, 6, 1, 4, 3), optax.adam(5e-3)

    def step(carry, key):
        params, opt_state = carry
        (loss, (metrics, _)), grads = jax.value_and_grad(model.loss, has_aux=True)(
            params, key, *draw_numbers(key, 32), STEP_INPUT
        )
        updates, opt_state = optimizer.update(grads, opt_state)
        return (optax.apply_updates(params, updates), opt_state), (loss, metrics["accuracy"])

    @jax.jit
    def train(key):
        params = model.init(key)
        return jax.lax.scan(step, (params, optimizer.init(params)), jax.random.split(key, 90))

    (params, _), (losses, accuracy) = train(jax.random.key(0))
    images, labels = draw_numbers(jax.random.key(2), 500)
    right = (predicted(model.predict(params, jax.random.key(0), images, "greedy")) == labels).all(axis=1)
    assert losses[0] > 2 and accuracy[0] < 0.3, "of whole numbers"
    assert right.mean() > 0.9
