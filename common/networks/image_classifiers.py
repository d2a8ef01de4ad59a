"""Classifiers: fully connected and convolutional networks that read the whole image at once."""

import typing
from dataclasses import dataclass
from typing import Annotated, Literal, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.checks import Range, check_ranges, check_sides
from common.networks.convolutions import Conv, max_pool
from common.networks.multi_digit import INPUT_SCALE, LAYOUTS, Heads, MultiDigitCnn, make_output
from common.networks.targets import accuracy
from common.training.step import Model, StepInput
from common.unread import ReadBy

Network = Literal["fc", "paper_cnn", "article_cnn", "cnn11", "cnn10", "addition_cnn", "article_digits", "residual_cnn"]
NETWORKS = typing.get_args(Network)


@dataclass(frozen=True)
class ClassifierConfig:
    """A classifier."""

    network: Network = "article_cnn"
    """fc: two layers of `units`. paper_cnn: 8 filters 10x10, stride 5, then `units` (Mnih et al. 2014). article_cnn:
    3x3 convolutions of 32 and 64, max-pool, dropout 0.25, dense 128, dropout 0.5. cnn11: eight 5x5 convolutions and
    three dense layers (Goodfellow et al. 2014, Jaderberg et al. 2015). cnn10: eight and two, of the cost of the network
    of Ba et al. 2014. addition_cnn: three 5x5 convolutions of 64, dense 512 (Ba et al. 2014). article_digits: six 3x3
    convolutions of 32 to 128, dense 512. residual_cnn: seven 3x3 convolutions of 32 to 128 with residual connections
    and group normalisation, and global average pooling."""
    units: Annotated[int, Range(1), ReadBy("network", "fc", "paper_cnn")] = 256
    """Units of the dense layers of fc and of paper_cnn."""
    width: Annotated[float, Range(above=0), ReadBy("network", *LAYOUTS, "residual_cnn")] = 1.0
    """Factor on the filters and dense units of cnn11, cnn10, addition_cnn, article_digits and residual_cnn."""
    dropout: Annotated[float, Range(0, below=1), ReadBy("network", *LAYOUTS)] = 0.5
    """Dropout rate after the dense layers of cnn11, cnn10, addition_cnn and article_digits; a fifth of it after their
    convolutions, except the first."""
    heads: Heads = "end"
    """Output layers for sequences. end: a softmax over the digits and the end symbol for each symbol; length: a softmax
    over the lengths, and one over the digits for each digit."""


class FullyConnected(nn.Module):
    """Two ReLU layers of ``units`` (Mnih et al. 2014, table 1)."""

    units: int
    num_outputs: int

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B num_outputs"]:
        """Compute outputs of images in [0, 1]."""
        x = images.reshape(images.shape[0], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(self.units)(x))
        return nn.Dense(self.num_outputs)(x)


class PaperCnn(nn.Module):
    """8 filters of 10x10 with stride 5, then a ReLU layer of ``units`` (Mnih et al. 2014, section 4.1)."""

    units: int
    num_outputs: int

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B num_outputs"]:
        """Compute outputs of images in [0, 1]."""
        x = nn.relu(Conv(8, 10, "VALID", stride=5)(images))
        x = nn.relu(nn.Dense(self.units)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.num_outputs)(x)


class ArticleCnn(nn.Module):
    """3x3 convolutions of 32 and 64 filters, 2x2 max-pool, dropout 0.25, dense 128, dropout 0.5."""

    num_outputs: int

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B num_outputs"]:
        """Compute outputs of images in [0, 1]; dropout acts only when ``train``."""
        x = nn.relu(Conv(32, 3, "VALID")(images))
        x = nn.relu(Conv(64, 3, "VALID")(x))
        x = max_pool(x, padding="VALID")
        x = nn.Dropout(0.25, deterministic=not train)(x)
        x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.num_outputs)(x)


class ResidualCnn(nn.Module):
    """A small residual network: a CNN of today, for comparison with the networks of the papers.

    A 3x3 convolution with stride 2, then three residual blocks of two 3x3 convolutions each, then the mean over the
    map. The second and the third block halve the map and double the filters. Normalisation and ReLU stand before each
    convolution of a block (He et al. 2016, Identity Mappings in Deep Residual Networks, figure 4e). The normalisation
    is that of groups of 8 filters (Wu and He 2018), which does not depend on the batch.

    Attributes:
      width: factor on the filters, which are 32, 64 and 128 at width 1; rounded to a multiple of 8.
      num_outputs: number of outputs.
    """

    width: float
    num_outputs: int

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B num_outputs"]:
        """Compute outputs of images in [0, 1]."""
        filters = [8 * max(round(number * self.width / 8), 1) for number in (32, 64, 128)]
        x = Conv(filters[0], 3, stride=2)(INPUT_SCALE * images)
        for count, stride in zip(filters, (1, 2, 2), strict=True):
            normalised = _normalise(x)
            shortcut = x if x.shape[-1] == count and stride == 1 else Conv(count, 1, stride=stride)(normalised)
            middle = _normalise(Conv(count, 3, stride=stride)(normalised))
            x = shortcut + Conv(count, 3)(middle)
        return nn.Dense(self.num_outputs)(_normalise(x).mean((1, 2)))


def _normalise(maps: Float[Array, "B H W C"]) -> Float[Array, "B H W C"]:
    """Apply group normalisation and ReLU, in a compact flax module."""
    return nn.relu(nn.GroupNorm(num_groups=None, group_size=8)(maps))


def check_classifier(config: ClassifierConfig, height: int, width: int) -> None:
    """Check a configuration against the images' size in pixels.

    Raises:
      ValueError: a bad configuration.
    """
    check_ranges(config)
    least = {"paper_cnn": 10, "article_cnn": 6}.get(config.network, 1)
    check_sides(f"network {config.network!r}", height, width, least)


def make_classifier(
    config: ClassifierConfig, height: int, width: int, channels: int, num_classes: int, num_targets: int | None = None
) -> Model:
    """Build a classifier for images of ``height x width x channels`` pixels.

    Args:
      config: the configuration.
      height: rows of the images.
      width: columns of the images.
      channels: channels of the images.
      num_classes: classes, or symbols of which the last is the end symbol.
      num_targets: S, the symbols of a label; None where the label is one class.

    Returns:
      The model. Its predictions are logits ``[B, num_classes]``, or log-probabilities ``[B, S, num_classes]`` (see
      `common.networks.multi_digit.make_output`).
    """
    output = make_output(config.heads, num_classes, num_targets)
    if config.network in LAYOUTS:
        module: nn.Module = MultiDigitCnn(LAYOUTS[config.network], output.size, config.width, config.dropout)
    elif config.network == "article_cnn":
        module = ArticleCnn(output.size)
    elif config.network == "residual_cnn":
        module = ResidualCnn(config.width, output.size)
    else:
        module = {"fc": FullyConnected, "paper_cnn": PaperCnn}[config.network](config.units, output.size)

    @jax.jit
    def init(key: Key[Array, ""]) -> PyTree:
        return module.init(key, jnp.zeros((1, height, width, channels)), False)["params"]

    def apply(params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], train: bool) -> Array:
        outputs = module.apply({"params": params}, images / 255.0, train, rngs={"dropout": key})
        return cast(Array, outputs)

    def loss(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B *S"],
        step_input: StepInput,
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        outputs = apply(params, key, images, True)
        value = output.loss(outputs, labels).mean()
        metrics = {"loss": value, "accuracy": accuracy(output.scores(outputs), labels)}
        return value, (metrics, step_input.estimator_state)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: PyTree = ()
    ) -> Array:
        del kind, hyper  # One forward pass, whatever the policy.
        return output.scores(apply(params, key, images, False))

    return Model(init, loss, predict)
