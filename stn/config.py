"""Configuration of spatial transformer networks. Every field is a flag of the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

from common.checks import Range, check_ranges, check_sides, refuse, refuse_settings
from common.unread import ReadBy
from stn.transforms import Name


@dataclass(frozen=True)
class TransformerConfig:
    """The spatial transformers."""

    place: Literal["none", "input", "multi"] = "input"
    """none: no transformer. input: on the image. multi: on the image and before the next three convolutions (network
    cnn11 only)."""
    parallel: Annotated[int, Range(1)] = 1
    """Transformers side by side on the image; the network sees all their outputs, as channels."""
    sequence: Annotated[int, Range(1)] = 1
    """Transformers one after the other, each on the output of the one before."""
    transform: Name = "affine"
    """Family of transformations. translation: shifts; attention: also scales; rotated_attention: also rotates; affine
    and projective: all 6 or 8 parameters; tps: a thin-plate spline."""
    control_points: Annotated[int, Range(2), ReadBy("transform", "tps")] = 4
    """Control points of tps along each side of the image."""
    regularisation: Annotated[float, Range(0), ReadBy("transform", "tps")] = 0.0
    """Weight of the bending of tps, see `common.geometry.splines`: 0 to go through its control points."""
    localisation: Literal["convolutional", "dense"] = "convolutional"
    """Localisation network: two 5x5 convolutions and dense layers, or dense layers alone. With multi, all but the first
    transformer have dense ones."""
    localisation_filters: Annotated[int, Range(1), ReadBy("localisation", "convolutional")] = 20
    """Filters of its convolutions."""
    localisation_units: Annotated[int, Range(1)] = 20
    """Units of its dense layers (paper: 32 without convolutions)."""
    localisation_layers: Annotated[int, Range(0)] = 1
    """Number of its dense layers (paper: 3 without convolutions)."""
    localisation_downsample: Annotated[int, Range(1)] = 2
    """Factor by which its input is averaged first (paper: 1 without convolutions)."""
    localisation_rate: Annotated[float, Range(0)] = 1.0
    """Factor on the updates of the localisation networks, after the optimiser (paper: a tenth of the learning rate on
    house numbers)."""
    padding: Literal["constant", "border"] = "constant"
    """Padding outside the image: constant, with the brightness of the background, or border, the nearest pixel."""
    background: Annotated[float, Range(0, 1), ReadBy("padding", "constant")] = 0.0
    """Brightness of the background, in [0, 1] as in the image, before it is normalised."""
    downsample: Annotated[int, Range(1)] = 1
    """Factor by which the output of the transformers, or the image if there are none, is made smaller for the network
    (paper: 2 behind transformers on RTS and tc60)."""
    pooling: Literal["average", "max", "sample"] = "average"
    """Downsampling: average or largest values of squares of pixels, or sample at fewer points."""


@dataclass(frozen=True)
class NetworkConfig:
    """The classifier."""

    network: Literal["fcn", "cnn", "cnn11"] = "cnn"
    """fcn: two dense layers. cnn: 9x9 convolution, pool, 7x7 convolution, pool. cnn11: the eight 5x5
    convolutions and three dense layers of python -m experiments.cnn, for house numbers."""
    parameters: Annotated[int, Range(1), ReadBy("network", "fcn", "cnn")] = 400_000
    """Parameters of the whole model: the units of fcn, or the filters of cnn, are set to come near this number."""
    units: Annotated[int, Range(0), ReadBy("network", "fcn", "cnn")] = 0
    """Units of fcn or filters of cnn, instead of `parameters`; 0 to use `parameters`."""
    width: Annotated[float, Range(above=0), ReadBy("network", "cnn11")] = 1.0
    """Factor on the filters and units of cnn11."""
    dropout: Annotated[float, Range(0, below=1)] = 0.0
    """Dropout rate: after each hidden layer of fcn; before the last layer of cnn; after the dense layers of cnn11, and
    a fifth of it after its convolutions but the first."""
    label_smoothing: Annotated[float, Range(0, below=1)] = 0.0
    """Fraction of each label that is spread evenly over all classes in training (Szegedy et al. 2016), in [0, 1)."""
    input_mean: Annotated[float, Range()] = 0.0
    """Subtracted from the images, which are in [0, 1]. cnn11 also subtracts the mean of each image that it sees."""
    input_std: Annotated[float, Range(above=0)] = 1.0
    """Divides the images after that. cnn11 multiplies what it sees by 4, so leave it at 1 there."""


@dataclass(frozen=True)
class StnConfig:
    """A spatial transformer network, or the same network without transformers to compare it with."""

    transformer: TransformerConfig = TransformerConfig()
    network: NetworkConfig = NetworkConfig()


def downsampled(length: int, factor: int) -> int:
    """Return the number of pixels left of ``length`` when ``factor`` become one; the last may stand for fewer."""
    return -(-length // factor)


def output_size(config: TransformerConfig, height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of the images that the classifier sees."""
    return downsampled(height, config.downsample), downsampled(width, config.downsample)


def check_stn(config: StnConfig, height: int, width: int) -> None:
    """Check a configuration against the images' size in pixels.

    Raises:
      ValueError: a bad configuration.
    """
    transformer, network = config.transformer, config.network
    check_ranges(transformer)
    check_ranges(network)
    samples = transformer.pooling == "sample" and transformer.downsample > 1
    refuse(
        (
            (
                transformer.place == "none" and samples,
                "pooling 'sample' with place 'none': nothing samples the image, so give average or max",
            ),
            (
                transformer.place == "multi" and network.network != "cnn11",
                f"place 'multi' with network {network.network!r}: only network cnn11 has room for them",
            ),
        )
    )
    if network.units:
        refuse_settings(network, ("parameters",), f" with units {network.units}: give one of them")
    _check_sizes(config, height, width)


def _check_sizes(config: StnConfig, height: int, width: int) -> None:
    transformer, network = config.transformer, config.network
    rows, columns = output_size(transformer, height, width)
    # cnn: 9x9 and 7x7 without padding, each with a pooling. cnn11: four poolings that halve.
    least = {"fcn": 1, "cnn": 21, "cnn11": 16}[network.network]
    user = f"network {network.network!r}"
    user += f" with downsample {transformer.downsample}" if transformer.downsample > 1 else ""
    check_sides(user, rows, columns, least)
    if transformer.place != "none" and transformer.localisation == "convolutional":
        check_localisation("localisation_downsample", transformer.localisation_downsample, height, width)


def check_localisation(name: str, factor: int, height: int, width: int) -> None:
    """Check that images that are made smaller are still large enough for a convolutional localisation network.

    Args:
      name: the name of the field that holds the factor.
      factor: the factor by which the images are made smaller.
      height: rows of the images.
      width: columns of the images.

    Raises:
      ValueError: they are too small.
    """
    # 5x5 without padding, a pooling, 5x5 again.
    user = f"the convolutional localisation network with {name} {factor}"
    check_sides(user, downsampled(height, factor), downsampled(width, factor), 13)
