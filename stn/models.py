"""Spatial transformer networks as models, and the same networks without transformers."""

import functools
from collections.abc import Callable
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.networks.multi_digit import LAYOUTS, MultiDigitCnn
from common.networks.targets import Head, accuracy, cross_entropy
from common.training.step import Model, StepInput
from stn.classifiers import Cnn, Fcn
from stn.config import StnConfig, TransformerConfig, output_size
from stn.localisation import ConvolutionalLocalisation, DenseLocalisation, rate_factors
from stn.transformer import SpatialTransformer, TransformerOutput, in_parallel, pool, trace_back
from stn.transforms import Transform, make_transform

# Indices of the convolutions that have a transformer before them with place 'multi', beside the one on the image.
INNER = (1, 2, 3)


class StnOutput(NamedTuple):
    """The outputs of a spatial transformer network.

    Attributes:
      logits: ``[B, num_classes]``, or ``[B, S, num_classes]``.
      features: features of the classifier, ``[B, D]``.
      transformed: the output of each transformer: those on the image branch by branch, then those on feature maps.
        Images are normalised, as the network sees them.
    """

    logits: Float[Array, "B *S num_classes"]
    features: Float[Array, "B D"]
    transformed: tuple[TransformerOutput, ...]


class StnModel(NamedTuple):
    """A spatial transformer network for images of one size, as pure functions.

    Attributes:
      model: its initialisation, loss and prediction.
      forward: ``(params, images [B, H, W, C]) -> StnOutput``, without dropout; images are uint8, or floats in [0, 1].
    """

    model: Model
    forward: Callable[..., StnOutput]


class Stn(nn.Module):
    """A spatial transformer network as a flax module.

    Attributes:
      config: the configuration.
      units: units of fcn or filters of cnn.
      num_classes: classes, or symbols with the end symbol.
      num_targets: symbols S of a label, or None where a label is one class.
    """

    config: StnConfig
    units: int
    num_classes: int
    num_targets: int | None = None

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> StnOutput:
        """Compute logits of normalised images; dropout acts only when ``train``."""
        config, network = self.config.transformer, self.config.network
        transformed: list[TransformerOutput] = []
        x = images
        if config.place != "none":
            branches = [
                [self._transformer(images.shape, number, step) for step in range(config.sequence)]
                for number in range(config.parallel)
            ]
            x, outputs = in_parallel(branches, images)
            transformed.extend(outputs)
        if config.pooling != "sample":
            x = pool(x, config.downsample, config.pooling)

        def before(index: int, features: Array) -> Array:
            if index not in INNER:
                return features
            inner = self._inner_transformer(features.shape, index)
            # With several transformers side by side on the image, traced back through the last one.
            transformed.append(trace_back(inner(features), transformed[-1], inner.transform.align_corners))
            return transformed[-1].images

        classifier = {
            "fcn": lambda: Fcn(self.units, network.dropout, name="classifier"),
            "cnn": lambda: Cnn(self.units, network.dropout, name="classifier"),
            "cnn11": lambda: MultiDigitCnn(
                LAYOUTS["cnn11"],
                None,
                network.width,
                network.dropout,
                before if config.place == "multi" else None,
                name="classifier",
            ),
        }[network.network]()
        features = classifier(x, train)
        logits = Head(self.num_classes, self.num_targets, name="head")(features)
        return StnOutput(logits, features, tuple(transformed))

    def _transformer(self, shape: tuple[int, ...], number: int, step: int) -> SpatialTransformer:
        """Make a transformer on the image or on an earlier one's output; the last of a sequence may downsample."""
        config = self.config.transformer
        network, name = self.config.network, f"transformer_{number}_{step}"
        last = step == config.sequence - 1
        size = output_size(config, *shape[1:3]) if last and config.pooling == "sample" else shape[1:3]
        transform = make_family(config, *size)
        fill = (config.background - network.input_mean) / network.input_std
        identity = tuple(transform.identity.tolist())
        return SpatialTransformer(localisation_network(config, identity), transform, config.padding, fill, name=name)

    def _inner_transformer(self, shape: tuple[int, ...], index: int) -> SpatialTransformer:
        """Make a transformer on a feature map; constant padding is with zeros, which mean no feature."""
        config = self.config.transformer
        transform = make_family(config, *shape[1:3])
        network = DenseLocalisation(
            tuple(transform.identity.tolist()),
            config.localisation_units,
            config.localisation_layers,
            config.localisation_downsample,
            parent=None,
        )
        return SpatialTransformer(network, transform, config.padding, name=f"feature_transformer_{index}", parent=self)


def make_family(config: TransformerConfig, height: int, width: int) -> Transform:
    """Make the configured family of transformations for outputs of ``height x width`` pixels."""
    return make_transform(
        config.transform, height, width, control=config.control_points, regularisation=config.regularisation
    )


def localisation_network(config: TransformerConfig, identity: tuple[float, ...]) -> nn.Module:
    """Make the configured localisation network for images, as an unbound submodule of a transformer."""
    units, layers, downsample = config.localisation_units, config.localisation_layers, config.localisation_downsample
    if config.localisation == "dense":
        return DenseLocalisation(identity, units, layers, downsample, parent=None)
    return ConvolutionalLocalisation(identity, config.localisation_filters, units, layers, downsample, parent=None)


def fit_units(count: Callable[[int], int], budget: int) -> int:
    """Return the width of the hidden layers that brings the number of parameters nearest to a budget.

    Args:
      count: ``width -> number of parameters``, a quadratic function.
      budget: the number of parameters to come near to.

    Raises:
      ValueError: the nearest number differs from the budget by more than a tenth.
    """
    # Three values determine a quadratic function.
    one, two, three = (count(units) for units in (1, 2, 3))
    curve = (three - 2 * two + one) / 2
    slope = two - one - 3 * curve

    def at(units: int) -> float:
        return one + slope * (units - 1) + curve * (units**2 - 1)

    units = 1
    while abs(at(units + 1) - budget) <= abs(at(units) - budget):
        units += 1
    if abs(count(units) - budget) > 0.1 * budget:
        which = "smallest" if units == 1 and count(1) > budget else "nearest"
        raise ValueError(f"parameters {budget}: the {which} of these networks has {count(units):,}")
    return units


def make_stn(
    config: StnConfig, height: int, width: int, channels: int, num_classes: int, num_targets: int | None = None
) -> StnModel:
    """Build a spatial transformer network for images of ``height x width x channels``.

    Args:
      config: the configuration.
      height: rows of the images.
      width: columns of the images.
      channels: channels of the images.
      num_classes: classes, or symbols with the end symbol.
      num_targets: symbols S of a label, or None where a label is one class.

    Raises:
      ValueError: no network comes near the configured number of parameters (`fit_units`).
    """
    network, blank = config.network, jnp.zeros((1, height, width, channels))

    def with_units(units: int) -> Stn:
        return Stn(config, units, num_classes, num_targets)

    def count(units: int) -> int:
        return optax.tree.size(jax.eval_shape(lambda key: with_units(units).init(key, blank, False), jax.random.key(0)))

    fitted = not network.units and network.network != "cnn11"
    module = with_units(fit_units(count, network.parameters) if fitted else network.units)

    @jax.jit
    def init(key: Key[Array, ""]) -> PyTree:
        return module.init(key, blank, False)["params"]

    def apply(params: PyTree, images: Array, train: bool, key: Key[Array, ""] | None = None) -> StnOutput:
        pixels = images / 255.0 if images.dtype == jnp.uint8 else images
        normalised = (pixels - network.input_mean) / network.input_std
        rngs = {} if key is None else {"dropout": key}
        return cast(StnOutput, module.apply({"params": params}, normalised, train, rngs=rngs))

    def loss(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B *S"],
        step_input: StepInput,
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        logits = apply(params, images, True, key).logits
        value = cross_entropy(logits, labels, network.label_smoothing).mean()
        return value, ({"loss": value, "accuracy": accuracy(logits, labels)}, step_input.estimator_state)

    def forward(params: PyTree, images: Array) -> StnOutput:
        return apply(params, images, False)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: PyTree = ()
    ) -> Array:
        del key, kind, hyper  # One forward pass, whatever the policy.
        return forward(params, images).logits

    factor = config.transformer.localisation_rate
    factors = None if factor == 1 else functools.partial(rate_factors, factor=factor)
    return StnModel(Model(init, loss, predict, rate_factors=factors), forward)
