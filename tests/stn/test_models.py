"""Whole networks: their size, their outputs at initialisation, and their gradients."""

import dataclasses
import functools
import math
import re

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.signal import correlate

from common.data.blank import blank_task
from common.networks.cores import CORES
from common.networks.image_classifiers import ClassifierConfig, make_classifier
from common.training.step import StepInput
from experiments.families.soft_attention import PRESETS as SOFT_PRESETS
from experiments.families.stn import PRESETS as STN_PRESETS
from stn.config import NetworkConfig, StnConfig, TransformerConfig, check_stn
from stn.models import fit_units, make_stn
from stn.soft_attention.config import FilterBankConfig, PoolingConfig, SoftAttentionConfig, check_soft_attention
from stn.soft_attention.model import GlimpseReader, make_soft_attention
from tests.experiments.family_of import build

IMAGES = jnp.asarray(np.random.default_rng(0).integers(0, 256, (4, 28, 28, 1), dtype=np.uint8))
LABELS = jnp.arange(4)


def fresh(net):
    return jax.jit(net.model.init)(jax.random.key(0))


def gradient_of(model, params):
    def loss(params):
        return model.loss(params, jax.random.key(1), IMAGES, LABELS, StepInput(jnp.zeros(())))[0]

    return jax.jit(jax.grad(loss))(params)


def shapes_of(experiment):
    data = experiment.data
    return blank_task(data.task, data.resize, data.grayscale)


@pytest.mark.parametrize("name", [n for n, (_, e) in STN_PRESETS.items() if e.model.network.network != "cnn11"])
def test_presets_have_about_the_parameters_of_the_paper(name):
    experiment = STN_PRESETS[name][1]
    net = build(experiment, shapes_of(experiment))
    count = optax.tree.size(jax.eval_shape(net.model.init, jax.random.key(0)))
    assert abs(count - 400_000) < 0.03 * 400_000


def one_of_each(kind, presets):
    """Return the first preset of each kind of model."""
    first = {}
    for name, (_, experiment) in presets.items():
        first.setdefault(kind(experiment.model), name)
    return {name: presets[name] for name in first.values()}


@pytest.mark.parametrize(
    "presets",
    [
        pytest.param(one_of_each(lambda model: model.network.network, STN_PRESETS), id="stn"),
        pytest.param(one_of_each(lambda model: model.attention, SOFT_PRESETS), id="soft_attention"),
        pytest.param(STN_PRESETS | SOFT_PRESETS, id="all", marks=pytest.mark.slow),
    ],
)
def test_presets_predict_scores_for_their_labels(presets):
    shapes = {name: shapes_of(experiment) for name, (_, experiment) in presets.items()}
    # Of presets with the same networks on images of the same shape, one stands for all.
    alike = {(presets[name][1].model, data.image_shape, data.num_classes): name for name, data in shapes.items()}
    for name in alike.values():
        experiment, dataset = presets[name][1], shapes[name]
        model = build(experiment, dataset).model
        params = jax.eval_shape(model.init, jax.random.key(0))
        image = jax.ShapeDtypeStruct((2, dataset.height, dataset.width, dataset.channels), jnp.uint8)
        scores = jax.eval_shape(lambda p, x, m=model: m.predict(p, jax.random.key(0), x, "greedy"), params, image)
        targets = () if dataset.num_targets is None else (dataset.num_targets,)
        assert scores.shape == (2, *targets, dataset.num_classes), name


@pytest.mark.parametrize("budget", [50, 1_000, 400_000])
def test_fit_units_finds_the_width_nearest_to_a_budget(budget):
    def count(units):
        return 3 * units**2 + 40 * units + 7

    best = min(range(1, 1000), key=lambda units: abs(count(units) - budget))
    assert fit_units(count, budget) == best


def test_a_budget_that_no_network_meets_is_refused():
    with pytest.raises(ValueError, match="parameters 10: the smallest of these networks has 1,050"):
        fit_units(lambda units: 1_000 + 50 * units, 10)
    for budget, nearest in ((16_000, "20,000"), (14_000, "10,000")):
        with pytest.raises(ValueError, match=f"parameters {budget}: the nearest of these networks has {nearest}"):
            fit_units(lambda units: 10_000 * units, budget)


@pytest.mark.parametrize("transform", ["attention", "rotated_attention", "affine", "projective", "tps"])
def test_every_fresh_transformer_is_the_identity(transform):
    config = StnConfig(TransformerConfig(transform=transform, localisation_filters=2), NetworkConfig("fcn", units=3))
    net = make_stn(config, 28, 28, 1, 10)
    (output,) = jax.jit(net.forward)(fresh(net), IMAGES).transformed
    np.testing.assert_allclose(output.images, IMAGES / 255, atol=2e-5)


def test_the_background_is_normalised_like_the_image():
    """Zooming out shows the background, not zeros in normalised units."""
    transformer = TransformerConfig(transform="attention", localisation_filters=2, background=0.25)
    network = NetworkConfig("fcn", units=3, input_mean=0.5, input_std=0.2)
    net = make_stn(StnConfig(transformer, network), 28, 28, 1, 10)
    params = fresh(net)

    def zoom_out(path, leaf):
        name = jax.tree_util.keystr(path)
        return leaf.at[0].set(3.0) if "regression" in name and leaf.shape == (3,) else leaf

    gray = jnp.full((1, 28, 28, 1), 64, jnp.uint8)
    (output,) = jax.jit(net.forward)(jax.tree_util.tree_map_with_path(zoom_out, params), gray).transformed
    corner, middle = output.images[0, 0, 0, 0], output.images[0, 14, 14, 0]
    assert corner == pytest.approx((0.25 - 0.5) / 0.2) and middle == pytest.approx((64 / 255 - 0.5) / 0.2, rel=1e-4)


@pytest.mark.parametrize("place, parallel, sequence, number", [("input", 2, 2, 4), ("none", 1, 1, 0)])
def test_gradients_reach_all_transformers(place, parallel, sequence, number):
    transformer = TransformerConfig(place, parallel, sequence, localisation_filters=2, localisation_units=3)
    net = make_stn(StnConfig(transformer, NetworkConfig("fcn", units=3)), 28, 28, 1, 10)
    params = fresh(net)
    assert len(jax.eval_shape(net.forward, params, IMAGES).transformed) == number
    gradient = gradient_of(net.model, params)
    flows = {name: sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(part)) for name, part in gradient.items()}
    assert sum("transformer" in name for name in flows) == number and min(flows.values()) > 0


@pytest.mark.parametrize(
    "place, num_targets, number", [("none", None, 0), pytest.param("multi", 2, 4, marks=pytest.mark.slow)]
)
def test_with_transformers_at_the_identity_cnn11_equals_the_classifier(place, num_targets, number):
    """The two differ only in their transformers, which all start at the identity. Gradients reach them all."""
    classifier = make_classifier(ClassifierConfig("cnn11", width=0.03, dropout=0.0), 28, 28, 1, 10, num_targets)
    transformer = TransformerConfig(place, localisation_filters=2, localisation_units=3, padding="border")
    network = NetworkConfig("cnn11", width=0.03, input_mean=0.5)
    net = make_stn(StnConfig(transformer, network), 28, 28, 1, 10, num_targets)
    layers = jax.jit(classifier.init)(jax.random.key(0))
    last = layers.pop("Dense_3")
    params = fresh(net) | {"classifier": layers, "head": {"logits": last}}
    labels = LABELS if num_targets is None else jnp.stack([LABELS, jnp.full_like(LABELS, 9)], axis=-1)

    def outcome(model, params):
        def loss(params):
            return model.loss(params, jax.random.key(1), IMAGES, labels, StepInput(jnp.zeros(())))[0]

        return jax.nn.log_softmax(model.predict(params, jax.random.key(0), IMAGES, "greedy")), jax.grad(loss)(params)

    scores, gradient = jax.jit(functools.partial(outcome, net.model))(params)
    expected, of_layers = jax.jit(functools.partial(outcome, classifier))(layers | {"Dense_3": last})
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    actual = gradient["classifier"] | {"Dense_3": gradient["head"]["logits"]}
    chex.assert_trees_all_close(actual, of_layers, rtol=1e-4, atol=1e-5)
    transformers = [jax.tree.leaves(part) for name, part in gradient.items() if "transformer" in name]
    assert len(transformers) == number and all(any(map(np.any, leaves)) for leaves in transformers)


@pytest.mark.parametrize("pooling, reduce", [("average", np.mean), ("max", np.max)])
def test_the_image_is_downsampled_also_without_transformers(pooling, reduce):
    """Leaving the transformers out must change nothing else."""
    transformer = TransformerConfig("none", downsample=2, pooling=pooling)
    smaller = make_stn(StnConfig(transformer, NetworkConfig("fcn", units=3)), 28, 28, 1, 10)
    plain = make_stn(StnConfig(TransformerConfig("none"), NetworkConfig("fcn", units=3)), 14, 14, 1, 10)
    params = fresh(plain)
    squares = reduce(np.asarray(IMAGES / 255).reshape(4, 14, 2, 14, 2, 1), axis=(2, 4))
    logits = jax.jit(plain.forward)(params, squares).logits
    np.testing.assert_allclose(jax.jit(smaller.forward)(params, IMAGES).logits, logits, atol=1e-5)


def test_localisation_rate_scales_only_localisation_networks():
    transformer = TransformerConfig(localisation_rate=0.1, localisation_filters=2)
    net = make_stn(StnConfig(transformer, NetworkConfig("fcn", units=3)), 28, 28, 1, 10)
    factors = net.model.rate_factors(fresh(net))
    by_name = {jax.tree_util.keystr(path): factor for path, factor in jax.tree_util.tree_leaves_with_path(factors)}
    assert set(by_name.values()) == {0.1, 1.0}
    assert all((factor == 0.1) == ("localisation" in name) for name, factor in by_name.items())


@pytest.mark.parametrize(
    "transformer, network, message",
    [
        ({"control_points": 1}, {}, "control_points 1: must be at least 2"),
        ({}, {"width": 0.0}, "width 0.0: must be above 0"),
        ({}, {"units": 8, "parameters": 10**5}, "parameters 100000 with units 8: give one of them"),
        ({"background": 1.5}, {}, "background 1.5: must be from 0 to 1"),
        ({"localisation_layers": -1}, {}, "localisation_layers -1: must be at least 0"),
        ({"parallel": 0}, {}, "parallel 0: must be at least 1"),
        ({"localisation_downsample": 3}, {}, "localisation_downsample 3 on 10x10 images: needs at least 13x13"),
        ({"place": "multi"}, {}, "place 'multi' with network 'cnn': only network cnn11 has room for them"),
        ({"place": "none", "downsample": 2, "pooling": "sample"}, {}, "pooling 'sample' with place 'none'"),
        ({}, {"input_std": 0.0}, "input_std 0.0: must be above 0"),
        ({}, {"input_mean": math.inf}, "input_mean inf: must be a finite number"),
        ({}, {"dropout": 1.0}, "dropout 1.0: must be at least 0 and below 1"),
        ({}, {"label_smoothing": -0.1}, "label_smoothing -0.1: must be at least 0 and below 1"),
        ({"downsample": 2}, {}, "network 'cnn' with downsample 2 on 14x14 images: needs at least 21x21"),
    ],
)
def test_bad_configurations_are_refused(transformer, network, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        check_stn(StnConfig(TransformerConfig(**transformer), NetworkConfig(**network)), 28, 28)


def test_label_smoothing_changes_the_loss_but_not_the_predictions():
    nets = [
        make_stn(StnConfig(network=NetworkConfig("fcn", units=3, label_smoothing=smoothing)), 28, 28, 1, 10)
        for smoothing in (0.0, 0.2)
    ]
    params, step_input = fresh(nets[0]), StepInput(jnp.zeros(()))
    inputs = (params, jax.random.key(0), IMAGES)
    hard, smooth = (jax.jit(net.model.loss)(*inputs, LABELS, step_input)[0] for net in nets)
    logits, of_smooth = (jax.jit(net.model.predict, static_argnums=3)(*inputs, "mean") for net in nets)
    spread = -jax.nn.log_softmax(logits).mean()
    assert smooth == pytest.approx(float(0.8 * hard + 0.2 * spread), rel=1e-5) and smooth != hard
    np.testing.assert_array_equal(logits, of_smooth)


def soft_net(**changes):
    bank = FilterBankConfig(num_glimpses=3, glimpse_size=5, units=6, core_hidden=7)
    config = SoftAttentionConfig("filter_bank", filter_bank=dataclasses.replace(bank, **changes))
    return make_soft_attention(config, 28, 28, 1, 10)


def soft(**changes):
    net = soft_net(**changes)
    return net, fresh(net)


def soft_shapes(**changes):
    return jax.eval_shape(soft_net(**changes).model.init, jax.random.key(0))


def test_differentiable_ram_returns_maps_and_windows():
    net, params = soft()
    attended = jax.jit(net.attend)(params, IMAGES)
    assert attended.logits.shape == (3, 4, 10) and attended.patches.shape == (3, 4, 5, 5, 1)
    assert attended.maps.shape == (4, 3, 28, 28)
    np.testing.assert_allclose(attended.maps.sum(axis=(2, 3)), 1, rtol=1e-4)
    # It begins with the whole image, the same for all; then images differ.
    strides = np.asarray(attended.windows.stride)
    assert np.ptp(strides[0]) == 0 and np.ptp(strides[2]) > 0
    assert strides[0, 0] == pytest.approx(27 / 4)


def test_sigma_is_relative_to_the_stride_or_in_pixels():
    """Sigma is in pixels, as in the paper, or in half strides; the first window has zero parameters."""
    for relative in (True, False):
        net, params = soft(relative_sigma=relative)
        windows = jax.jit(net.attend)(params, IMAGES).windows
        np.testing.assert_allclose(windows.sigma[0], windows.stride[0] / 2 if relative else 1.0, rtol=1e-6)
        # In all windows the logarithm of the variance is what the core's output gives, here always 0.6.
        params["window"] = jax.tree.map(jnp.zeros_like, params["window"])
        params["window"]["bias"] = jnp.array([0.0, 0, 0.6, -0.8, 0])
        windows = jax.jit(net.attend)(params, IMAGES).windows
        stride = 27 / 4 * math.exp(-0.8)
        np.testing.assert_allclose(windows.stride, np.full((3, 4), stride), rtol=1e-5)
        expected = math.exp(0.3) * (stride / 2 if relative else 1.0)
        np.testing.assert_allclose(windows.sigma, np.full((3, 4), expected), rtol=1e-5)


def test_kernel_shapes_of_the_convolutional_glimpse_network():
    params = soft_shapes(glimpse_network="conv", conv_channels=3, glimpse_size=12)
    kernels = {name: layer["kernel"].shape for name, layer in params["what"].items()}
    assert [kernels[f"what_{index}"] for index in range(3)] == [(5, 5, 1, 3), (3, 3, 3, 3), (3, 3, 3, 6)]


@pytest.mark.parametrize("name", CORES)
def test_differentiable_ram_has_the_configured_core(name):
    params = soft_shapes(core=name, core_hidden=8)
    core, features = CORES[name](hidden=8, num_glimpses=3), jnp.zeros((4, 6))
    alone = jax.eval_shape(lambda key: core.init(key, core.initial_state((4,)), features), jax.random.key(0))
    chex.assert_trees_all_equal_shapes_and_dtypes(params["core"], alone["params"])


def test_the_loss_is_at_the_last_or_at_every_glimpse():
    every, params = soft()
    last = soft_net(classify_at="last")
    logits = np.asarray(jax.jit(every.attend)(params, IMAGES).logits, float)
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    each = -log_probs[:, np.arange(4), np.asarray(LABELS)].mean(axis=1)
    inputs = (jax.random.key(1), IMAGES, LABELS, StepInput(jnp.zeros(())))
    losses = [float(jax.jit(net.model.loss)(params, *inputs)[0]) for net in (every, last)]
    np.testing.assert_allclose(losses, [each.mean(), each[-1]], rtol=1e-5)


def test_gradients_of_the_loss_reach_the_windows():
    net, params = soft(classify_at="last")
    gradient = gradient_of(net.model, params)
    assert float(jnp.abs(gradient["window"]["kernel"]).sum()) > 0


def test_window_clip_limits_the_gradient_of_each_image():
    """With one glimpse the window is the bias: its gradient is the mean of the clipped gradients of each image."""

    @functools.cache
    def gradient(most):
        net = soft_net(num_glimpses=1, window_clip=most)
        return jax.jit(jax.grad(net.model.loss, has_aux=True))

    def derivative(most, chosen):
        gradients, _ = gradient(most)(
            params, jax.random.key(1), IMAGES[chosen], LABELS[chosen], StepInput(jnp.zeros(()))
        )
        return np.asarray(gradients["window"]["bias"])

    _, params = soft(num_glimpses=1)
    alone = np.stack([derivative(0.0, slice(image, image + 1)) for image in range(4)])
    most = float(np.median(np.abs(alone)))
    np.testing.assert_allclose(derivative(0.0, slice(None)), alone.mean(axis=0), rtol=1e-4, atol=1e-6)
    expected = np.clip(alone, -most, most).mean(axis=0)
    np.testing.assert_allclose(derivative(most, slice(None)), expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(expected, alone.mean(axis=0), rtol=1e-2)


def test_the_glimpse_reader_equals_scipy():
    reader = GlimpseReader(channels=2, units=3)
    patches = np.random.default_rng(3).uniform(size=(2, 10, 10, 2))
    params = jax.jit(reader.init)(jax.random.key(4), jnp.zeros(patches.shape))["params"]
    actual = jax.jit(reader.apply)({"params": params}, jnp.asarray(patches, jnp.float32))
    features = 4 * patches
    for layer in range(3):
        kernel, bias = (np.asarray(params[f"what_{layer}"][name], float) for name in ("kernel", "bias"))
        maps = [correlate(x, kernel[..., f], "valid")[..., 0] for x in features for f in range(kernel.shape[-1])]
        features = np.stack(maps).reshape(2, kernel.shape[-1], *maps[0].shape).transpose(0, 2, 3, 1)
        features = np.maximum(features + bias, 0)
    assert features.shape == (2, 2, 2, 4)
    expected = features.reshape(2, -1) @ np.asarray(params["what"]["kernel"], float) + np.asarray(
        params["what"]["bias"]
    )
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


def test_gradients_reach_the_convolutional_glimpse_network():
    net, params = soft(num_glimpses=2, glimpse_network="conv", glimpse_size=9, conv_channels=8)
    gradient = gradient_of(net.model, params)
    for name in ("what_0", "what_1", "what_2", "what"):
        assert float(jnp.abs(gradient["what"][name]["kernel"]).sum()) > 0, name
    assert float(jnp.abs(gradient["window"]["kernel"]).sum()) > 0
    config = FilterBankConfig(glimpse_network="conv", glimpse_size=6)
    with pytest.raises(
        ValueError, match="glimpse_size 6 with glimpse_network 'conv': its convolutions need at least 7"
    ):
        check_soft_attention(SoftAttentionConfig(filter_bank=config), 28, 28)


def test_units_of_the_transformer_are_shared_by_its_heads():
    config = FilterBankConfig(core="transformer", core_hidden=258)
    with pytest.raises(ValueError, match="^heads of the transformer 4: must divide core_hidden 258$"):
        check_soft_attention(SoftAttentionConfig(filter_bank=config), 28, 28)


@pytest.mark.parametrize("scores, heads", [("additive", 1), ("dot_product", 2)])
def test_pooling_maps_lie_over_the_feature_grid(scores, heads):
    pooling = PoolingConfig(scores, heads=heads, size=4, filters=2, layers=2, hidden=5)
    net = make_soft_attention(SoftAttentionConfig("pooling", pooling), 28, 28, 1, 10)
    params = fresh(net)
    assert set(params["pooling"]) == {"query"} | (
        {"key", "value"} if scores == "dot_product" else {"feature", "vector"}
    )
    attended = jax.jit(net.attend)(params, IMAGES)
    assert attended.logits.shape == (1, 4, 10) and attended.maps.shape == (4, heads, 7, 7)
    np.testing.assert_allclose(attended.maps.sum(axis=(2, 3)), 1, rtol=1e-5)
