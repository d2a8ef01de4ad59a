"""Co-localisation: find the object that images share, without box labels (Jaderberg et al. 2015, appendix A.2).

A spatial transformer crops each image. An encoder, a classifier trained beforehand and then frozen, maps crops to
vectors. The crops of two images that share an object should be nearer to each other than a crop is to a random crop of
its own image.

Unlike in the paper, vectors are measured from the vector of an empty crop, and short differences count as far from
everything. With distances between the vectors themselves, two empty crops are perfectly alike: training starts from
crops in the middle of the images, most of which miss the object, and learns to avoid the object.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PyTree, UInt8

from common.attention.locations import to_pixels
from common.checks import Range, check_at_most, check_ranges
from common.networks.targets import accuracy
from common.training.step import Model, StepInput, freeze
from stn.config import check_localisation
from stn.localisation import NAME, ConvolutionalLocalisation
from stn.models import StnModel, StnOutput
from stn.samplers import sample
from stn.transformer import SpatialTransformer, TransformerOutput
from stn.transforms import make_transform

# Key of the encoder's parameters.
ENCODER = "encoder"


@dataclass(frozen=True)
class ColocalisationConfig:
    """Co-localisation."""

    crop: Annotated[int, Range(1)] = 28
    """Side of the crops, in pixels of the image and of the encoder's input."""
    transform: Literal["translation", "attention", "affine"] = "translation"
    """Transformations of the crop: translation moves it, attention also scales it, affine is any affine map."""
    margin: Annotated[float, Range(0)] = 1.0
    """Margin of the triplet hinge: how much nearer crops of the same object must be than a random crop."""
    filters: Annotated[int, Range(1)] = 20
    """Filters of the localisation network's two 5x5 convolutions."""
    units: Annotated[int, Range(1)] = 20
    """Units of its dense layers."""
    layers: Annotated[int, Range(0)] = 1
    """Number of its dense layers."""
    downsample: Annotated[int, Range(1)] = 2
    """Factor by which its input is averaged first."""
    background: Annotated[float, Range(0, 1)] = 0.0
    """Brightness outside the image, in [0, 1]."""


class Colocaliser(NamedTuple):
    """A co-localiser for images of one size, as pure functions.

    Attributes:
      model: its initialisation, loss and predictions; labels say which images share an object, and predictions are the
        encoder's logits of the crops.
      find: ``(params, images [B, H, W, C]) -> TransformerOutput``, the crops.
    """

    model: Model
    find: Callable[..., TransformerOutput]


def check_colocalisation(config: ColocalisationConfig, height: int, width: int) -> None:
    """Check a configuration against the images' size in pixels.

    Raises:
      ValueError: a bad configuration.
    """
    check_ranges(config)
    check_at_most("crop", config.crop, min(height, width), f"must fit the {height}x{width} image")
    if config.transform == "attention" and height != width:
        # One scale in normalised coordinates would make a square crop as oblong as the image.
        raise ValueError(f"transform 'attention' on {height}x{width} images: needs square ones")
    check_localisation("downsample", config.downsample, height, width)


def relative_to(
    empty: Float[Array, "1 D"], crops: Float[Array, "B D"], elsewhere: Float[Array, "B D"]
) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
    """Compute scaled differences between vectors of crops and the vector of an empty crop.

    A difference d becomes ``d / sqrt(|d|**2 + m)``, where m is the mean of ``|d|**2`` over the random crops. Its length
    is below 1, and close to 0 for a crop that looks empty.

    Args:
      empty: the encoder's vector of an empty crop.
      crops: vectors of the crops.
      elsewhere: vectors of random crops.

    Returns:
      The scaled differences of the crops and of the random crops.
    """
    found, others = crops - empty, elsewhere - empty
    typical = jnp.maximum(jnp.square(others).sum(-1).mean(), 1e-9)

    def shorten(differences: Array) -> Array:
        return differences * jax.lax.rsqrt(jnp.square(differences).sum(-1, keepdims=True) + typical)

    return shorten(found), shorten(others)


def triplet_hinge(
    crops: Float[Array, "B D"], elsewhere: Float[Array, "B D"], labels: Int[Array, " B"], margin: float
) -> Float[Array, "B B"]:
    """Compute the hinge of each ordered pair of images (Jaderberg et al. 2015, equation 10).

    The hinge is ``max(0, near - far + margin)`` where images n and m have the same label and n is not m, with near
    ``2 - 2 crop_n . crop_m`` and far ``2 - 2 crop_n . elsewhere_n``; all other entries are 0. For vectors of length 1
    these are squared distances. For the shorter vectors of `relative_to` they are larger, so a crop that looks empty is
    far from every other.
    """
    near, far = 2 - 2 * crops @ crops.T, 2 - 2 * (crops * elsewhere).sum(-1)
    shared = (labels[:, None] == labels[None]) & ~jnp.eye(len(labels), dtype=bool)
    return jnp.where(shared, jnp.maximum(near - far[:, None] + margin, 0), 0)


def bounding_boxes(grids: Float[Array, "B h w 2"], height: int, width: int) -> Float[Array, "B 4"]:
    """Return the smallest boxes around sampling grids: (left, top, right, bottom) in pixels from the image's corner.

    Args:
      grids: normalised, h and w at least 2; the box of an axis-parallel grid is the area that its pixels cover.
      height: rows of the image.
      width: columns of the image.
    """
    rows, columns = grids.shape[1:3]
    low, high = (to_pixels(f(grids, axis=(1, 2)), height, width) for f in (jnp.min, jnp.max))
    # The grid holds the centres of the pixels, which reach half a step further.
    margin = (high - low) / 2 / (jnp.array([[columns, rows]]) - 1)
    return jnp.concatenate([low - margin, high + margin], axis=1)


def overlap(a: Float[Array, "B 4"], b: Float[Array, "B 4"]) -> Float[Array, " B"]:
    """Compute the intersection over union of pairs of boxes (left, top, right, bottom)."""

    def area(box: Array) -> Array:
        return jnp.prod(jnp.maximum(box[:, 2:] - box[:, :2], 0), axis=1)

    both = jnp.concatenate([jnp.maximum(a[:, :2], b[:, :2]), jnp.minimum(a[:, 2:], b[:, 2:])], axis=1)
    shared = area(both)
    return shared / jnp.maximum(area(a) + area(b) - shared, 1e-9)


def make_colocaliser(
    config: ColocalisationConfig, encoder: StnModel, height: int, width: int, channels: int
) -> Colocaliser:
    """Build a co-localiser for images of ``height x width x channels``.

    Its parameters are ``{"localisation": ..., ENCODER: ...}``. The encoder's are initialised at random, to be replaced
    by trained ones, and are frozen.

    Args:
      config: the configuration.
      encoder: a classifier of crops.
      height: rows of the images.
      width: columns of the images.
      channels: channels of the images.
    """
    fractions = (config.crop / width, config.crop / height)
    transform = make_transform(config.transform, config.crop, config.crop, scale=fractions)
    random_place = make_transform("translation", config.crop, config.crop, scale=fractions)
    # At the start a pixel of the crop is a pixel of the image.
    wide, high = fractions
    start = {"translation": (0.0, 0.0), "attention": (wide, 0.0, 0.0), "affine": (wide, 0.0, 0.0, 0.0, high, 0.0)}
    network = ConvolutionalLocalisation(
        start[config.transform], config.filters, config.units, config.layers, config.downsample
    )
    module = SpatialTransformer(network, transform, fill=config.background)

    @jax.jit
    def init(key: Key[Array, ""]) -> PyTree:
        params = module.init(key, jnp.zeros((1, height, width, channels)))["params"]
        return {NAME: params, ENCODER: encoder.model.init(key)}

    def find(params: PyTree, images: UInt8[Array, "B H W C"]) -> TransformerOutput:
        return cast(TransformerOutput, module.apply({"params": params[NAME]}, images / 255.0))

    def encode(params: PyTree, crops: Array) -> StnOutput:
        return encoder.forward(params[ENCODER], crops)

    def loss(
        params: PyTree,
        key: Key[Array, ""],
        images: UInt8[Array, "B H W C"],
        labels: Int[Array, " B"],
        step_input: StepInput,
    ) -> tuple[Array, tuple[dict[str, Array], PyTree]]:
        room = 1 - jnp.array([fractions])
        places = room * jax.random.uniform(key, (len(images), 2), minval=-1.0, maxval=1.0)
        elsewhere = sample(images / 255.0, jax.vmap(random_place.grid)(places), fill=config.background)
        empty = jnp.full((1, config.crop, config.crop, channels), config.background)
        encoded = encode(params, find(params, images).images)
        of_empty, others = (encode(params, crops).features for crops in (empty, elsewhere))
        crops, others = relative_to(of_empty, encoded.features, others)
        hinges = triplet_hinge(crops, others, labels, config.margin)
        pairs = (labels[:, None] == labels[None]).sum() - len(labels)
        value = hinges.sum() / jnp.maximum(pairs, 1)
        violated = (hinges > 0).sum() / jnp.maximum(pairs, 1)
        metrics = {"loss": value, "violated": violated, "accuracy": accuracy(encoded.logits, labels)}
        return value, (metrics, step_input.estimator_state)

    def predict(
        params: PyTree, key: Key[Array, ""], images: UInt8[Array, "B H W C"], kind: str, hyper: PyTree = ()
    ) -> Array:
        del key, kind, hyper  # One forward pass, whatever the policy.
        return encode(params, find(params, images).images).logits

    return Colocaliser(freeze(Model(init, loss, predict), ENCODER), find)
