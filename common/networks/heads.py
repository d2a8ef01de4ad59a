"""Heads on the output of a recurrent core: action and value networks (Mnih et al. 2014, section 4).

Location networks are in `common.attention.location_policies`.
"""

import flax.linen as nn
import jax
from jaxtyping import Array, Float


class ActionNetwork(nn.Module):
    """Class logits: one linear layer.

    Attributes:
      num_classes: number of classes.
    """

    num_classes: int

    @nn.compact
    def __call__(self, output: Float[Array, "*batch D"]) -> Float[Array, "*batch num_classes"]:
        """Compute logits from the core's output."""
        return nn.Dense(self.num_classes, name="logits")(output)


class ValueNetwork(nn.Module):
    """Expected return: one linear layer on detached features."""

    @nn.compact
    def __call__(self, output: Float[Array, "*batch D"]) -> Float[Array, "*batch"]:
        """Compute the expected return from the core's output."""
        return nn.Dense(1, name="value")(jax.lax.stop_gradient(output))[..., 0]
