"""Location policies: the distribution that the next location is drawn from, and the network that computes it.

A policy is an object with the methods of `LocationPolicy`. The location network of an agent returns one after every
glimpse; ``--location-policy`` chooses the network. The papers use the Gaussian policy (`GaussianLocationNetwork`).
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import distrax
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from common.extensions import Call, Extension, accepted, check_returned


@runtime_checkable
class LocationPolicy(Protocol):
    """A distribution over locations, normalised ``(x, y)``, of any batch shape.

    The policy of a location network that takes sigma also has ``sigma [*batch, 2]``, its standard deviation, which
    episodes keep for plots and metrics.
    """

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch 2"]:
        """Draw a location. A pathwise gradient needs a sample that is differentiable in the policy's parameters."""

    def log_prob(self, location: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
        """Return the log-probability, or log-density, of a location that was sampled, in nats."""

    def entropy(self) -> Float[Array, "*batch"]:
        """Return the entropy in nats."""

    def mode(self) -> Float[Array, "*batch 2"]:
        """Return the most probable location, where a greedy episode takes its glimpse."""


@runtime_checkable
class AntitheticPolicy(LocationPolicy, Protocol):
    """A location policy for antithetic replicates."""

    def mirror(self, sample: Float[Array, "*batch 2"]) -> Float[Array, "*batch 2"]:
        """Return the antithetic counterpart of a sample: equally probable, and negatively correlated with it."""


class GaussianPolicy(NamedTuple):
    """Gaussian policy, independent in x and y (Mnih et al. 2014, section 3).

    Attributes:
      mean: normalised mean location ``[*batch, 2]``.
      sigma: standard deviation, normalised; any shape that broadcasts to that of the mean.
    """

    mean: Float[Array, "*batch 2"]
    sigma: Float[Array, "..."]

    def _distribution(self) -> distrax.Distribution:
        return distrax.Independent(distrax.Normal(self.mean, jnp.broadcast_to(self.sigma, self.mean.shape)), 1)

    def sample(self, key: Key[Array, ""]) -> Float[Array, "*batch 2"]:
        """Draw ``mean + sigma * noise``, which may lie outside the image (Kingma and Welling 2014)."""
        return self._distribution().sample(seed=key)

    def mirror(self, sample: Float[Array, "*batch 2"]) -> Float[Array, "*batch 2"]:
        """Return the sample's reflection in the mean."""
        return 2 * self.mean - sample

    def log_prob(self, location: Float[Array, "*batch 2"]) -> Float[Array, "*batch"]:
        """Return the log-density of a location that is not clipped to the image, in nats."""
        return self._distribution().log_prob(location)

    def entropy(self) -> Float[Array, "*batch"]:
        """Return the differential entropy in nats; it depends on sigma alone."""
        return self._distribution().entropy()

    def mode(self) -> Float[Array, "*batch 2"]:
        """Return the mean."""
        return self.mean


MEAN_ACTIVATIONS = {"linear": lambda x: x, "tanh": jnp.tanh, "hard_tanh": nn.hard_tanh}


class GaussianLocationNetwork(nn.Module):
    """The location network of the Gaussian policy: its mean, and a learned factor on its sigma.

    Attributes:
      mean_activation: ``linear``, ``tanh`` or ``hard_tanh``.
      hidden: units of an optional ReLU layer; 0 for none.
      learned_sigma: the learned factor on sigma in x and in y, which is 1 at the start of training: ``no`` for none,
        ``global`` for the same factor in every state, ``state`` for one computed from the core's output.
      unit_width: length of 1 in the network's output, normalised in x and y, which the mean is multiplied by; None
        for 1.
    """

    mean_activation: str = "tanh"
    hidden: int = 0
    learned_sigma: str = "no"
    unit_width: tuple[float, float] | None = None

    # Its policy has `mirror`, and its samples are differentiable in its parameters.
    antithetic = True
    reparameterised = True

    @nn.compact
    def __call__(self, output: Float[Array, "*batch D"], sigma: Float[Array, "2"]) -> GaussianPolicy:
        """Compute the policy from the core's output and the configured sigma, normalised."""
        if self.hidden:
            output = nn.relu(nn.Dense(self.hidden, name="hidden_layer")(output))
        mean = MEAN_ACTIVATIONS[self.mean_activation](nn.Dense(2, name="mean")(output))
        if self.learned_sigma == "global":
            sigma = sigma * jnp.exp(self.param("log_sigma", nn.initializers.zeros, (2,)))
        elif self.learned_sigma == "state":
            factor = nn.Dense(2, kernel_init=nn.initializers.zeros, name="log_sigma")(output)
            sigma = jnp.broadcast_to(sigma, factor.shape) * jnp.exp(factor)
        if self.unit_width is not None:
            mean = mean * jnp.broadcast_to(jnp.array(self.unit_width), mean.shape)
        # Broadcast once, so that the gradients of all uses of sigma are added before they are summed over the batch.
        return GaussianPolicy(mean, jnp.broadcast_to(sigma, mean.shape))


# A location network is a flax module with ``__call__(output [*batch, D]) -> LocationPolicy``. It receives the
# configured ``sigma [2]`` if `__call__` has an argument of that name, and the options below that it has fields for.
OPTIONS = ("mean_activation", "hidden", "learned_sigma", "unit_width")
LOCATION_POLICY = Extension(
    "location_policy", {"gaussian": GaussianLocationNetwork}, Call(optional=OPTIONS), base=nn.Module
)


def make_location_network(name: str, **options: Any) -> nn.Module:
    """Build a location network.

    Args:
      name: a built-in name, or ``module:Class``.
      options: values of `OPTIONS`; a network receives those that it has a field for.

    Raises:
      ValueError: an unknown name, or a class that is no flax module.
    """
    network = LOCATION_POLICY.resolve(name)
    return network(**accepted(network, options))


def takes_sigma(network: nn.Module | type[nn.Module]) -> bool:
    """Return whether a location network takes the configured sigma, so that its policy has a sigma."""
    return bool(accepted(network.__call__, {"sigma": None}))


def compute_policy(network: nn.Module, output: Float[Array, "*batch D"], sigma: Float[Array, "2"]) -> LocationPolicy:
    """Apply a location network to the core's output; it receives sigma, normalised, if it takes it."""
    return network(output, **accepted(network.__call__, {"sigma": sigma}))


def check_policy(network: nn.Module, policy: Any, batch_shape: tuple[int, ...]) -> None:
    """Check what a location network returned.

    Args:
      network: the location network.
      policy: what it returned.
      batch_shape: the shape of its input without the last axis.

    Raises:
      ValueError: it is no location policy, or a value of it has another shape or type.
    """
    if not isinstance(policy, LocationPolicy):
        missing = [name for name in ("sample", "log_prob", "entropy", "mode") if not hasattr(policy, name)]
        raise ValueError(f"the location network returned {type(policy).__name__}, which has no {', '.join(missing)}")
    if takes_sigma(network) and not hasattr(policy, "sigma"):
        raise ValueError(
            f"the location network takes sigma, and returned {type(policy).__name__}, which has no sigma: give the "
            "policy sigma [*batch, 2], or leave out the argument sigma of __call__"
        )
    sample, mode = policy.sample(jax.random.key(0)), policy.mode()
    for name, location in (("sample", sample), ("mode", mode)):
        check_returned(f"{name} of the location policy", location, (*batch_shape, 2), "[*batch, 2]")
    for name, value in (("log_prob", policy.log_prob(sample)), ("entropy", policy.entropy())):
        check_returned(f"{name} of the location policy", value, batch_shape, "[*batch]")
