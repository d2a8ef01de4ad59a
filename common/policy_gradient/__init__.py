"""Policy-gradient estimators: a reward, an advantage and a surrogate, each a pure function chosen by name."""

from common.policy_gradient.advantages import Stateful
from common.policy_gradient.config import EstimatorConfig, validate_estimator
from common.policy_gradient.estimator import (
    Estimator,
    PolicyLoss,
    Rollout,
    hyperparameters,
    make_estimator,
    policy_loss,
)
from common.policy_gradient.registry import ADVANTAGES, REWARDS, SURROGATES, resolve

__all__ = [
    "ADVANTAGES",
    "REWARDS",
    "SURROGATES",
    "Estimator",
    "EstimatorConfig",
    "PolicyLoss",
    "Rollout",
    "Stateful",
    "hyperparameters",
    "make_estimator",
    "policy_loss",
    "resolve",
    "validate_estimator",
]
