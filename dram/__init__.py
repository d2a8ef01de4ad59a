"""DRAM: a deep recurrent attention model that reads several digits (Ba et al. 2014).

``make_dram(DramConfig(...), height, width, channels, num_classes, num_targets)`` builds an agent: its initialisation,
loss, episodes and predictions as pure functions (`common.attention.model.AttentionModel`).
"""

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.policy_gradient import EstimatorConfig
from dram.agent import Dram, make_agent, make_dram
from dram.config import AgentConfig, DramConfig, validate

__all__ = [
    "AgentConfig",
    "Dram",
    "DramConfig",
    "EstimatorConfig",
    "LossConfig",
    "PolicyConfig",
    "RetinaConfig",
    "make_agent",
    "make_dram",
    "validate",
]
