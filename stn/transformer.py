"""The spatial transformer module: localisation network, grid and sampler; alone, in sequence and in parallel."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from common.networks.convolutions import max_pool
from stn.localisation import average_pool
from stn.samplers import Fill, Padding, sample
from stn.transforms import Transform

Pooling = Literal["average", "max"]


class Transformed(NamedTuple):
    """What a spatial transformer did.

    Attributes:
      parameters: of the transformation, ``[B, P]``.
      grids: where its input was read, normalised, ``[B, h, w, 2]``.
      images: what was read there, before any pooling, ``[B, h, w, C]``.
      origins: where that lies on the first image of a sequence of transformers, normalised, ``[B, h, w, 2]``; what an
        earlier transformer did not show lies at the edge of what it did.
    """

    parameters: Float[Array, "B P"]
    grids: Float[Array, "B h w 2"]
    images: Float[Array, "B h w C"]
    origins: Float[Array, "B h w 2"]


class SpatialTransformer(nn.Module):
    """Transforms each image as its localisation network says (Jaderberg et al. 2015, figure 2).

    Attributes:
      localisation: ``images [B, H, W, C] -> parameters [B, P]``.
      transform: the family of transformations, which also knows the size of the output and what its coordinates mean.
      padding: see `stn.samplers.sample`.
      fill: likewise, in the units of the images.
    """

    localisation: nn.Module
    transform: Transform
    padding: Padding = "constant"
    fill: Fill = 0.0

    def __call__(self, images: Float[Array, "B H W C"]) -> Transformed:
        """Images or feature maps to what is seen of them."""
        parameters = self.localisation(images)
        grids = jax.vmap(self.transform.grid)(parameters)
        corners = self.transform.align_corners
        seen = sample(images, grids, padding=self.padding, fill=self.fill, align_corners=corners)
        return Transformed(parameters, grids, seen, grids)


def in_sequence(
    transformers: Sequence[SpatialTransformer], images: Float[Array, "B H W C"]
) -> tuple[Float[Array, "B h w C"], tuple[Transformed, ...]]:
    """Each transformer acts on what the one before it saw; returns what the last saw, and what each did."""
    done: list[Transformed] = []
    for transformer in transformers:
        one = transformer(images)
        done.append(traced_back(one, done[-1], transformer.transform.align_corners) if done else one)
        images = one.images
    return images, tuple(done)


def traced_back(one: Transformed, before: Transformed, align_corners: bool = False) -> Transformed:
    """What a transformer did on what an earlier one saw, or on features of that, traced back to the first image."""
    return one._replace(origins=sample(before.origins, one.grids, padding="border", align_corners=align_corners))


def in_parallel(
    branches: Sequence[Sequence[SpatialTransformer]], images: Float[Array, "B H W C"]
) -> tuple[Float[Array, "B h w channels"], tuple[Transformed, ...]]:
    """Each branch, a sequence of transformers, acts on all channels of the images (appendix A.1).

    Returns:
      What the n branches saw, joined along the channels, and what each transformer did, branch by branch.
    """
    results = [in_sequence(branch, images) for branch in branches]
    return jnp.concatenate([seen for seen, _ in results], axis=-1), tuple(one for _, done in results for one in done)


def pool(images: Float[Array, "B H W C"], factor: int, pooling: Pooling = "average") -> Float[Array, "B h w C"]:
    """The downsampling after a transformer: means, or largest values, over squares of ``factor`` pixels.

    The paper averages by 2 where digits are much smaller than the image (appendix A.4, RTS and TC).
    """
    if pooling == "average" or factor == 1:
        return average_pool(images, factor)
    return max_pool(images, factor)
