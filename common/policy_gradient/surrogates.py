"""Surrogates ``(log_probs, behaviour_log_probs, advantages) -> loss``, all arguments ``[T, M, B]``.

The gradient of a surrogate, minimised, is the policy gradient. Sums run over glimpses, means over replicates and
images.
"""

from jaxtyping import Array, Float


def score_function(
    log_probs: Float[Array, "T M B"],
    behaviour_log_probs: Float[Array, "T M B"],
    advantages: Float[Array, "T M B"],
) -> Float[Array, ""]:
    """REINFORCE: ``-mean(sum_t log pi(l_t) A_t)`` (Williams 1992; Mnih et al. 2014, equation 2)."""
    del behaviour_log_probs
    return -(log_probs * advantages).sum(axis=0).mean()
