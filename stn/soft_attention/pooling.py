"""Soft attention over a grid of features: each head computes a weighted mean of the features of all places."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class AdditivePooling(nn.Module):
    """Additive attention: scores ``v . tanh(W feature + U query)`` (Bahdanau et al. 2015, appendix A.1.2).

    Attributes:
      heads: number of heads, each with W, U and v of its own.
      size: units of each head's hidden layer.
    """

    heads: int
    size: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "B N D"], query: Float[Array, "B Q"]
    ) -> tuple[Float[Array, "B seen"], Float[Array, "B heads N"]]:
        """Compute the weighted means of features at N places, head by head, and the weights."""
        hidden = nn.Dense(self.heads * self.size, name="feature")(features)
        hidden = hidden + nn.Dense(self.heads * self.size, use_bias=False, name="query")(query)[:, None]
        hidden = jnp.tanh(hidden).reshape(*features.shape[:2], self.heads, self.size)
        vector = self.param("vector", nn.initializers.lecun_normal(), (self.size, self.heads))
        weights = jax.nn.softmax(jnp.einsum("bnhs,sh->bhn", hidden, vector))
        return jnp.einsum("bhn,bnd->bhd", weights, features).reshape(features.shape[0], -1), weights


class DotProductPooling(nn.Module):
    """Scaled dot-product attention with one query (Vaswani et al. 2017, equation 1).

    Attributes:
      heads: number of heads.
      size: units of each head's query, keys and values.
    """

    heads: int
    size: int

    @nn.compact
    def __call__(
        self, features: Float[Array, "B N D"], query: Float[Array, "B Q"]
    ) -> tuple[Float[Array, "B seen"], Float[Array, "B heads N"]]:
        """Compute the weighted means of values at N places, head by head, and the weights."""

        def project(x: Array, name: str) -> Array:
            return nn.Dense(self.heads * self.size, name=name)(x).reshape(*x.shape[:-1], self.heads, self.size)

        keys, values = project(features, "key"), project(features, "value")
        scores = jnp.einsum("bhs,bnhs->bhn", project(query, "query"), keys) / jnp.sqrt(float(self.size))
        weights = jax.nn.softmax(scores)
        return jnp.einsum("bhn,bnhs->bhs", weights, values).reshape(features.shape[0], -1), weights


POOLINGS = {"additive": AdditivePooling, "dot_product": DotProductPooling}
