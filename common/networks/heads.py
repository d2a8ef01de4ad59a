"""What reads the output of a recurrent core: location, action and baseline networks (Mnih et al. 2014, section 4)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

MEAN_ACTIVATIONS = {"linear": lambda x: x, "tanh": jnp.tanh, "hard_tanh": nn.hard_tanh}


class LocationNetwork(nn.Module):
    """Mean and standard deviation of the location policy.

    Attributes:
      mean_activation: ``linear``, ``tanh`` or ``hard_tanh``.
      hidden: units of an optional ReLU layer; 0 for none.
      learned_sigma: whether sigma has a learned factor in x and y, 1 at the start: ``no``, ``global`` for the same in
        every state, or ``state``.
    """

    mean_activation: str = "tanh"
    hidden: int = 0
    learned_sigma: str = "no"

    @nn.compact
    def __call__(
        self, output: Float[Array, "*batch D"], sigma: Float[Array, "2"]
    ) -> tuple[Float[Array, "*batch 2"], Float[Array, "..."]]:
        """Core output and the configured sigma to ``(mean, sigma)``, both normalised."""
        if self.hidden:
            output = nn.relu(nn.Dense(self.hidden, name="hidden_layer")(output))
        mean = MEAN_ACTIVATIONS[self.mean_activation](nn.Dense(2, name="mean")(output))
        if self.learned_sigma == "global":
            sigma = sigma * jnp.exp(self.param("log_sigma", nn.initializers.zeros, (2,)))
        elif self.learned_sigma == "state":
            factor = nn.Dense(2, kernel_init=nn.initializers.zeros, name="log_sigma")(output)
            sigma = jnp.broadcast_to(sigma, factor.shape) * jnp.exp(factor)
        return mean, sigma


class ActionNetwork(nn.Module):
    """Logits of the classes: one linear layer."""

    num_classes: int

    @nn.compact
    def __call__(self, output: Float[Array, "*batch D"]) -> Float[Array, "*batch num_classes"]:
        """Core output to logits."""
        return nn.Dense(self.num_classes, name="logits")(output)


class ValueNetwork(nn.Module):
    """Expected return: one linear layer."""

    @nn.compact
    def __call__(self, output: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
        """Core output to the expected return."""
        return nn.Dense(1, name="value")(jax.lax.stop_gradient(output))[..., 0]
