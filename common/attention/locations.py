"""Coordinates and location policies.

A location is ``(x, y)`` in ``[-1, 1]``: -1 and +1 are the outer edges of the image and 0 its centre. Pixel
coordinates are continuous and measured from the upper left edge, so that column ``j`` covers ``[j, j + 1)``.
Models convert between the two here alone, and nothing else touches distrax.
"""

import re
from collections.abc import Sequence

import distrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key

SIGMA_PATTERN = re.compile(r"(?P<value>[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?)\s*(?P<unit>px)?")


def to_pixels(location: Float[Array, "*batch 2"], height: int, width: int) -> Float[Array, "*batch 2"]:
    """Converts normalised ``(x, y)`` in [-1, 1] to continuous pixel ``(x, y)`` in [0, W] and [0, H]."""
    return (location + 1) / 2 * _extent(location, height, width)


def to_normalised(pixels: Float[Array, "*batch 2"], height: int, width: int) -> Float[Array, "*batch 2"]:
    """Converts continuous pixel ``(x, y)`` to normalised ``(x, y)``, the inverse of `to_pixels`."""
    return pixels / _extent(pixels, height, width) * 2 - 1


def _extent(like: Float[Array, "*batch 2"], height: int, width: int) -> Float[Array, "*batch 2"]:
    return jnp.broadcast_to(jnp.array([width, height], like.dtype), like.shape)


def parse_sigma(text: str, height: int, width: int) -> tuple[float, float]:
    """Reads a standard deviation of the location noise, in normalised units or in pixels.

    Args:
      text: ``"0.1"`` (normalised: half the image is 1) or ``"5px"`` (pixels of the image).
      height: image rows.
      width: image columns.

    Returns:
      Normalised ``(sigma_x, sigma_y)``. The two differ when pixels are given and the image is not square.

    Raises:
      ValueError: the text is neither form, or the value is not positive and finite.
    """
    match = SIGMA_PATTERN.fullmatch(text.strip())
    value = float(match["value"]) if match else float("nan")
    in_pixels = bool(match and match["unit"])
    sigma = (value * 2 / width, value * 2 / height) if in_pixels else (value, value)
    # In single precision, as it is used: a tiny or a huge number becomes 0 or infinite there.
    with np.errstate(over="ignore"):
        usable = all(0 < np.float32(s) < np.inf for s in sigma)
    if not usable:
        raise ValueError(f"sigma {text!r}: give a positive number, normalised ('0.1') or in pixels ('5px')")
    return sigma


def describe_sigma(sigma: Sequence[float], height: int, width: int) -> str:
    """Prints a normalised ``(sigma_x, sigma_y)`` in both units, for example ``0.1 (5 px)``."""
    normalised, pixels = [f"{s:.4g}" for s in sigma], [f"{sigma[0] * width / 2:.4g}", f"{sigma[1] * height / 2:.4g}"]
    return f"{' x '.join(dict.fromkeys(normalised))} ({' x '.join(dict.fromkeys(pixels))} px)"


def location_policy(mean: Float[Array, "*batch 2"], sigma: Float[Array, "..."]) -> distrax.Distribution:
    """Gaussian policy over locations, independent in x and y (Mnih et al. 2014, section 3).

    Args:
      mean: normalised mean location.
      sigma: standard deviation, normalised; broadcast against ``mean``.
    """
    return distrax.Independent(distrax.Normal(mean, jnp.broadcast_to(sigma, mean.shape)), 1)


def sample_location(
    key: Key[Array, ""],
    mean: Float[Array, "*batch 2"],
    sigma: Float[Array, "..."],
    *,
    mirrored: Bool[Array, ""] | bool = False,
    detached: bool = True,
) -> tuple[Float[Array, "*batch 2"], Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Samples the Gaussian policy.

    The log-probability is of the value as sampled, which it takes for given, so it has a gradient to ``mean`` and
    ``sigma`` alone (Mnih et al. 2014, equation 2).

    Args:
      key: random key.
      mean: normalised mean location.
      sigma: standard deviation, normalised; broadcast against ``mean``.
      mirrored: the sample on the other side of the mean: with the same key, the antithetic one.
      detached: whether the sample has no gradient, as in a score function; else it is ``mean + sigma * noise``
        (reparameterised, Kingma and Welling 2014).

    Returns:
      ``(sample, log_prob, entropy)``. The sample is not clipped.
    """
    sample = location_policy(mean, sigma).sample(seed=key)
    sample = jnp.where(mirrored, 2 * mean - sample, sample)
    log_prob, entropy = log_prob_and_entropy(sample, mean, sigma)
    return jax.lax.stop_gradient(sample) if detached else sample, log_prob, entropy


def log_prob_and_entropy(
    sample: Float[Array, "*batch 2"], mean: Float[Array, "*batch 2"], sigma: Float[Array, "..."]
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch"]]:
    """Of the Gaussian policy: log-probability of a sample, not clipped, and entropy, in nats."""
    policy = location_policy(mean, sigma)
    return policy.log_prob(jax.lax.stop_gradient(sample)), policy.entropy()


def clip_location(location: Float[Array, "*batch 2"]) -> Float[Array, "*batch 2"]:
    """Moves a location onto the image: what the retina uses where a sample fell outside [-1, 1]."""
    return jnp.clip(location, -1.0, 1.0)


def uniform_location(key: Key[Array, ""], batch_size: int) -> Float[Array, "{batch_size} 2"]:
    """Locations uniform over the image: the start policy ``uniform``, and the policy ``random``."""
    return jax.random.uniform(key, (batch_size, 2), minval=-1.0, maxval=1.0)


def centre_location(key: Key[Array, ""], batch_size: int) -> Float[Array, "{batch_size} 2"]:
    """The centre of the image: the start policy ``centre``. The key is not used."""
    del key
    return jnp.zeros((batch_size, 2))


FIRST_LOCATIONS = {"uniform": uniform_location, "centre": centre_location}
