"""Every setting of a spatial transformer network has its effect."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.training.step import StepInput
from experiments.families.stn import PRESETS as STN_PRESETS
from stn.config import NetworkConfig, StnConfig, TransformerConfig
from stn.models import make_stn
from stn.transforms import make_transform

IMAGES = jnp.asarray(np.random.default_rng(0).integers(1, 256, (2, 28, 28, 1), dtype=np.uint8))
COUNTS = {"translation": 2, "attention": 3, "rotated_attention": 4, "affine": 6, "projective": 8, "tps": 2 * 16}


def make(**transformer):
    return make_stn(StnConfig(TransformerConfig(**transformer), NetworkConfig("fcn", units=3)), 28, 28, 1, 10)


def transform_output(net, change):
    """Return the output of one transformer whose parameters are the identity plus ``change`` for every image."""
    params = jax.jit(net.model.init)(jax.random.key(0))
    params["transformer_0_0"]["localisation"]["regression"]["parameters"]["bias"] = jnp.asarray(change, jnp.float32)
    (output,) = jax.jit(net.forward)(params, IMAGES).transformed
    return output


def kernels(net):
    """Return the shapes of the localisation network's kernels, from the image on."""
    localisation = jax.eval_shape(net.model.init, jax.random.key(0))["transformer_0_0"]["localisation"]
    regression = localisation.pop("regression")
    last = regression.pop("parameters")
    layers = [part[name] for part in (localisation, regression) for name in sorted(part)]
    return [layer["kernel"].shape for layer in [*layers, last]]


@pytest.mark.parametrize("name", COUNTS)
def test_transform_sets_the_family(name):
    change = np.random.default_rng(1).uniform(-0.1, 0.1, COUNTS[name])
    output, family = transform_output(make(transform=name), change), make_transform(name, 28, 28)
    np.testing.assert_allclose(output.parameters, np.tile(family.identity + change, (2, 1)), rtol=1e-6)
    np.testing.assert_allclose(output.grids[1], family.grid(jnp.asarray(family.identity + change)), atol=1e-5)


def test_control_points_and_regularisation_set_the_spline():
    change = np.random.default_rng(1).uniform(-0.2, 0.2, 2 * 3**2)
    grids = []
    for regularisation in (0.0, 0.5):
        output = transform_output(make(transform="tps", control_points=3, regularisation=regularisation), change)
        family = make_transform("tps", 28, 28, control=3, regularisation=regularisation)
        np.testing.assert_allclose(output.grids[0], family.grid(jnp.asarray(family.identity + change)), atol=1e-5)
        grids.append(output.grids[0])
    assert jnp.abs(grids[1] - grids[0]).max() > 0.01


@pytest.mark.parametrize("padding, outside", [("border", IMAGES[:, 0, 0, 0] / 255), ("constant", [0.0, 0.0])])
def test_padding_sets_the_values_outside_the_image(padding, outside):
    output = transform_output(make(transform="attention", padding=padding), [2.0, 0, 0])
    np.testing.assert_allclose(output.images[:, 0, 0, 0], outside, atol=1e-6)


def test_pooling_sample_reads_fewer_points():
    """Zooming out, where averages of finer samples have other values."""
    coarse, fine = (
        transform_output(make(downsample=2, pooling=pooling), [2.0, 0, 0, 0, 2, 0]) for pooling in ("sample", "max")
    )
    assert coarse.images.shape == (2, 14, 14, 1) and fine.images.shape == (2, 28, 28, 1)
    # Each coarse point lies in the middle of four fine points.
    np.testing.assert_allclose(coarse.grids[0], fine.grids[0].reshape(14, 2, 14, 2, 2).mean((1, 3)), atol=1e-5)


@pytest.mark.parametrize("downsample, side, last", [(1, 28, 8), (2, 14, 1)])
def test_kernel_shapes_of_the_convolutional_localisation_network(downsample, side, last):
    """The first 5x5 convolution reads ``side`` pixels; ``last`` are left after a pooling and the second one."""
    assert ((side - 4) // 2 - 4) == last
    settings = {"localisation_filters": 3, "localisation_units": 7, "localisation_layers": 2}
    shapes = kernels(make(localisation_downsample=downsample, **settings))
    assert shapes == [(5, 5, 1, 3), (5, 5, 3, 3), (3 * last**2, 7), (7, 7), (7, 6)]


@pytest.mark.parametrize("downsample, pixels", [(1, 784), (2, 196)])
def test_kernel_shapes_of_the_dense_localisation_network(downsample, pixels):
    settings = {"localisation_units": 7, "localisation_layers": 3, "localisation_downsample": downsample}
    assert kernels(make(localisation="dense", **settings)) == [(pixels, 7), (7, 7), (7, 7), (7, 6)]


def test_presets_have_the_localisation_networks_of_the_paper():
    """Appendix A.4: three layers of 32 on the image, or two convolutions of 20 filters on half of it and 20 units."""
    for preset, expected in (
        ("E_st_fcn", [(784, 32), (32, 32), (32, 32), (32, 6)]),
        ("E", [(5, 5, 1, 20), (5, 5, 20, 20), (20, 20), (20, 6)]),
    ):
        assert kernels(make_stn(STN_PRESETS[preset][1].model, 28, 28, 1, 10)) == expected


@pytest.mark.parametrize("downsample", [1, 2])
def test_kernel_shapes_of_localisation_networks_on_feature_maps(downsample):
    settings = TransformerConfig(
        "multi",
        localisation="dense",
        localisation_units=7,
        localisation_layers=2,
        localisation_downsample=downsample,
    )
    net = make_stn(StnConfig(settings, NetworkConfig("cnn11", width=0.125)), 28, 28, 1, 10)
    params = jax.eval_shape(net.model.init, jax.random.key(0))
    # The first two read the 14 pixels that a pooling leaves, the last reads 7.
    for index, side in ((1, 14), (2, 14), (3, 7)):
        part = params[f"feature_transformer_{index}"]["localisation"]["regression"]
        units = [leaf["kernel"].shape for _, leaf in sorted(part.items())]
        channels = params["classifier"][f"Conv_{index - 1}"]["kernel"].shape[-1]
        assert units == [(channels * math.ceil(side / downsample) ** 2, 7), (7, 7), (7, 6)], index


@pytest.mark.parametrize("padding", ["constant", "border"])
def test_padding_sets_the_values_outside_feature_maps(padding):
    """Zooming out of features shows zeros, or the outermost features."""
    settings = TransformerConfig("multi", transform="attention", localisation="dense", padding=padding)
    net = make_stn(StnConfig(settings, NetworkConfig("cnn11", width=0.125)), 28, 28, 1, 10)
    params = jax.jit(net.model.init)(jax.random.key(0))
    params["feature_transformer_1"]["localisation"]["regression"]["parameters"]["bias"] = jnp.array([2.0, 0, 0])
    _, output, *_ = jax.jit(net.forward)(params, IMAGES).transformed
    corner = np.asarray(output.images[:, 0, 0])
    assert np.asarray(output.images).any() and corner.any() == (padding == "border")


def test_downsample_makes_the_classifiers_input_smaller():
    for pooling in ("sample", "average"):
        params = jax.eval_shape(make(downsample=2, pooling=pooling).model.init, jax.random.key(0))
        assert params["classifier"]["Dense_0"]["kernel"].shape == (14 * 14, 3), pooling


@pytest.mark.parametrize("network", ["fcn", "cnn", "cnn11"])
def test_dropout_depends_on_the_key_in_training(network):
    """The loss of the same images depends on the key, and without dropout it does not."""
    size = {"width": 0.125} if network == "cnn11" else {"units": 20}
    for dropout in (0.5, 0.0):
        config = StnConfig(TransformerConfig("none"), NetworkConfig(network, dropout=dropout, **size))
        net = make_stn(config, 28, 28, 1, 10)
        params, loss = jax.jit(net.model.init)(jax.random.key(0)), jax.jit(net.model.loss)
        first, second = (
            loss(params, jax.random.key(key), IMAGES, jnp.arange(2), StepInput(jnp.zeros(())))[0] for key in (1, 2)
        )
        assert (first != second) == (dropout > 0)


@pytest.mark.parametrize(
    "network, expected",
    [("fcn", [(784, 3), (3, 3)]), ("cnn", [(9, 9, 1, 3), (7, 7, 3, 3)])],
)
def test_kernel_shapes_of_the_classifiers(network, expected):
    config = StnConfig(TransformerConfig("none"), NetworkConfig(network, units=3))
    params = jax.eval_shape(make_stn(config, 28, 28, 1, 10).model.init, jax.random.key(0))["classifier"]
    assert [layer["kernel"].shape for _, layer in sorted(params.items())] == expected


def test_presets_with_small_digits_downsample():
    """Presets whose digits are small in the image downsample after the transformer."""
    smaller = {name for name, (_, e) in STN_PRESETS.items() if e.model.transformer.downsample == 2}
    assert smaller == {"RTS", "RTS_st_fcn", "tc60", "addition", "addition_fcn", "addition_cnn"}
    small = dataclasses.replace(STN_PRESETS["RTS"][1].model.transformer, downsample=1)
    assert small == STN_PRESETS["R"][1].model.transformer
