"""The networks that see the whole image at once: fully connected and convolutional baselines."""

from dataclasses import dataclass
from typing import Literal, cast

import flax.linen as nn
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.training import Given, Model


@dataclass(frozen=True)
class BaselineConfig:
    """A network that sees the whole image."""

    network: Literal["fc", "paper_cnn", "article_cnn"] = "article_cnn"
    """fc: two layers of `units`. paper_cnn: 8 filters 10x10, stride 5, then `units` (Mnih et al. 2014). article_cnn:
    3x3 convolutions of 32 and 64, max-pool, dropout 0.25, dense 128, dropout 0.5."""
    units: int = 256
    """Units of the dense layers of fc and of paper_cnn."""


class FullyConnected(nn.Module):
    """Two ReLU layers of ``units`` (Mnih et al. 2014, table 1)."""

    units: int
    num_classes: int

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B num_classes"]:
        """Images in [0, 1] to logits."""
        x = images.reshape(images.shape[0], -1)
        for _ in range(2):
            x = nn.relu(nn.Dense(self.units)(x))
        return nn.Dense(self.num_classes)(x)


class PaperCnn(nn.Module):
    """8 filters of 10x10 with stride 5, then a ReLU layer of ``units`` (Mnih et al. 2014, section 4.1)."""

    units: int
    num_classes: int

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B num_classes"]:
        """Images in [0, 1] to logits."""
        x = nn.relu(nn.Conv(8, (10, 10), strides=5, padding="VALID")(images))
        x = nn.relu(nn.Dense(self.units)(x.reshape(x.shape[0], -1)))
        return nn.Dense(self.num_classes)(x)


class ArticleCnn(nn.Module):
    """3x3 convolutions of 32 and 64 filters, 2x2 max-pool, dropout 0.25, dense 128, dropout 0.5."""

    num_classes: int

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"], train: bool) -> Float[Array, "B num_classes"]:
        """Images in [0, 1] to logits; dropout acts only when ``train``."""
        x = nn.relu(nn.Conv(32, (3, 3), padding="VALID")(images))
        x = nn.relu(nn.Conv(64, (3, 3), padding="VALID")(x))
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
        x = nn.Dropout(0.25, deterministic=not train)(x)
        x = nn.relu(nn.Dense(128)(x.reshape(x.shape[0], -1)))
        x = nn.Dropout(0.5, deterministic=not train)(x)
        return nn.Dense(self.num_classes)(x)


def validate_baseline(config: BaselineConfig, height: int, width: int) -> None:
    """Checks a configuration against the images' size in pixels.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    if config.units < 1:
        raise ValueError(f"units {config.units}: must be at least 1")
    least = {"fc": 1, "paper_cnn": 10, "article_cnn": 6}[config.network]
    if min(height, width) < least:
        raise ValueError(f"network {config.network!r} on {height}x{width} images: needs at least {least}x{least}")


def make_baseline(config: BaselineConfig, height: int, width: int, channels: int, num_classes: int) -> Model:
    """Builds a baseline for images of ``height x width x channels`` and ``num_classes`` classes."""
    module: nn.Module = {
        "fc": lambda: FullyConnected(config.units, num_classes),
        "paper_cnn": lambda: PaperCnn(config.units, num_classes),
        "article_cnn": lambda: ArticleCnn(num_classes),
    }[config.network]()

    def init(key: Key[Array, ""]) -> PyTree:
        return module.init(key, jnp.zeros((1, height, width, channels)), False)["params"]

    def logits(params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], train: bool) -> Array:
        scores = module.apply({"params": params}, images / 255.0, train, rngs={"dropout": key})
        return cast(Array, scores)

    def loss(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, "B"],
        given: Given,
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        scores = logits(params, key, images, True)
        value = optax.softmax_cross_entropy_with_integer_labels(scores, labels).mean()
        return value, ({"loss": value, "accuracy": (scores.argmax(-1) == labels).mean()}, given.memory)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: PyTree = ()
    ) -> Array:
        del kind, hyper  # One forward pass, whatever the policy.
        return logits(params, key, images, False)

    return Model(init, loss, predict)
