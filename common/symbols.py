"""Sequences of symbols, of which the last class is the end symbol: the positions that count."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int


def within(labels: Int[Array, "*batch S"], num_classes: int) -> Bool[Array, "*batch S"]:
    """Return whether a position comes no later than the first end symbol (the last of ``num_classes``)."""
    ended = labels == num_classes - 1
    return jnp.cumsum(ended, axis=-1) - ended == 0


def all_before(right: Bool[Array, " S *rest"]) -> Bool[Array, " S *rest"]:
    """Return whether every earlier position is true; for the first position, True."""
    so_far = jnp.cumprod(right, axis=0).astype(bool)
    return jnp.concatenate([jnp.ones_like(so_far[:1]), so_far[:-1]])


def whole_right(
    predicted: Int[Array, " S *batch"], labels: Int[Array, " S *batch"], num_classes: int
) -> Bool[Array, "*batch"]:
    """Return whether every symbol up to the first end symbol of the labels is predicted right."""
    counts = jnp.moveaxis(within(jnp.moveaxis(labels, 0, -1), num_classes), -1, 0)
    return ((predicted == labels) | ~counts).all(axis=0)
