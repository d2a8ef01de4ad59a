"""Recipes: how the images and labels of a task are made from those of a source.

A recipe is a frozen dataclass, so it is hashable and can be a static argument of a jitted function. It draws
one image at a time; batch it with `jax.vmap`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from common.data.source import Source

Index = Int[Array, ""] | Int[np.ndarray, ""] | np.integer | int
# One image uint8 [H, W, C] and its label int32: [] for a class, [S] for a sequence of symbols.
Sample = tuple[UInt8[Array, "H W C"], Int[Array, "*S"]]


@runtime_checkable
class Recipe(Protocol):
    """What a task makes of a source: H x W x C images, labelled with a class or with S symbols.

    Everything that a draw depends on is in the key, the source and the recipe's own fields. Draw integers
    with `jax.random.bits`, as the canvases do, where the images are to be the same in all versions of JAX.
    """

    def check(self, source: Source) -> None:
        """Raises a `ValueError` unless the recipe can draw from the source; looks at shapes only.

        Args:
            source: images uint8 `[N, h, w, c]`, labels `[N]` or `[N, S]`; also traced, or of
                `jax.ShapeDtypeStruct`.
        """

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """The name of each label, or symbol, that the recipe makes of labels with the names given.

        Raises:
            ValueError: if the recipe makes no sense for those classes.
        """

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """One training sample, random in everything.

        Args:
            key: typed key `[]`.
            source: images uint8 `[N, h, w, c]`, labels `[N]` or `[N, S]`.

        Returns:
            The image uint8 `[H, W, C]` and its label int32, `[]` or `[S]`.
        """

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """The sample of a fixed split that shows image `index`, in 0..N-1; otherwise as `draw`."""


@dataclass(frozen=True)
class Plain:
    """The images of the source as they are, with their labels."""

    def check(self, source: Source) -> None:
        """Raises a `ValueError` unless the shapes of the source are right."""
        check_source(source)

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """The names of the source."""
        return class_names

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """A uniformly drawn image uint8 `[h, w, c]` and its label."""
        return draw_any(self.draw_of, key, source)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Image `index` uint8 `[h, w, c]` and its label; the key is not used."""
        self.check(source)
        return jnp.asarray(source.images)[index], label_of(index, source)


def check_source(source: Source) -> None:
    """Raises a `ValueError` unless images are `[N, h, w, c]` and labels `[N]` or `[N, S]`, no axis empty.

    Looks at shapes only, so it also works on traced arrays.
    """
    shape = tuple(source.images.shape)
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"source images have shape {shape}; expected [N, h, w, C] with every axis at least 1")
    labels = tuple(source.labels.shape)
    if labels[:1] != shape[:1] or len(labels) > 2 or min(labels) < 1:
        raise ValueError(f"source labels have shape {labels}; expected {shape[:1]} or, for sequences, [{shape[0]}, S]")


def draw_index(key: Key[Array, ""], num_images: int) -> Int[Array, ""]:
    """Draws an image of a source uniformly: int32 `[]` in 0..num_images-1."""
    return (jax.random.bits(key, (), "uint32") % np.uint32(num_images)).astype(jnp.int32)


def another(index: Index, step: Int[Array, "*D"], num_images: int) -> Int[Array, "*D"]:
    """Images of a source other than ``index``: uniform over the rest where ``step`` is over 0..num_images-2."""
    return (jnp.asarray(index, jnp.int32) + 1 + step) % num_images


def draw_any(draw_of: Callable[..., Sample], key: Key[Array, ""], source: Source) -> Sample:
    """The training draw of a recipe that shows a uniformly drawn image just as its fixed splits do.

    Args:
        draw_of: `Recipe.draw_of`.
        key: typed key `[]`.
        source: images uint8 `[N, h, w, c]`, labels `[N]` or `[N, S]`.

    Returns:
        What `draw_of` returns.
    """
    check_source(source)
    index_key, draw_key = jax.random.split(key)
    return draw_of(draw_key, draw_index(index_key, source.images.shape[0]), source)


def label_of(index: Index, source: Source) -> Int[Array, "*S"]:
    """The label of image `index`: int32 `[]` or `[S]`."""
    return jnp.asarray(source.labels)[index].astype(jnp.int32)


def sample_shapes(recipe: Recipe, source: Source) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The shapes of an image and of a label, `(H, W, C)` and `()` or `(S,)`, without drawing any.

    Raises:
        ValueError: see `Recipe.check`.
    """
    recipe.check(source)
    structs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), source)
    image, label = jax.eval_shape(recipe.draw_of, jax.random.key(0), 0, structs)
    return image.shape, label.shape
