"""Models of soft attention: pooling over features, and the differentiable retina with a recurrent core.

Both are trained by the gradient of the cross-entropy alone, without rewards or sampling.
"""

from collections.abc import Callable
from typing import NamedTuple, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
import rlax
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.attention.locations import to_normalised
from common.networks.convolutions import Conv, max_pool
from common.networks.cores import CORES
from common.networks.glimpse_networks import GLIMPSE_GAIN, convolve_glimpse
from common.networks.targets import Head, accuracy, cross_entropy
from common.training.step import Model, StepInput
from stn.soft_attention.config import FilterBankConfig, PoolingConfig, SoftAttentionConfig
from stn.soft_attention.filter_bank import PARAMETERS, Window, attention_map, make_window, read
from stn.soft_attention.pooling import POOLINGS


class AttentionOutput(NamedTuple):
    """Attention maps and logits of a batch of images; A is the number of heads or glimpses.

    Attributes:
      logits: logits after each glimpse, or one step for pooling, ``[steps, B, num_classes]`` or
        ``[steps, B, S, num_classes]``.
      maps: weights that add up to 1 over the feature grid or over the pixels, ``[B, A, rows, columns]``; place
        ``[i, j]`` is a square of `SoftModel.cell` pixels that begins at row ``i * cell``, column ``j * cell``.
      windows: windows of the filter bank, ``[T, B]``; None for pooling.
      patches: patches that the retina read there, ``[T, B, N, N, C]``; None for pooling.
    """

    logits: Float[Array, "steps B *S num_classes"]
    maps: Float[Array, "B A rows columns"]
    windows: Window | None = None
    patches: Float[Array, "T B N N C"] | None = None


class SoftModel(NamedTuple):
    """Soft attention for images of one size, as pure functions.

    Attributes:
      model: its initialisation, loss and predictions.
      attend: ``(params, images [B, H, W, C]) -> AttentionOutput``.
      cell: side of one place of the maps, in pixels of the image.
    """

    model: Model
    attend: Callable[..., AttentionOutput]
    cell: int


def cell_side(config: PoolingConfig) -> int:
    """Return the side of one place of the feature grid, in pixels of the image."""
    return 2**config.layers


class AttentionPooling(nn.Module):
    """Convolutions, attention over their features with the mean feature as query, and a dense layer."""

    config: PoolingConfig
    num_classes: int
    num_targets: int | None = None

    @nn.compact
    def __call__(self, images: Float[Array, "B H W C"]) -> AttentionOutput:
        """Compute logits and maps over the feature grid from images in [0, 1]."""
        config, x = self.config, images
        for layer in range(config.layers):
            x = max_pool(nn.relu(Conv(config.filters * 2**layer, 3)(x)))
        batch, rows, columns, _ = x.shape
        # Features do not hold their own location, so it is appended: the middle of their cell, which for the last row
        # and column may lie beyond the image.
        cells = jnp.stack(jnp.meshgrid(jnp.arange(columns) + 0.5, jnp.arange(rows) + 0.5), axis=-1).astype(x.dtype)
        middles = to_normalised(cell_side(config) * cells, *images.shape[1:3])
        places = jnp.broadcast_to(middles[None], (batch, rows, columns, 2))
        features = jnp.concatenate([x, places], axis=-1).reshape(batch, rows * columns, -1)
        pooling = POOLINGS[config.scores](config.heads, config.size, name="pooling")
        pooled, weights = pooling(features, features.mean(axis=1))
        hidden = nn.relu(nn.Dense(config.hidden)(pooled))
        logits = Head(self.num_classes, self.num_targets, name="head")(hidden)
        return AttentionOutput(logits[None], weights.reshape(batch, config.heads, rows, columns))


class GlimpseReader(nn.Module):
    """Convolutions on the patch that the retina read, then a dense layer.

    Attributes:
      channels: filters of the first two convolutions.
      units: units of the dense layer.
    """

    channels: int
    units: int

    @nn.compact
    def __call__(self, patches: Float[Array, "B N N C"]) -> Float[Array, "B units"]:
        """Compute features of patches in [0, 1]."""
        maps = convolve_glimpse(GLIMPSE_GAIN * patches, self.channels)
        return nn.Dense(self.units, name="what")(maps.reshape(len(maps), -1))


class DifferentiableRam(nn.Module):
    """A recurrent core that moves the filter bank from glimpse to glimpse (Gregor et al. 2015, section 4.1).

    The first window is the same for all images; the core's output after a glimpse determines the next window.
    """

    config: FilterBankConfig
    num_classes: int
    num_targets: int | None = None

    def setup(self):
        config = self.config
        convolutional = config.glimpse_network == "conv"
        # Do not rename: Flax derives initial parameters from the names, so published results would change.
        self.what = GlimpseReader(config.conv_channels, config.units) if convolutional else nn.Dense(config.units)
        self.where = nn.Dense(config.units)
        self.core = CORES[config.core](hidden=config.core_hidden, num_glimpses=config.num_glimpses)
        # At initialisation all windows nearly cover the whole image.
        self.window = nn.Dense(PARAMETERS, kernel_init=nn.initializers.normal(1e-2))
        self.head = Head(self.num_classes, self.num_targets)

    def __call__(self, images: Float[Array, "B H W C"]) -> AttentionOutput:
        """Compute logits after each glimpse and maps over the pixels from images in [0, 1]."""
        config, (batch, height, width, _) = self.config, images.shape
        state, output = self.core.initial_state((batch,)), jnp.zeros((batch, config.core_hidden))
        read_batch = jax.vmap(read, in_axes=(0, 0, None))
        logits, windows, patches = [], [], []
        for _ in range(config.num_glimpses):
            raw = self.window(output)
            if config.window_clip:
                # The loss is a mean over images, and each window belongs to one image.
                limit = config.window_clip / batch
                raw = rlax.clip_gradient(raw, -limit, limit)
            windows.append(make_window(raw, config.glimpse_size, height, width, config.relative_sigma))
            patches.append(read_batch(images, windows[-1], config.glimpse_size))
            glimpse = patches[-1] if config.glimpse_network == "conv" else patches[-1].reshape(batch, -1)
            state, output = self.core(state, nn.relu(self.what(glimpse) + self.where(raw)))
            logits.append(self.head(output))
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *windows)
        map_windows = jax.vmap(jax.vmap(attention_map, (0, None, None, None)), (0, None, None, None))
        maps = map_windows(stacked, config.glimpse_size, height, width)
        return AttentionOutput(jnp.stack(logits), maps.swapaxes(0, 1), stacked, jnp.stack(patches))


def make_soft_attention(
    config: SoftAttentionConfig,
    height: int,
    width: int,
    channels: int,
    num_classes: int,
    num_targets: int | None = None,
) -> SoftModel:
    """Build a model of soft attention for images of ``height x width x channels``.

    Args:
      config: the configuration.
      height: rows of the images.
      width: columns of the images.
      channels: channels of the images.
      num_classes: classes, or symbols with the end symbol.
      num_targets: symbols S of a label, or None where a label is one class.
    """
    module: nn.Module
    if config.attention == "pooling":
        module, every = AttentionPooling(config.pooling, num_classes, num_targets), False
        cell = cell_side(config.pooling)
    else:
        module = DifferentiableRam(config.filter_bank, num_classes, num_targets)
        every, cell = config.filter_bank.classify_at == "every", 1

    @jax.jit
    def init(key: Key[Array, ""]) -> PyTree:
        return module.init(key, jnp.zeros((1, height, width, channels)))["params"]

    def attend(params: PyTree, images: UInt8[Array, "B H W C"]) -> AttentionOutput:
        return cast(AttentionOutput, module.apply({"params": params}, images / 255.0))

    def loss(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B *S"],
        step_input: StepInput,
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        del key  # Nothing is sampled.
        logits = attend(params, images).logits
        each = jax.vmap(cross_entropy, (0, None))(logits if every else logits[-1:], labels)
        metrics = {"loss": each.mean(), "accuracy": accuracy(logits[-1], labels)}
        return each.mean(), (metrics, step_input.estimator_state)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: PyTree = ()
    ) -> Array:
        del key, kind, hyper  # One forward pass, whatever the policy.
        return attend(params, images).logits[-1]

    return SoftModel(Model(init, loss, predict), attend, cell)
