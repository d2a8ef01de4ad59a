"""Checks of rewards: shapes, independence of other episodes and of later glimpses, jit and vmap, extremes.

A reward defines the objective, so it has no bias. `common.policy_gradient.estimator_checks` checks the rest.
"""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from common.extensions import check_returned
from common.policy_gradient.estimator_checks import (
    LABELS,
    LOGITS,
    CheckResult,
    random_normal,
    require,
    require_agreement,
    run_check,
)


def check_reward(reward: Callable[..., Array]) -> Iterator[CheckResult]:
    """Run every check on a reward ``(logits [T, M, B, num_classes], labels [B]) -> [T, M, B]``.

    Yields:
      A result for each of `REWARD_CHECKS`. An error that the function raises fails the check.
    """
    for name, check in REWARD_CHECKS.items():
        yield run_check(name, functools.partial(check, reward))


def _reward_shape(reward: Callable[..., Array]) -> None:
    check_returned("reward function", reward(LOGITS, LABELS), LOGITS.shape[:-1], "[T, M, B]")


def _reward_is_ones_own(reward: Callable[..., Array]) -> None:
    before = np.asarray(reward(LOGITS, LABELS))
    require(np.isfinite(before).all(), "the rewards of random logits are not finite")
    after = np.array(reward(LOGITS.at[:, 1, 2].add(3 * random_normal(3, 5, seed=5)), LABELS))
    after[:, 1, 2] = before[:, 1, 2]
    require(np.array_equal(after, before), "the reward of an episode changes with the logits of another")


def _reward_has_no_hindsight(reward: Callable[..., Array]) -> None:
    before, after = reward(LOGITS, LABELS), reward(LOGITS.at[2].add(3 * random_normal(2, 4, 5, seed=5)), LABELS)
    require(
        np.array_equal(before[:2], after[:2]),
        "the reward after a glimpse depends on later logits, so the locations in between would get no credit for it",
    )


def _reward_of_label(reward: Callable[..., Array]) -> None:
    # One class is all but certain, so that rewards of the most probable class depend on the label too.
    logits = 20.0 * jax.nn.one_hot(jnp.broadcast_to(LABELS, (3, 2, 4)), 5)
    same = np.array_equal(reward(logits, LABELS), reward(logits, (LABELS + 1) % 5))
    require(not same, "the reward does not depend on the label")


def _reward_jit_and_vmap(reward: Callable[..., Array]) -> None:
    several = random_normal(2, 3, 2, 4, 5, seed=7)
    mapped = jax.vmap(reward, in_axes=(0, None))(several, LABELS)
    for logits, result in zip(several, mapped, strict=True):
        require_agreement(jax.jit(reward)(logits, LABELS), reward(logits, LABELS), "jit")
        require_agreement(result, reward(logits, LABELS), "vmap")


def _reward_finite(reward: Callable[..., Array]) -> None:
    for scale in (0.0, 1e4):
        finite = np.isfinite(reward(scale * LOGITS, LABELS)).all()
        require(finite, f"the rewards of logits times {scale:g} are not finite")


REWARD_CHECKS: dict[str, Callable[[Callable[..., Array]], str | None]] = {
    "a reward for each glimpse of each episode": _reward_shape,
    "episodes do not depend on one another": _reward_is_ones_own,
    "no reward depends on later glimpses": _reward_has_no_hindsight,
    "depends on the label": _reward_of_label,
    "same numbers under jit and vmap": _reward_jit_and_vmap,
    "finite at extremes": _reward_finite,
}
