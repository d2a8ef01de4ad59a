"""Rewards ``(logits [T, M, B, num_classes], labels [B]) -> rewards [T, M, B]``, received after each glimpse.

Each replicate has its own reward. The estimator stops the gradient of rewards, except for the surrogates `pathwise`
and `multi_sample`, which differentiate them.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def _label_log_probs(logits: Float[Array, "T M B num_classes"], labels: Int[Array, " B"]) -> Float[Array, "T M B"]:
    log_probs = jax.nn.log_softmax(logits)
    index = jnp.broadcast_to(labels, log_probs.shape[:-1])[..., None]
    return jnp.take_along_axis(log_probs, index, axis=-1)[..., 0]


def _at_the_end(value: Float[Array, "T M B"]) -> Float[Array, "T M B"]:
    return jnp.zeros_like(value).at[-1].set(value[-1])


def correct(logits: Float[Array, "T M B num_classes"], labels: Int[Array, " B"]) -> Float[Array, "T M B"]:
    """Reward 1 after the last glimpse if the most probable class is the label (Mnih et al. 2014, section 3.2)."""
    return _at_the_end((logits.argmax(-1) == labels[None, None]).astype(jnp.float32))


def signed(logits: Float[Array, "T M B num_classes"], labels: Int[Array, " B"]) -> Float[Array, "T M B"]:
    """Reward 1 after the last glimpse if the most probable class is the label, else -1."""
    return _at_the_end(2 * correct(logits, labels) - 1)


def log_probability(logits: Float[Array, "T M B num_classes"], labels: Int[Array, " B"]) -> Float[Array, "T M B"]:
    """Reward the log-probability of the label after the last glimpse, in nats (Ba et al. 2014, equation 10)."""
    return _at_the_end(_label_log_probs(logits, labels))


def clipped_linear(logits: Float[Array, "T M B num_classes"], labels: Int[Array, " B"]) -> Float[Array, "T M B"]:
    """Reward ``max(p - 1 / C, 0)`` after the last glimpse: the label's probability above that of a uniform guess."""
    return _at_the_end(jnp.maximum(jnp.exp(_label_log_probs(logits, labels)) - 1 / logits.shape[-1], 0))


def gain(logits: Float[Array, "T M B num_classes"], labels: Int[Array, " B"]) -> Float[Array, "T M B"]:
    """Reward the gain in the label's log-probability from each glimpse, in nats, from a uniform belief on.

    The sum over an episode is `log_probability` plus ``log(num_classes)``; potential-based shaping (Ng et al. 1999).
    """
    log_probs = _label_log_probs(logits, labels)
    return jnp.diff(log_probs, axis=0, prepend=-jnp.log(logits.shape[-1]) * jnp.ones_like(log_probs[:1]))
