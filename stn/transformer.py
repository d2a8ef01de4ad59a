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


class TransformerOutput(NamedTuple):
    """The output of a spatial transformer.

    Attributes:
      parameters: parameters of the transformations, ``[B, P]``.
      grids: points at which the input was read, normalised, ``[B, h, w, 2]``.
      images: the values there, before any pooling, ``[B, h, w, C]``.
      origins: the same points on the first image of a sequence of transformers, normalised, ``[B, h, w, 2]``; a point
        outside an earlier transformer's output is at the edge of it.
    """

    parameters: Float[Array, "B P"]
    grids: Float[Array, "B h w 2"]
    images: Float[Array, "B h w C"]
    origins: Float[Array, "B h w 2"]


class SpatialTransformer(nn.Module):
    """Localisation network, grid and sampler: transforms each image by its own parameters.

    Jaderberg et al. 2015, figure 2.

    Attributes:
      localisation: ``images [B, H, W, C] -> parameters [B, P]``.
      transform: the family of transformations, with the size of the output.
      padding: values outside the image, see `stn.samplers.sample`.
      fill: brightness outside the image for constant padding, in the units of the images.
    """

    localisation: nn.Module
    transform: Transform
    padding: Padding = "constant"
    fill: Fill = 0.0

    def __call__(self, images: Float[Array, "B H W C"]) -> TransformerOutput:
        """Transform images or feature maps."""
        parameters = self.localisation(images)
        grids = jax.vmap(self.transform.grid)(parameters)
        corners = self.transform.align_corners
        outputs = sample(images, grids, padding=self.padding, fill=self.fill, align_corners=corners)
        return TransformerOutput(parameters, grids, outputs, grids)


def in_sequence(
    transformers: Sequence[SpatialTransformer], images: Float[Array, "B H W C"]
) -> tuple[Float[Array, "B h w C"], tuple[TransformerOutput, ...]]:
    """Apply transformers one after the other, each to the output of the one before.

    Returns:
      The images of the last, and the output of each.
    """
    outputs: list[TransformerOutput] = []
    for transformer in transformers:
        output = transformer(images)
        outputs.append(trace_back(output, outputs[-1], transformer.transform.align_corners) if outputs else output)
        images = output.images
    return images, tuple(outputs)


def trace_back(output: TransformerOutput, before: TransformerOutput, align_corners: bool = False) -> TransformerOutput:
    """Compute the origins of a transformer's output on the first image of a sequence.

    Args:
      output: output of the transformer.
      before: output of the transformer before it, whose images, or features of them, it transformed.
      align_corners: whether -1 and +1 are the centres of the outermost pixels.
    """
    return output._replace(origins=sample(before.origins, output.grids, padding="border", align_corners=align_corners))


def in_parallel(
    branches: Sequence[Sequence[SpatialTransformer]], images: Float[Array, "B H W C"]
) -> tuple[Float[Array, "B h w channels"], tuple[TransformerOutput, ...]]:
    """Apply branches of transformers to the same images (Jaderberg et al. 2015, appendix A.1).

    Returns:
      The images of all branches, joined along the channels, and the output of each transformer, branch by branch.
    """
    results = [in_sequence(branch, images) for branch in branches]
    joined = jnp.concatenate([last for last, _ in results], axis=-1)
    return joined, tuple(output for _, outputs in results for output in outputs)


def pool(images: Float[Array, "B H W C"], factor: int, pooling: Pooling = "average") -> Float[Array, "B h w C"]:
    """Downsample by the average, or the largest value, of squares of ``factor x factor`` pixels.

    Jaderberg et al. 2015 average by 2 where digits are much smaller than the image (appendix A.4, RTS and TC).
    """
    if pooling == "average" or factor == 1:
        return average_pool(images, factor)
    return max_pool(images, factor)
