"""Policy-gradient estimators: a reward, an advantage and a surrogate, each a pure function chosen by name."""

from common.policy_gradient.advantages import Stateful, biased, compares_replicates
from common.policy_gradient.config import EstimatorConfig, unread_hyperparameters, validate_estimator
from common.policy_gradient.episode import Episode
from common.policy_gradient.estimator import (
    Estimator,
    PlayedEpisodes,
    PolicyLoss,
    hyperparameters,
    make_estimator,
    policy_loss,
)
from common.policy_gradient.registry import ADVANTAGE, ADVANTAGES, REWARD, REWARDS, SURROGATE, SURROGATES

__all__ = [
    "ADVANTAGE",
    "ADVANTAGES",
    "REWARD",
    "REWARDS",
    "SURROGATE",
    "SURROGATES",
    "Episode",
    "Estimator",
    "EstimatorConfig",
    "PlayedEpisodes",
    "PolicyLoss",
    "Stateful",
    "hyperparameters",
    "make_estimator",
    "biased",
    "compares_replicates",
    "policy_loss",
    "unread_hyperparameters",
    "validate_estimator",
]
