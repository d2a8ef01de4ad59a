"""Numbers read from right to left: the same images, the symbols before the end of each label in reversed order.

Source: the backward model of Ba, Mnih and Kavukcuoglu, "Multiple Object Recognition with Visual Attention" (2014),
section 4.3.
"""

import dataclasses
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, Shaped

from common.data.recipes.base import Index, Recipe, Sample
from common.data.source import Source
from common.data.tasks import Dataset


def reverse_symbols(labels: Int[Array, "*batch S"] | Int[np.ndarray, "*batch S"], end: int) -> Int[Array, "*batch S"]:
    """Reverses what stands before the first end symbol; that one and what follows stay in their places.

    Args:
        labels: symbols `[..., S]` in the order of reading.
        end: the end symbol.

    Returns:
        Symbols of the same shape and type.
    """
    labels = jnp.asarray(labels)
    return flip_first(labels, (jnp.cumsum(labels == end, axis=-1) == 0).sum(axis=-1))


def flip_first(values: Shaped[Array, "*batch S"], count: Int[Array, "*batch"]) -> Shaped[Array, "*batch S"]:
    """Reverses the order of the first ``count`` positions of each sequence, in 0..S; the others stay."""
    place, count = jnp.broadcast_to(jnp.arange(values.shape[-1]), values.shape), count[..., None]
    return jnp.take_along_axis(values, jnp.where(place < count, count - 1 - place, place), axis=-1)


@dataclass(frozen=True)
class Reversed:
    """What another recipe draws, with its symbols from right to left. A `Recipe`.

    Attributes:
        recipe: the other one, which labels images with sequences.
        end: the end symbol.
    """

    recipe: Recipe
    end: int

    def check(self, source: Source) -> None:
        """Raises a `ValueError` unless the other recipe can draw from the source."""
        self.recipe.check(source)

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """The names that the other recipe gives."""
        return self.recipe.name_classes(class_names)

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """A sample of the other recipe: the image uint8 `[H, W, C]` and its label int32 `[S]`, reversed."""
        image, label = self.recipe.draw(key, source)
        return image, reverse_symbols(label, self.end)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """The sample of the other recipe that shows image `index`, its label reversed."""
        image, label = self.recipe.draw_of(key, index, source)
        return image, reverse_symbols(label, self.end)


def reverse_dataset(dataset: Dataset) -> Dataset:
    """A data set read from right to left: the fixed splits, and all that is drawn from the training pool.

    Raises:
        ValueError: if a label of it is one class.
    """
    if dataset.end_symbol is None:
        raise ValueError(f"reverse: a label of task {dataset.name!r} is one class, not a sequence of symbols")
    end = dataset.end_symbol
    validation, test = (
        split._replace(labels=np.asarray(reverse_symbols(split.labels, end)))
        for split in (dataset.validation, dataset.test)
    )
    return dataclasses.replace(dataset, validation=validation, test=test, recipe=Reversed(dataset.recipe, end))
