"""The episodes that an estimator of the policy gradient learns from."""

from typing import NamedTuple

from jaxtyping import Array, Float


class Episode(NamedTuple):
    """An episode on each image. T glimpses, M replicates, B images; the result of `unroll` has no axis M.

    Attributes:
      locations: where glimpses were taken, normalised, on the image, ``[T, M, B, 2]``.
      samples: the same before they were clipped to the image, ``[T, M, B, 2]``.
      modes: mode of the policy that drew each location, ``[T, M, B, 2]``; the mean of a Gaussian.
      sigmas: standard deviation of that policy, normalised, ``[T, M, B, 2]``; 0 if it has none, and where the location
        was not sampled: a first location set by a rule, and all locations of the kinds ``greedy``, ``random``
        and ``centre``.
      log_probs: log-probability of ``samples``, ``[T, M, B]``; 0 where the location was not sampled.
      entropies: entropy of that policy in nats, ``[T, M, B]``; 0 where the location was not sampled.
      values: return predicted before each location was drawn, ``[T, M, B]``; 0 for a first location set by a rule.
      logits: belief over classes after each glimpse, ``[T, M, B, num_classes]``.
    """

    locations: Float[Array, "T M B 2"]
    samples: Float[Array, "T M B 2"]
    modes: Float[Array, "T M B 2"]
    sigmas: Float[Array, "T M B 2"]
    log_probs: Float[Array, "T M B"]
    entropies: Float[Array, "T M B"]
    values: Float[Array, "T M B"]
    logits: Float[Array, "T M B num_classes"]
