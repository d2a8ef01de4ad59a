"""The `Recipe` protocol: how the images and labels of a task are made from labelled images, the source.

A recipe is a frozen dataclass, so that it is hashable and can be a static argument of a jitted function. It draws one
image at a time; `jax.vmap` draws batches.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import chex
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key, UInt8

from common.data.source import Labels, Source
from common.extensions import check_pair, describe_arrays, must_return

Index = Int[Array, ""] | Int[np.ndarray, ""] | np.integer | int
# One image uint8 [H, W, C] and its label int32: [] for a class, [S] for a sequence of symbols.
Sample = tuple[UInt8[Array, "H W C"], Int[Array, "*S"]]


@runtime_checkable
class Recipe(Protocol):
    """Makes H x W x C images, labelled with a class or with S symbols, from a source.

    A draw depends only on the key, the source and the fields of the recipe. Draw integers with `jax.random.bits`, as
    `Canvas` does, if the images should be the same in all versions of JAX.
    """

    def check(self, source: Source) -> None:
        """Check that the recipe can draw from a source; uses shapes only.

        Args:
            source: images uint8 `[N, h, w, c]`, labels `[N]` or `[N, S]`; may be traced or of `jax.ShapeDtypeStruct`.

        Raises:
            ValueError: the shapes do not fit the recipe.
        """

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the recipe's classes or symbols.

        Args:
            class_names: names of the source's classes.

        Raises:
            ValueError: the recipe cannot be applied to these classes.
        """

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """Draw a training sample.

        Args:
            key: typed key `[]`.
            source: images uint8 `[N, h, w, c]`, labels `[N]` or `[N, S]`.

        Returns:
            The image uint8 `[H, W, C]` and its label int32, `[]` or `[S]`.
        """

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Draw the sample of a fixed split that shows image `index`, in 0..N-1; otherwise as `draw`."""


@dataclass(frozen=True)
class Plain:
    """The unchanged images and labels of the source. A `Recipe`."""

    def check(self, source: Source) -> None:
        """Check the shapes of the source, see `check_source`."""
        check_source(source)

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the source's classes."""
        return class_names

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """Draw an image uint8 `[h, w, c]` uniformly, with its label."""
        return draw_any(self.draw_of, key, source)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Return image `index`, uint8 `[h, w, c]`, and its label; the key is unused."""
        self.check(source)
        return jnp.asarray(source.images)[index], label_of(index, source)


def check_source(source: Source) -> None:
    """Check that images are `[N, h, w, c]` and labels `[N]` or `[N, S]`, no axis empty; uses shapes only.

    Raises:
        ValueError: the shapes are wrong.
    """
    images, labels = tuple(source.images.shape), tuple(source.labels.shape)
    if len(images) != 4 or labels[:1] != images[:1] or len(labels) not in (1, 2) or min(images + labels) < 1:
        raise ValueError(
            f"images of shape {images} with labels of shape {labels}: must be [N, h, w, C] with [N] or [N, S], and not "
            "empty"
        )


def check_image_size(source: Source, user: str, least: tuple[int, int], most: tuple[int, int] | None = None) -> None:
    """Check the size of the images of a source.

    Args:
        source: images `[N, h, w, C]` with labels.
        user: what takes them, for the message, such as "a canvas of 60x60".
        least: the smallest rows and columns.
        most: the largest rows and columns; None for no limit.

    Raises:
        ValueError: the images are smaller or larger.
    """
    h, w = source.images.shape[1:3]
    too_large = most is not None and (h > most[0] or w > most[1])
    if h < least[0] or w < least[1] or too_large:
        allowed = f"at least {least[0]}x{least[1]}" + (f" and at most {most[0]}x{most[1]}" if most else "")
        raise ValueError(f"images of {h}x{w} pixels: {user} needs {allowed}")


def draw_index(key: Key[Array, ""], num_images: int) -> Int[Array, ""]:
    """Draw the index of an image uniformly: int32 `[]` in 0..num_images-1."""
    return (jax.random.bits(key, (), "uint32") % np.uint32(num_images)).astype(jnp.int32)


def another(index: Index, step: Int[Array, "*D"], num_images: int) -> Int[Array, "*D"]:
    """Return indices other than ``index``: uniform over the rest if ``step`` is uniform over 0..num_images-2."""
    return (jnp.asarray(index, jnp.int32) + 1 + step) % num_images


def draw_any(draw_of: Callable[..., Sample], key: Key[Array, ""], source: Source) -> Sample:
    """Draw a training sample of a uniformly drawn image, in the same way as the fixed splits do.

    Args:
        draw_of: `Recipe.draw_of`.
        key: typed key `[]`.
        source: images uint8 `[N, h, w, c]`, labels `[N]` or `[N, S]`.

    Returns:
        The image and label of `draw_of`.
    """
    check_source(source)
    index_key, draw_key = jax.random.split(key)
    return draw_of(draw_key, draw_index(index_key, source.images.shape[0]), source)


def label_of(index: Index, source: Source) -> Int[Array, "*S"]:
    """Return the label of image `index`: int32 `[]` or `[S]`."""
    return jnp.asarray(source.labels)[index].astype(jnp.int32)


def sample_shapes(recipe: Recipe, source: Source) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the shapes of an image, `(H, W, C)`, and of a label, `()` or `(S,)`, without drawing.

    Raises:
        ValueError: see `Recipe.check`; or `draw` or `draw_of` returns no such image and label, or the two differ.
    """
    recipe.check(source)
    structs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), source)
    key, what = jax.random.key(0), f"of the recipe {type(recipe).__name__}"
    fixed = jax.eval_shape(_checked(recipe.draw_of, f"draw_of {what}"), key, 0, structs)
    drawn = jax.eval_shape(_checked(recipe.draw, f"draw {what}"), key, structs)
    if [leaf.shape for leaf in drawn] != [leaf.shape for leaf in fixed]:
        samples = f"{describe_arrays(drawn)}, and draw_of {describe_arrays(fixed)}"
        raise ValueError(f"the draw {what} returned {samples}: must return the same shapes")
    image, label = fixed
    return image.shape, label.shape


def _checked(draw: Callable[..., Sample], what: str) -> Callable[..., Sample]:
    """Return `draw` or `draw_of` of a recipe with a check of what it returns."""

    def checked(*args: Any) -> Sample:
        image, label = sample = check_pair(what, draw(*args), "(image, label)")
        with must_return(what, sample, "an image uint8 [H, W, C] and a label of whole numbers, [] or [S]"):
            chex.assert_rank([image, label], [3, {0, 1}])
            chex.assert_type([image, label], [jnp.uint8, int])
        return image, label

    return checked


def class_names_of(recipe: Recipe, class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Return `Recipe.name_classes` for the names of the source's classes.

    Raises:
        ValueError: see `Recipe.name_classes`; or what it returns is no tuple of texts.
    """
    names = recipe.name_classes(class_names)
    if not isinstance(names, tuple) or not names or not all(isinstance(name, str) for name in names):
        what = f"name_classes of the recipe {type(recipe).__name__}"
        raise ValueError(f"the {what} returned {names!r}: must return the names of the classes, a tuple of texts")
    return names


def check_labels(what: str, labels: Labels, class_names: tuple[str, ...]) -> None:
    """Check that labels are classes or symbols that have a name.

    Args:
        what: what made the labels, for the message, such as "the recipe Plain, validation".
        labels: `[N]` or `[N, S]`.
        class_names: the names of the classes or symbols.

    Raises:
        ValueError: one lies outside; quotes it.
    """
    flat = np.asarray(labels).reshape(len(labels), -1)
    for extreme in (flat.min(), flat.max()):
        if not 0 <= extreme < len(class_names):
            index = int(np.argmax((flat == extreme).any(axis=1)))
            raise ValueError(
                f"{what}: image {index} has the label {extreme}: must be from 0 to {len(class_names) - 1}, the "
                f"indices of the {len(class_names)} class names"
            )
