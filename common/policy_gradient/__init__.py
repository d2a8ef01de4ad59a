"""Policy-gradient estimators: a reward, an advantage and a surrogate, each a pure function chosen by name."""

from common.policy_gradient.estimator import Estimator, make_estimator, policy_loss
from common.policy_gradient.registry import ADVANTAGES, REWARDS, SURROGATES, resolve

__all__ = ["ADVANTAGES", "REWARDS", "SURROGATES", "Estimator", "make_estimator", "policy_loss", "resolve"]
