"""RAM: the recurrent attention model of Mnih et al. 2014.

``make_ram(RamConfig(...), height, width, channels, num_classes)`` builds an agent: its initialisation, loss, episodes
and predictions as pure functions (`common.attention.model.AttentionModel`).
"""

from common.attention.config import LossConfig, PolicyConfig, RetinaConfig
from common.policy_gradient import EstimatorConfig
from ram.agent import Ram, make_agent, make_ram
from ram.config import AgentConfig, RamConfig, validate

__all__ = [
    "AgentConfig",
    "EstimatorConfig",
    "LossConfig",
    "PolicyConfig",
    "Ram",
    "RamConfig",
    "RetinaConfig",
    "make_agent",
    "make_ram",
    "validate",
]
