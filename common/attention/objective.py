"""The hybrid loss of hard attention: cross-entropy for classification, an estimator's surrogate for locations."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PyTree

from common import Scalar
from common.attention.config import LossConfig
from common.attention.sequences import Sequence
from common.policy_gradient import Estimator, PlayedEpisodes, policy_loss
from common.policy_gradient.advantages import returns_to_go
from common.policy_gradient.episode import Episode
from common.policy_gradient.estimator import counted_mean
from common.symbols import whole_right


class Weights(NamedTuple):
    """Weights of the hybrid loss; the fields of `LossConfig`."""

    classification: Scalar
    policy: Scalar
    value: Scalar
    entropy: Scalar


def make_weights(config: LossConfig) -> Weights:
    """Return the weights of a configuration."""
    return Weights(*(getattr(config, f"{name}_weight") for name in Weights._fields))


def hybrid_loss(
    config: LossConfig,
    weights: Weights,
    estimator: Estimator,
    episode: Episode,
    labels: Int[Array, " B *S"],
    *,
    estimator_state: PyTree = (),
    played: PlayedEpisodes | None = None,
    sequence: Sequence | None = None,
    first_drawn: int = 1,
) -> tuple[Float[Array, ""], tuple[dict[str, Array], PyTree]]:
    """Compute the weighted sum of the four losses (Mnih et al. 2014, section 3.1, 'hybrid' training).

    These are cross-entropy, the policy surrogate, the value network's squared error, and the negative entropy.

    Args:
      config: which glimpses are classified, and the label smoothing (Szegedy et al. 2016, section 7).
      weights: weights of the four losses in place of those of ``config``; they may be traced.
      estimator: the policy-gradient estimator; for sequences its reward is `Sequence.reward`.
      episode: fields ``[T, M, B]``.
      labels: true classes, or the symbols of each sequence.
      estimator_state: state of a stateful advantage.
      played: for several updates on the same episodes, what was computed when they were played; otherwise None.
      sequence: how the targets of a sequence are read; its losses are sums over the targets that count. None where the
        label is one class.
      first_drawn: the first glimpse whose location the location policy draws.

    Returns:
      ``(loss, (metrics, estimator_state))``; metrics are scalars.
    """
    counted = None
    if sequence is not None:
        counted = sequence.counted(episode.logits, labels) if played is None else played.counted
    classification = _classification_loss(config, episode.logits, labels, sequence, counted)
    policy, rewards, _, estimator_state = policy_loss(
        estimator, episode, labels, estimator_state, played, counted, first_drawn
    )
    # A first location that the policy does not draw has no value, and nothing is learned from it.
    error = (returns_to_go(rewards, estimator.hyperparameters["discount"]) - episode.values)[first_drawn:]
    weight = jnp.ones(episode.log_probs.shape) if counted is None else counted
    value_error = counted_mean(jnp.square(error), weight[first_drawn:])
    entropy = (episode.entropies * weight).sum(axis=0).mean()
    loss = (
        weights.classification * classification
        + weights.policy * policy
        + weights.value * value_error
        - weights.entropy * entropy
    )
    metrics = {
        "loss": loss,
        "classification_loss": classification,
        "policy_loss": policy,
        "value_loss": value_error,
        "entropy": entropy,
        "reward": rewards.sum(axis=0).mean(),
        "accuracy": _is_right(episode.logits, labels, sequence).mean(),
    }
    if played is not None:
        log_ratio = (episode.log_probs - played.log_probs)[first_drawn:]
        # Never negative, and less noisy than -log_ratio (Schulman 2020, http://joschu.net/blog/kl-approx.html).
        metrics["kl"] = counted_mean(jnp.expm1(log_ratio) - log_ratio, weight[first_drawn:])
    return loss, (metrics, estimator_state)


def _classification_loss(
    config: LossConfig,
    logits: Float[Array, "T M B C"],
    labels: Int[Array, " B *S"],
    sequence: Sequence | None,
    counted: Float[Array, "T M B"] | None,
) -> Float[Array, ""]:
    targets = labels if sequence is None else sequence.targets(labels)[:, None]
    targets = jnp.broadcast_to(targets, logits.shape[:-1])
    if config.label_smoothing:
        smooth = optax.smooth_labels(jax.nn.one_hot(targets, logits.shape[-1]), config.label_smoothing)
        cross_entropy = optax.softmax_cross_entropy(logits, smooth)
    else:
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    if sequence is None:
        return cross_entropy[-1].mean() if config.classify_at == "last" else cross_entropy.mean()
    by_target = sequence.by_target(cross_entropy * counted)
    by_target = by_target[:, -1] if config.classify_at == "last" else by_target.mean(axis=1)
    return by_target.sum(axis=0).mean()


def _is_right(
    logits: Float[Array, "T M B C"], labels: Int[Array, " B *S"], sequence: Sequence | None
) -> Bool[Array, "M B"]:
    """Return whether the class, or every symbol of the sequence, is predicted right."""
    if sequence is None:
        return logits[-1].argmax(-1) == labels[None]
    predicted = sequence.final_beliefs(logits).argmax(-1)
    symbols = jnp.broadcast_to(labels.T[:, None], predicted.shape)
    return whole_right(predicted, symbols, logits.shape[-1])
