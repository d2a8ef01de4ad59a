"""Configuration of soft attention. Every field is a flag of the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.checks import MOST_GLIMPSES, Range, check_at_most, check_divides, check_ranges
from common.networks.cores import TransformerCore
from common.networks.glimpse_networks import check_glimpse_size
from common.unread import ReadBy


@dataclass(frozen=True)
class PoolingConfig:
    """Attention pooling over the features of a convolutional network."""

    scores: Literal["additive", "dot_product"] = "additive"
    """Scores of the places: a hidden layer on feature and query, or scaled dot products."""
    heads: Annotated[int, Range(1)] = 1
    """Attention heads, each with weights of its own."""
    size: Annotated[int, Range(1)] = 64
    """Units of a head."""
    filters: Annotated[int, Range(1)] = 16
    """Filters of the first 3x3 convolution; each further one has twice as many."""
    layers: Annotated[int, Range(1)] = 3
    """Number of convolutions, each followed by 2x2 max-pooling."""
    hidden: Annotated[int, Range(1)] = 128
    """Units of the dense layer on the heads' outputs."""


@dataclass(frozen=True)
class FilterBankConfig:
    """The differentiable retina and its recurrent core."""

    num_glimpses: Annotated[int, Range(1, MOST_GLIMPSES)] = 8
    """Number T of glimpses."""
    glimpse_size: Annotated[int, Range(1)] = 12
    """Filters N along each side of the retina."""
    relative_sigma: bool = True
    """Width of the filters in units of half their stride, so that zooming in sharpens; else in pixels (DRAW)."""
    glimpse_network: Literal["dense", "conv"] = "dense"
    """Glimpse network: one dense layer, or convolutions 5x5, 3x3, 3x3 without pooling and a dense layer."""
    conv_channels: Annotated[int, Range(1), ReadBy("glimpse_network", "conv")] = 16
    """Filters of the first two convolutions on a glimpse; the third has twice as many."""
    units: Annotated[int, Range(1)] = 256
    """Units of the layer that joins the glimpse and its window."""
    core: Literal["rnn", "lstm", "gru", "transformer"] = "lstm"
    """Recurrent core."""
    core_hidden: Annotated[int, Range(1)] = 256
    """Units of the core."""
    window_clip: Annotated[float, Range(0)] = 0.0
    """Largest derivative of an image's loss by each number of a window; 0 for no limit. Without a limit the derivatives
    of a few images can explode through the chain of glimpses and drown the others."""
    classify_at: Literal["last", "every"] = "every"
    """Cross-entropy after the last glimpse only, or the mean over all glimpses."""


@dataclass(frozen=True)
class SoftAttentionConfig:
    """Soft attention."""

    attention: Literal["pooling", "filter_bank"] = "filter_bank"
    """pooling: weights over a grid of features. filter_bank: a retina of Gaussian filters that moves and zooms,
    'differentiable RAM'."""
    pooling: Annotated[PoolingConfig, ReadBy("attention", "pooling")] = PoolingConfig()
    filter_bank: Annotated[FilterBankConfig, ReadBy("attention", "filter_bank")] = FilterBankConfig()


# Heads of the transformer core.
HEADS = TransformerCore.num_heads


def check_soft_attention(config: SoftAttentionConfig, height: int, width: int) -> None:
    """Check a configuration against the images' size in pixels.

    Raises:
      ValueError: a bad configuration.
    """
    if config.attention == "pooling":
        _check_pooling(config.pooling, height, width)
    else:
        _check_filter_bank(config.filter_bank)


def _check_pooling(config: PoolingConfig, height: int, width: int) -> None:
    check_ranges(config)
    most = min(height, width).bit_length() - 1
    check_at_most("layers", config.layers, most, f"{height}x{width} images can be halved {most} times")


def _check_filter_bank(config: FilterBankConfig) -> None:
    check_ranges(config)
    check_glimpse_size(config.glimpse_network, config.glimpse_size)
    if config.core == "transformer":
        check_divides("heads of the transformer", HEADS, "core_hidden", config.core_hidden)
