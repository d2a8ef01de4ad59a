"""Soft attention: pooling over a grid of features, and a retina of Gaussian filters that a recurrent core moves.

``make_soft_attention(SoftAttentionConfig(...), height, width, channels, num_classes)`` builds a model.
"""

from stn.soft_attention.config import FilterBankConfig, PoolingConfig, SoftAttentionConfig, check_soft_attention
from stn.soft_attention.filter_bank import Window, attention_map, make_window, read
from stn.soft_attention.model import AttentionOutput, SoftModel, make_soft_attention
from stn.soft_attention.pooling import AdditivePooling, DotProductPooling

__all__ = [
    "AdditivePooling",
    "AttentionOutput",
    "DotProductPooling",
    "FilterBankConfig",
    "PoolingConfig",
    "SoftAttentionConfig",
    "SoftModel",
    "Window",
    "attention_map",
    "check_soft_attention",
    "make_soft_attention",
    "make_window",
    "read",
]
