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
from common.training.step import Given, Model
from stn.classifiers import Cnn, Fcn
from stn.config import StnConfig, TransformerConfig, output_size
from stn.localisation import ConvolutionalLocalisation, DenseLocalisation, rate_factors
from stn.transformer import SpatialTransformer, Transformed, in_parallel, pool, traced_back
from stn.transforms import Transform, make_transform

# Transformers on feature maps: before the second, third and fourth convolution.
INNER = (1, 2, 3)


class StnOutput(NamedTuple):
    """What a network makes of images.

    Attributes:
      logits: ``[B, num_classes]``, or ``[B, S, num_classes]``.
      features: ``[B, D]``.
      transformed: what each transformer did, in the order of the data: those on the image first, branch by branch.
        Their images are as the network sees them, normalised.
    """

    logits: Float[Array, "B *S num_classes"]
    features: Float[Array, "B D"]
    transformed: tuple[Transformed, ...]


class StnModel(NamedTuple):
    """A spatial transformer network for images of one size, as pure functions.

    Attributes:
      model: its initialisation, loss and prediction.
      look: ``(params, images [B, H, W, C]) -> StnOutput``, of images that are uint8, or floats in [0, 1].
    """

    model: Model
    look: Callable[..., StnOutput]


class Stn(nn.Module):
    """The parameters of a spatial transformer network."""

    config: StnConfig
    units: int
    num_classes: int
    num_targets: int | None = None

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> StnOutput:
        """Normalised images to logits."""
        config, network = self.config.transformer, self.config.network
        done: list[Transformed] = []
        x = images
        if config.place != "none":
            branches = [
                [self._transformer(images.shape, number, step) for step in range(config.sequence)]
                for number in range(config.parallel)
            ]
            x, records = in_parallel(branches, images)
            done.extend(records)
        if config.pooling != "sample":
            x = pool(x, config.downsample, config.pooling)

        def before(index: int, features: Array) -> Array:
            if index not in INNER:
                return features
            inner = self._inner_transformer(features.shape, index)
            # Of several side by side on the image, through the last.
            done.append(traced_back(inner(features), done[-1], inner.transform.align_corners))
            return done[-1].images

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
        return StnOutput(logits, features, tuple(done))

    def _transformer(self, shape: tuple[int, ...], number: int, step: int) -> SpatialTransformer:
        """On the image, or on what an earlier transformer saw of it; the last of a sequence may see less."""
        config = self.config.transformer
        network, name = self.config.network, f"transformer_{number}_{step}"
        last = step == config.sequence - 1
        size = output_size(config, *shape[1:3]) if last and config.pooling == "sample" else shape[1:3]
        transform = make_family(config, *size)
        fill = (config.background - network.input_mean) / network.input_std
        identity = tuple(transform.identity.tolist())
        return SpatialTransformer(localisation_network(config, identity), transform, config.padding, fill, name=name)

    def _inner_transformer(self, shape: tuple[int, ...], index: int) -> SpatialTransformer:
        """On a feature map; of constant padding, there is nothing outside of it."""
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
    """The configured family of transformations for outputs of ``height x width`` pixels."""
    return make_transform(
        config.transform, height, width, control=config.control_points, regularisation=config.regularisation
    )


def localisation_network(config: TransformerConfig, identity: tuple[float, ...]) -> nn.Module:
    """The configured localisation network for images, for a transformer to own."""
    units, layers, downsample = config.localisation_units, config.localisation_layers, config.localisation_downsample
    if config.localisation == "dense":
        return DenseLocalisation(identity, units, layers, downsample, parent=None)
    return ConvolutionalLocalisation(identity, config.localisation_filters, units, layers, downsample, parent=None)


def fit_units(count: Callable[[int], int], budget: int) -> int:
    """The width of two hidden layers that brings the number of parameters nearest to a budget.

    Args:
      count: parameters by width, of which it is a quadratic function.
      budget: their number.

    Raises:
      ValueError: the nearest is off by more than a tenth.
    """
    # A quadratic function is known from three values.
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
    """Builds a network for images of ``height x width x channels``.

    Args:
      config: the configuration.
      height: rows of the images.
      width: columns.
      channels: of the images.
      num_classes: classes, or symbols with the end symbol.
      num_targets: symbols S of a label, or None where a label is one class.

    Raises:
      ValueError: see `fit_units`.
    """
    network, blank = config.network, jnp.zeros((1, height, width, channels))

    def with_units(units: int) -> Stn:
        return Stn(config, units, num_classes, num_targets)

    def count(units: int) -> int:
        return optax.tree.size(jax.eval_shape(lambda key: with_units(units).init(key, blank, False), jax.random.key(0)))

    fitted = not network.units and network.network != "cnn11"
    module = with_units(fit_units(count, network.parameters) if fitted else network.units)

    def init(key: Key[Array, ""]) -> PyTree:
        return module.init(key, blank, False)["params"]

    def apply(params: PyTree, images: Array, train: bool, key: Key[Array, ""] | None = None) -> StnOutput:
        pixels = images / 255.0 if images.dtype == jnp.uint8 else images
        normalised = (pixels - network.input_mean) / network.input_std
        rngs = {} if key is None else {"dropout": key}
        return cast(StnOutput, module.apply({"params": params}, normalised, train, rngs=rngs))

    def loss(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], labels: Int[Array, " B *S"], given: Given
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        logits = apply(params, images, True, key).logits
        value = cross_entropy(logits, labels, network.label_smoothing).mean()
        return value, ({"loss": value, "accuracy": accuracy(logits, labels)}, given.estimator_state)

    def look(params: PyTree, images: Array) -> StnOutput:
        return apply(params, images, False)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: PyTree = ()
    ) -> Array:
        del key, kind, hyper  # One forward pass, whatever the policy.
        return look(params, images).logits

    factor = config.transformer.localisation_rate
    factors = None if factor == 1 else functools.partial(rate_factors, factor=factor)
    return StnModel(Model(init, loss, predict, rate_factors=factors), look)
