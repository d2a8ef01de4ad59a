"""Co-localisation: finding what images have in common, with no word on where it is (appendix A.2 of the paper).

A transformer crops each image. Crops of two images that share an object should be nearer to each other, as an encoder
sees them, than a crop is to one at a random place of its own image. The encoder is a classifier trained before, which
stays as it is.

Crops are compared by how an encoding differs from that of an empty crop, and what hardly differs is like nothing, not
even like itself. By distances between the encodings themselves, as in the paper, two empty crops are perfect company:
from crops in the middle of images, most of which miss the object, all learn to flee it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.attention.locations import to_pixels
from common.checks import require_at_least, require_at_most
from common.networks.targets import accuracy
from common.training.step import Given, Model, freeze
from stn.config import MOST_LAYERS, small
from stn.localisation import NAME, ConvolutionalLocalisation
from stn.models import StnModel, StnOutput
from stn.samplers import sample
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
    """By how much a crop must be nearer to the others than to the random one: the margin of `triplet_hinge`."""
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
    require_at_least(config, 1, "crop", "filters", "units", "downsample")
    require_at_least(config, 0, "layers", "margin")
    require_at_most(config, MOST_LAYERS, "layers")
    if config.crop > min(height, width):
        raise ValueError(f"crop {config.crop}: must fit the {height}x{width} image, so at most {min(height, width)}")
    if config.transform == "attention" and height != width:
        # Of one scale in normalised coordinates a square crop would be as oblong as the image.
        raise ValueError(f"transform 'attention' on {height}x{width} images: needs square ones")
    if not 0 <= config.background <= 1:
        raise ValueError(f"background {config.background}: must be from 0 to 1")
    if small(min(height, width), config.downsample) < 13:
        raise ValueError(
            f"downsample {config.downsample} of {height}x{width} images: what is left must be at least 13x13"
        )


def relative_to(
    empty: Float[Array, "1 D"], crops: Float[Array, "B D"], elsewhere: Float[Array, "B D"]
) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
    """How encodings differ from that of an empty crop, the shorter than 1 the less they do.

    A difference d becomes ``d / sqrt(|d|**2 + m)``, m the mean of ``|d|**2`` of the crops at random places.

    Args:
      empty: the encoding of an empty crop.
      crops: encodings of crops.
      elsewhere: of crops at random places.

    Returns:
      Both sets of crops, lengths below 1.
    """
    found, others = crops - empty, elsewhere - empty
    typical = jnp.maximum(jnp.square(others).sum(-1).mean(), 1e-9)

    def shorten(differences: Array) -> Array:
        return differences * jax.lax.rsqrt(jnp.square(differences).sum(-1, keepdims=True) + typical)

    return shorten(found), shorten(others)


def triplet_hinge(
    crops: Float[Array, "B D"], elsewhere: Float[Array, "B D"], labels: Int[Array, " B"], margin: float
) -> Float[Array, "B B"]:
    """The hinge of each ordered pair of images, 0 where they share nothing (equation 10 of the paper).

    ``max(0, near - far + margin)`` where labels n and m are the same, n not m, with near ``2 - 2 crop_n . crop_m`` and
    far ``2 - 2 crop_n . elsewhere_n``: of vectors of length 1 squared distances, of the shorter ones of `relative_to`
    larger than those, so that what is like nothing is far from everything.
    """
    near, far = 2 - 2 * crops @ crops.T, 2 - 2 * (crops * elsewhere).sum(-1)
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


def overlap(a: Float[Array, "B 4"], b: Float[Array, "B 4"]) -> Float[Array, " B"]:
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

    def encode(params: PyTree, crops: Array) -> StnOutput:
        return encoder.look(params[ENCODER], crops)

    def loss(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], labels: Int[Array, " B"], given: Given
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        room = 1 - jnp.array([part])
        places = room * jax.random.uniform(key, (len(images), 2), minval=-1.0, maxval=1.0)
        elsewhere = sample(images / 255.0, jax.vmap(random_place.grid)(places), fill=config.background)
        empty = jnp.full((1, config.crop, config.crop, channels), config.background)
        found = encode(params, find(params, images).images)
        nothing, others = (encode(params, images).features for images in (empty, elsewhere))
        crops, others = relative_to(nothing, found.features, others)
        hinges = triplet_hinge(crops, others, labels, config.margin)
        pairs = (labels[:, None] == labels[None]).sum() - len(labels)
        value = hinges.sum() / jnp.maximum(pairs, 1)
        violated = (hinges > 0).sum() / jnp.maximum(pairs, 1)
        metrics = {"loss": value, "violated": violated, "accuracy": accuracy(found.logits, labels)}
        return value, (metrics, given.estimator_state)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: PyTree = ()
    ) -> Array:
        del key, kind, hyper
        return encoder.look(params[ENCODER], find(params, images).images).logits

    return Colocaliser(freeze(Model(init, loss, predict), ENCODER), find)
