"""Sequences read from right to left: the same images, with the symbols before the end symbol in reversed order.

Source: the backward model of Ba, Mnih and Kavukcuoglu, "Multiple Object Recognition with Visual Attention" (2014),
section 4.3.
"""

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, Shaped

from common.data.recipes.base import Index, Recipe, Sample
from common.data.source import Source


def reverse_symbols(labels: Int[Array, "*batch S"] | Int[np.ndarray, "*batch S"], end: int) -> Int[Array, "*batch S"]:
    """Reverse the symbols before the first end symbol; the end symbol and everything after it stay.

    Args:
        labels: symbols `[..., S]` in reading order.
        end: the end symbol.

    Returns:
        Symbols of the same shape and type.
    """
    labels = jnp.asarray(labels)
    return flip_first(labels, (jnp.cumsum(labels == end, axis=-1) == 0).sum(axis=-1))


def flip_first(values: Shaped[Array, "*batch S"], count: Int[Array, "*batch"]) -> Shaped[Array, "*batch S"]:
    """Reverse the first ``count`` values of each sequence, with ``count`` in 0..S; the others stay."""
    index, count = jnp.broadcast_to(jnp.arange(values.shape[-1]), values.shape), count[..., None]
    return jnp.take_along_axis(values, jnp.where(index < count, count - 1 - index, index), axis=-1)


@dataclass(frozen=True)
class Reversed:
    """A recipe with labels from right to left. A `Recipe`.

    Attributes:
        recipe: the wrapped recipe, which labels images with sequences.
        end: the end symbol.
    """

    recipe: Recipe
    end: int

    def check(self, source: Source) -> None:
        """Check that the wrapped recipe can draw from the source."""
        self.recipe.check(source)

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the wrapped recipe."""
        return self.recipe.name_classes(class_names)

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """Draw an image uint8 `[H, W, C]` with its reversed label int32 `[S]`."""
        image, label = self.recipe.draw(key, source)
        return image, reverse_symbols(label, self.end)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Draw the sample of a fixed split that shows image `index`, with its label reversed."""
        image, label = self.recipe.draw_of(key, index, source)
        return image, reverse_symbols(label, self.end)
