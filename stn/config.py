"""Configuration of spatial transformer networks. Every field is a flag of the command line."""

from dataclasses import dataclass
from typing import Literal

from common import LARGEST
from common.checks import MOST_PARAMETERS, refuse_settings, require_at_least, require_at_most
from common.networks.multi_digit import MOST_WIDTH
from stn.transforms import Name

# Each is a part of the compiled program, which takes long to compile beyond this.
MOST_TRANSFORMERS = MOST_LAYERS = 50
MOST_LOCALISATION_UNITS = 10_000
# Images divided by less are too large for single precision behind a few layers.
LEAST_STD = 1e-6
# Along each side: a spline's basis has as many numbers as the image has pixels, times these squared.
MOST_CONTROL_POINTS = 32


@dataclass(frozen=True)
class TransformerConfig:
    """The spatial transformers."""

    place: Literal["none", "input", "multi"] = "input"
    """none: a network without. input: on the image. multi: on the image and before the next three convolutions
    (network cnn11 only)."""
    parallel: int = 1
    """Transformers side by side on the image; the network sees all their outputs, as channels."""
    sequence: int = 1
    """Transformers one after the other, each on what the one before saw."""
    transform: Name = "affine"
    """Family of transformations. translation: moves; attention: also scales; rotated_attention: and turns; tps: a
    thin-plate spline."""
    control_points: int = 4
    """Control points of tps along each side of the image."""
    regularisation: float = 0.0
    """Weight of the bending of tps, see `common.geometry.splines`: 0 to go through its control points."""
    localisation: Literal["convolutional", "dense"] = "convolutional"
    """Localisation network: two 5x5 convolutions and dense layers, or dense layers alone. Those of multi behind the
    first are dense."""
    localisation_filters: int = 20
    """Filters of its convolutions."""
    localisation_units: int = 20
    """Units of its dense layers (paper: 32 where it has no convolutions)."""
    localisation_layers: int = 1
    """Number of its dense layers (paper: 3 where it has no convolutions)."""
    localisation_downsample: int = 2
    """Factor by which its input is averaged first (paper: 1 where it has no convolutions)."""
    localisation_rate: float = 1.0
    """Factor on the learning rate of localisation networks (paper: 0.1 on house numbers); acts after the optimiser."""
    padding: Literal["constant", "border"] = "constant"
    """What lies outside of the image: the background, or the nearest pixel."""
    background: float = 0.0
    """Brightness of the background, in [0, 1] as in the image, before it is normalised."""
    downsample: int = 1
    """Factor by which the output of the transformers, or the image if there are none, is made smaller for the network
    (paper: 2 behind transformers on RTS and tc60)."""
    pooling: Literal["average", "max", "sample"] = "average"
    """How: means or largest values over squares of pixels, or by sampling that much more coarsely."""


@dataclass(frozen=True)
class NetworkConfig:
    """The classification network."""

    network: Literal["fcn", "cnn", "cnn11"] = "cnn"
    """fcn: two dense layers. cnn: 9x9 convolution, pool, 7x7 convolution, pool. cnn11: the eight 5x5
    convolutions and three dense layers of python -m experiments.cnn, for house numbers."""
    parameters: int = 400_000
    """Units or filters of fcn and cnn are as many as bring the whole model near this number of parameters."""
    units: int = 0
    """Units of fcn or filters of cnn, instead of by `parameters`; 0 for those."""
    width: float = 1.0
    """Factor on the filters and units of cnn11."""
    dropout: float = 0.0
    """Dropout: after each hidden layer of fcn, before the last layer of cnn; of cnn11 after dense layers, and a fifth
    of it after convolutions but the first."""
    label_smoothing: float = 0.0
    """Part of each label that is spread over all classes alike in training (Szegedy et al. 2016), in [0, 1)."""
    input_mean: float = 0.0
    """Subtracted from the images, which are in [0, 1]. Of what it sees cnn11 subtracts each image's own mean too."""
    input_std: float = 1.0
    """What they are then divided by. cnn11 multiplies by 4 what it sees, so leave it at 1 there."""


@dataclass(frozen=True)
class StnConfig:
    """A spatial transformer network, or one without transformers to measure it against."""

    transformer: TransformerConfig = TransformerConfig()
    network: NetworkConfig = NetworkConfig()


def small(length: int, factor: int) -> int:
    """Pixels that are left of ``length`` when ``factor`` become one; the last may be of fewer."""
    return -(-length // factor)


def output_size(config: TransformerConfig, height: int, width: int) -> tuple[int, int]:
    """Rows and columns of what the classification network sees."""
    return small(height, config.downsample), small(width, config.downsample)


def validate(config: StnConfig, height: int, width: int) -> None:
    """Checks a configuration against the images' size in pixels.

    Raises:
      ValueError: one line that quotes the bad value and says what is allowed.
    """
    transformer, network = config.transformer, config.network
    require_at_least(transformer, 1, "parallel", "sequence", "localisation_filters", "localisation_units", "downsample")
    require_at_least(transformer, 1, "localisation_downsample")
    number = transformer.parallel * transformer.sequence
    if number > MOST_TRANSFORMERS:
        raise ValueError(
            f"parallel {transformer.parallel} times sequence {transformer.sequence}: must be at most "
            f"{MOST_TRANSFORMERS} transformers"
        )
    require_at_most(transformer, MOST_LAYERS, "localisation_layers")
    require_at_most(transformer, MOST_LOCALISATION_UNITS, "localisation_filters", "localisation_units")
    require_at_least(transformer, 0, "localisation_layers", "localisation_rate", "regularisation")
    require_at_least(network, 1, "parameters")
    require_at_least(network, 0, "units")
    if not 2 <= transformer.control_points <= MOST_CONTROL_POINTS:
        raise ValueError(f"control_points {transformer.control_points}: must be from 2 to {MOST_CONTROL_POINTS}")
    require_at_most(network, MOST_PARAMETERS, "parameters")
    if not 0 <= transformer.background <= 1:
        raise ValueError(f"background {transformer.background}: must be from 0 to 1")
    if not 0 < network.width <= MOST_WIDTH:
        raise ValueError(f"width {network.width}: must be positive and at most {MOST_WIDTH}")
    for name in ("dropout", "label_smoothing"):
        if not 0 <= getattr(network, name) < 1:
            raise ValueError(f"{name} {getattr(network, name)}: must be at least 0 and below 1")
    if not abs(network.input_mean) < LARGEST:
        raise ValueError(f"input_mean {network.input_mean}: must be finite")
    if not 0 < network.input_std < LARGEST:
        raise ValueError(f"input_std {network.input_std}: must be positive and below {LARGEST:g}")
    if network.input_std < LEAST_STD:
        raise ValueError(f"input_std {network.input_std}: must be at least {LEAST_STD:g}")
    if transformer.place == "none" and transformer.pooling == "sample" and transformer.downsample > 1:
        raise ValueError("pooling 'sample' with place 'none': nothing samples the image, so give average or max")
    if transformer.place == "multi" and network.network != "cnn11":
        raise ValueError(f"place 'multi' with network {network.network!r}: only network cnn11 has room for them")
    _refuse_what_does_nothing(config)
    _validate_sizes(config, height, width)


def _refuse_what_does_nothing(config: StnConfig) -> None:
    # Only what no preset sets: whoever changes one flag of a preset must not have to take back another.
    transformer, network = config.transformer, config.network
    if transformer.transform != "tps":
        why = f" with transform {transformer.transform!r}: only 'tps' has any"
        refuse_settings(transformer, ("control_points", "regularisation"), why)
    if transformer.padding == "border":
        refuse_settings(transformer, ("background",), " with padding 'border': nothing shows it")
    if transformer.downsample == 1:
        refuse_settings(transformer, ("pooling",), " with downsample 1: nothing is made smaller")
    if network.network == "cnn11":
        refuse_settings(network, ("units", "parameters"), ": cnn11 has its own size, so give --width instead")
    else:
        refuse_settings(network, ("width",), ": only cnn11 has one, so give --parameters or --units instead")
    if network.units:
        refuse_settings(network, ("parameters",), f" with units {network.units}: give one of them")


def _validate_sizes(config: StnConfig, height: int, width: int) -> None:
    transformer, network = config.transformer, config.network
    rows, columns = output_size(transformer, height, width)
    # 9x9 and 7x7 without padding, with poolings between them.
    least = {"fcn": 1, "cnn": 21, "cnn11": 16}[network.network]
    if min(rows, columns) < least:
        seen = f"{rows}x{columns}" + (f" (downsample {transformer.downsample})" if transformer.downsample > 1 else "")
        raise ValueError(f"network {network.network!r} on {seen} images: needs at least {least}x{least}")
    factor = transformer.localisation_downsample
    # 5x5 without padding, a pooling, 5x5 again.
    convolutional = transformer.place != "none" and transformer.localisation == "convolutional"
    if convolutional and small(min(height, width), factor) < 13:
        raise ValueError(
            f"localisation 'convolutional' on {height}x{width} images with localisation_downsample {factor}: what is "
            "left must be at least 13x13"
        )
