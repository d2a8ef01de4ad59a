"""Co-localisation: finding what images have in common, with no word on where it is (appendix A.2 of the paper).

A transformer crops each image. Crops of two images that share an object should be nearer to each other, as an encoder
sees them, than a crop is to one at a random place of its own image. The encoder is a classifier trained before, which
stays as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common import LARGEST
from common.locations import to_pixels
from common.training import Given, Model
from stn.config import small
from stn.localisation import NAME, ConvolutionalLocalisation, rate_factors
from stn.models import StnModel
from stn.samplers import sample
from stn.targets import accuracy
from stn.transformer import SpatialTransformer, Transformed
from stn.transforms import make_transform

# The part of the parameters that is the encoder's.
ENCODER = "encoder"


@dataclass(frozen=True)
class ColocalisationConfig:
    """Co-localisation."""

    crop: int = 28
    """Side of the crops, in pixels of the image and of the encoder's input."""
    transform: Literal["translation", "attention", "affine"] = "translation"
    """What the transformer may do: move the crop, also scale it, or any affine map."""
    margin: float = 1.0
    """By how much a crop must be nearer to the others than to the random one, in squared distances."""
    unit_length: bool = True
    """Scale encodings to length 1 before they are compared, so that squared distances are from 0 to 4."""
    filters: int = 20
    """Filters of the localisation network's two 5x5 convolutions."""
    units: int = 20
    """Units of its dense layers."""
    layers: int = 1
    """Number of its dense layers."""
    downsample: int = 2
    """Factor by which its input is averaged first."""
    background: float = 0.0
    """Brightness of what lies outside the image, in [0, 1]."""


class Colocaliser(NamedTuple):
    """A co-localiser for images of one size, as pure functions.

    Attributes:
      model: its initialisation and loss, to which labels say which images share an object; its predictions are the
        encoder's on what was found.
      find: ``(params, images [B, H, W, C]) -> Transformed``.
    """

    model: Model
    find: Callable[..., Transformed]


def validate_colocalisation(config: ColocalisationConfig, height: int, width: int) -> None:
    """Checks a configuration against the images' size in pixels.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    for name, least in (("crop", 1), ("filters", 1), ("units", 1), ("layers", 0), ("downsample", 1)):
        if getattr(config, name) < least:
            raise ValueError(f"{name} {getattr(config, name)}: must be at least {least}")
    if config.crop > min(height, width):
        raise ValueError(f"crop {config.crop}: must fit the {height}x{width} image, so at most {min(height, width)}")
    if not 0 <= config.background <= 1:
        raise ValueError(f"background {config.background}: must be from 0 to 1")
    if not 0 <= config.margin < LARGEST:
        raise ValueError(f"margin {config.margin}: must be 0 or more, and below {LARGEST:g}")
    if small(min(height, width), config.downsample) < 13:
        raise ValueError(
            f"downsample {config.downsample} of {height}x{width} images: what is left must be at least 13x13"
        )


def triplet_hinge(
    crops: Float[Array, "B D"], elsewhere: Float[Array, "B D"], labels: Int[Array, "B"], margin: float
) -> Float[Array, "B B"]:
    """The hinge of each ordered pair of images, 0 where they share nothing (equation 10 of the paper).

    ``max(0, |crop_n - crop_m|**2 - |crop_n - elsewhere_n|**2 + margin)`` where labels n and m are the same, n not m.
    """
    near = jnp.square(crops[:, None] - crops[None]).sum(-1)
    far = jnp.square(crops - elsewhere).sum(-1)
    shared = (labels[:, None] == labels[None]) & ~jnp.eye(len(labels), dtype=bool)
    return jnp.where(shared, jnp.maximum(near - far[:, None] + margin, 0), 0)


def boxes_of(grids: Float[Array, "B h w 2"], height: int, width: int) -> Float[Array, "B 4"]:
    """The smallest boxes around what grids show: (left, top, right, bottom) in pixels from the image's corner.

    Args:
      grids: normalised, h and w at least 2; of an axis-parallel grid the box is what its pixels cover.
      height: rows of the image.
      width: columns of the image.
    """
    rows, columns = grids.shape[1:3]
    low, high = (to_pixels(f(grids, axis=(1, 2)), height, width) for f in (jnp.min, jnp.max))
    # The grid has the centres of the pixels; they reach half a step further.
    margin = (high - low) / 2 / (jnp.array([[columns, rows]]) - 1)
    return jnp.concatenate([low - margin, high + margin], axis=1)


def overlap(a: Float[Array, "B 4"], b: Float[Array, "B 4"]) -> Float[Array, "B"]:
    """Intersection over union of boxes (left, top, right, bottom)."""

    def area(box: Array) -> Array:
        return jnp.prod(jnp.maximum(box[:, 2:] - box[:, :2], 0), axis=1)

    both = jnp.concatenate([jnp.maximum(a[:, :2], b[:, :2]), jnp.minimum(a[:, 2:], b[:, 2:])], axis=1)
    shared = area(both)
    return shared / jnp.maximum(area(a) + area(b) - shared, 1e-9)


def make_colocaliser(
    config: ColocalisationConfig, encoder: StnModel, height: int, width: int, channels: int
) -> Colocaliser:
    """Builds a co-localiser for images of ``height x width x channels``.

    Its parameters are ``{"localisation": ..., ENCODER: ...}``. Those of the encoder start at random, are to be replaced
    by trained ones, and do not change.

    Args:
      config: the configuration.
      encoder: a classifier of crops.
      height: rows of the images.
      width: columns.
      channels: of the images.
    """
    part = (config.crop / width, config.crop / height)
    transform = make_transform(config.transform, config.crop, config.crop, scale=part)
    random_place = make_transform("translation", config.crop, config.crop, scale=part)
    # Crops start as large as the objects.
    wide, high = part
    start = {"translation": (0.0, 0.0), "attention": (wide, 0.0, 0.0), "affine": (wide, 0.0, 0.0, 0.0, high, 0.0)}
    network = ConvolutionalLocalisation(
        start[config.transform], config.filters, config.units, config.layers, config.downsample
    )
    module = SpatialTransformer(network, transform, fill=config.background)

    def init(key: Key[Array, ""]) -> PyTree:
        params = module.init(key, jnp.zeros((1, height, width, channels)))["params"]
        return {NAME: params, ENCODER: encoder.model.init(key)}

    def find(params: PyTree, images: UInt8[Array, "B H W C"]) -> Transformed:
        return cast(Transformed, module.apply({"params": params[NAME]}, images / 255.0))

    def encode(params: PyTree, crops: Array) -> tuple[Array, Array]:
        seen = encoder.look(jax.lax.stop_gradient(params[ENCODER]), crops)
        if not config.unit_length:
            return seen.features, seen.logits
        length = jax.lax.rsqrt(jnp.square(seen.features).sum(-1, keepdims=True) + 1e-9)
        return seen.features * length, seen.logits

    def loss(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], labels: Int[Array, "B"], given: Given
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        room = 1 - jnp.array([part])
        places = room * jax.random.uniform(key, (len(images), 2), minval=-1.0, maxval=1.0)
        elsewhere = sample(images / 255.0, jax.vmap(random_place.grid)(places), fill=config.background)
        found, logits = encode(params, find(params, images).images)
        hinges = triplet_hinge(found, encode(params, elsewhere)[0], labels, config.margin)
        pairs = (labels[:, None] == labels[None]).sum() - len(labels)
        value = hinges.sum() / jnp.maximum(pairs, 1)
        violated = (hinges > 0).sum() / jnp.maximum(pairs, 1)
        metrics = {"loss": value, "violated": violated, "accuracy": accuracy(logits, labels)}
        return value, (metrics, given.memory)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: PyTree = ()
    ) -> Array:
        del key, kind, hyper
        return encoder.look(params[ENCODER], find(params, images).images).logits

    def factors(params: PyTree) -> PyTree:
        return {NAME: rate_factors(params[NAME], 1.0), ENCODER: jax.tree.map(lambda _: 0.0, params[ENCODER])}

    return Colocaliser(Model(init, loss, predict, rate_factors=factors), find)
