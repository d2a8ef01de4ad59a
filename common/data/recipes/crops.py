"""Crops of larger images: random in training, central in the fixed splits.

Source: Goodfellow et al., "Multi-digit Number Recognition from Street View Imagery using Deep Convolutional Neural
Networks" (2014), section 5.1: 54x54 crops of 64x64 images.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key

from common.data.recipes.base import Index, Sample, check_image_size, check_source, draw_index, label_of
from common.data.source import Source


@dataclass(frozen=True)
class Crop:
    """A crop of an image, with the label of the image. Sizes are in pixels. A `Recipe`.

    Attributes:
        height: rows of the crop.
        width: columns of the crop.
    """

    height: int
    width: int

    def check(self, source: Source) -> None:
        """Check that images uint8 `[N, h, w, C]` are at least as large as the crop.

        Raises:
            ValueError: they are smaller.
        """
        check_source(source)
        check_image_size(source, "a crop", (self.height, self.width))

    def name_classes(self, class_names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the names of the source's classes."""
        return class_names

    def draw(self, key: Key[Array, ""], source: Source) -> Sample:
        """Draw a crop at a uniform position of a uniformly drawn image.

        Args:
            key: typed key `[]`.
            source: images uint8 `[N, h, w, C]`, labels `[N]` or `[N, S]`.

        Returns:
            The image uint8 `[H, W, C]` and its label int32, `[]` or `[S]`.

        Raises:
            ValueError: see `check`.
        """
        self.check(source)
        _, h, w, _ = source.images.shape
        index_key, corner_key = jax.random.split(key)
        index = draw_index(index_key, source.images.shape[0])
        limits = np.array([h - self.height + 1, w - self.width + 1], np.uint32)
        corner = (jax.random.bits(corner_key, (2,), "uint32") % limits).astype(jnp.int32)
        return self._crop(index, corner, source), label_of(index, source)

    def draw_of(self, key: Key[Array, ""], index: Index, source: Source) -> Sample:
        """Return the central crop of image `index`, half a pixel up or left if the margins cannot be equal."""
        self.check(source)
        _, h, w, _ = source.images.shape
        corner = np.array([(h - self.height) // 2, (w - self.width) // 2], np.int32)
        return self._crop(jnp.asarray(index, jnp.int32), corner, source), label_of(index, source)

    def _crop(self, index: Array, corner: Array | np.ndarray, source: Source) -> Array:
        images = jnp.asarray(source.images)
        start, size = (index, corner[0], corner[1], np.int32(0)), (1, self.height, self.width, images.shape[-1])
        return jax.lax.dynamic_slice(images, start, size)[0]
