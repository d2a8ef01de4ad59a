"""Recurrent cores: networks whose state carries information from glimpse to glimpse.

Every core is a flax module with the fields ``hidden`` and ``num_glimpses`` (of an episode) and the methods
``initial_state(batch_shape) -> state`` and ``__call__(state, features) -> (state, output)``; features and output have
shape ``[*batch, F]`` and ``[*batch, hidden]``. ``--core`` chooses one by name or as ``module:Class``.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from common.extensions import Call, Extension, accepted, check_pair, check_returned, check_state
from common.networks.orthogonal import orthogonal


class ReluCore(nn.Module):
    """``h' = relu(Linear(h) + Linear(g))``, the core of RAM on static images (Mnih et al. 2014, section 4)."""

    hidden: int
    num_glimpses: int

    def initial_state(self, batch_shape: tuple[int, ...]) -> PyTree:
        """Return zeros of shape ``[*batch, hidden]``."""
        return jnp.zeros((*batch_shape, self.hidden))

    @nn.compact
    def __call__(self, state: PyTree, features: Float[Array, "*batch F"]) -> tuple[PyTree, Array]:
        """Take one step; see the module docstring."""
        output = nn.relu(nn.Dense(self.hidden, name="recurrent")(state) + nn.Dense(self.hidden, name="input")(features))
        return output, output


class GatedCore(nn.Module):
    """An LSTM (Hochreiter and Schmidhuber 1997) or a GRU (Cho et al. 2014), by flax's cells."""

    hidden: int
    num_glimpses: int
    cell: Any

    def initial_state(self, batch_shape: tuple[int, ...]) -> PyTree:
        """Return zeros in the structure of the cell's carry."""
        carry = self.cell(self.hidden, parent=None).initialize_carry(jax.random.key(0), (1, 1))
        return jax.tree.map(lambda leaf: jnp.zeros((*batch_shape, *leaf.shape[1:])), carry)

    @nn.compact
    def __call__(self, state: PyTree, features: Float[Array, "*batch F"]) -> tuple[PyTree, Array]:
        """Take one step; see the module docstring."""
        return self.cell(self.hidden, recurrent_kernel_init=orthogonal, name="cell")(state, features)


class TransformerCore(nn.Module):
    """One pre-norm block of causal multi-head scaled dot-product attention over the glimpses so far.

    After Vaswani et al. (2017), equation 1 and section 3.2.2. The state is the history of keys and values with a step
    counter, so each glimpse costs one query.
    """

    hidden: int
    num_glimpses: int
    num_heads: int = 4

    def initial_state(self, batch_shape: tuple[int, ...]) -> PyTree:
        """Return ``(step, keys, values)``; keys and values are zeros of shape ``[*batch, T, hidden]``."""
        history = jnp.zeros((*batch_shape, self.num_glimpses, self.hidden))
        return jnp.zeros((), jnp.int32), history, history

    @nn.compact
    def __call__(self, state: PyTree, features: Float[Array, "*batch F"]) -> tuple[PyTree, Array]:
        """Take one step; see the module docstring."""
        step, keys, values = state
        position = self.param("position", nn.initializers.normal(0.02), (self.num_glimpses, self.hidden))
        token = nn.Dense(self.hidden, name="input")(features)
        token = token + jnp.broadcast_to(position[step], token.shape)
        normed = nn.LayerNorm(name="attention_norm")(token)
        query, key, value = (nn.Dense(self.hidden, name=name)(normed) for name in ("query", "key", "value"))
        keys = jax.lax.dynamic_update_index_in_dim(keys, key, step, axis=-2)
        values = jax.lax.dynamic_update_index_in_dim(values, value, step, axis=-2)

        def heads(x: Array, length: int) -> Array:
            return x.reshape(-1, length, self.num_heads, self.hidden // self.num_heads)

        seen = jnp.arange(self.num_glimpses) <= step
        attended = jax.nn.dot_product_attention(
            heads(query, 1),
            heads(keys, self.num_glimpses),
            heads(values, self.num_glimpses),
            mask=seen[None, None, None, :],
        ).reshape(token.shape)
        token = token + nn.Dense(self.hidden, name="attention_output")(attended)
        normed = nn.LayerNorm(name="feed_forward_norm")(token)
        widened = nn.relu(nn.Dense(2 * self.hidden, name="widen")(normed))
        output = token + nn.Dense(self.hidden, name="narrow")(widened)
        return (step + 1, keys, values), nn.LayerNorm(name="output_norm")(output)


CORES = {
    "rnn": ReluCore,
    "lstm": functools.partial(GatedCore, cell=nn.OptimizedLSTMCell),
    "gru": functools.partial(GatedCore, cell=nn.GRUCell),
    "transformer": TransformerCore,
}
CORE = Extension(
    "core",
    CORES,
    Call(named=("hidden", "num_glimpses"), optional=("num_heads",)),
    base=nn.Module,
    members=("initial_state",),
)


def make_core(name: str, hidden: int, num_glimpses: int, **options: Any) -> nn.Module:
    """Build a core.

    Args:
      name: a name of `CORES`, or ``module:Class``.
      hidden: units of the output.
      num_glimpses: of an episode.
      options: ``num_heads``; a core receives it if it has a field of that name.

    Raises:
      ValueError: an unknown name, or a class that is no core.
    """
    core = CORE.resolve(name)
    return core(hidden=hidden, num_glimpses=num_glimpses, **accepted(core, options))


def step_core(core: nn.Module, state: PyTree, features: Float[Array, "*batch F"]) -> tuple[PyTree, Array]:
    """Take one step of a core; return its state and its output ``[*batch, hidden]``.

    Raises:
      ValueError: it returned something else.
    """
    new, output = check_pair("core", core(state, features), "(state, output)")
    check_returned("core", output, (*features.shape[:-1], core.hidden), "[*batch, hidden]")
    check_state("core", new, state)
    return new, output
