"""Spatial transformers (Jaderberg et al. 2015): differentiable attention, trained by the gradient of the loss alone.

``make_stn(StnConfig(...), height, width, channels, num_classes)`` builds a network with spatial transformers: its
initialisation, loss and prediction as pure functions (`common.training.step.Model`). `SpatialTransformer` is the flax
module for networks of your own; grids and samplers are functions. Soft attention is in `stn.soft_attention`.
"""

from stn.colocalisation import (
    ColocalisationConfig,
    Colocaliser,
    bounding_boxes,
    check_colocalisation,
    make_colocaliser,
    overlap,
    triplet_hinge,
)
from stn.config import NetworkConfig, StnConfig, TransformerConfig, check_stn
from stn.grids import (
    affine_grid,
    affine_grid_3d,
    attention_matrix,
    projective_grid,
    rotated_attention_matrix,
    thin_plate_grid,
)
from stn.localisation import ConvolutionalLocalisation, DenseLocalisation
from stn.models import Stn, StnModel, StnOutput, make_stn
from stn.samplers import project, sample
from stn.transformer import SpatialTransformer, TransformerOutput, in_parallel, in_sequence
from stn.transforms import Transform, make_transform

__all__ = [
    "ColocalisationConfig",
    "Colocaliser",
    "ConvolutionalLocalisation",
    "DenseLocalisation",
    "NetworkConfig",
    "SpatialTransformer",
    "Stn",
    "StnConfig",
    "StnModel",
    "StnOutput",
    "Transform",
    "TransformerConfig",
    "TransformerOutput",
    "affine_grid",
    "affine_grid_3d",
    "attention_matrix",
    "bounding_boxes",
    "check_colocalisation",
    "check_stn",
    "in_parallel",
    "in_sequence",
    "make_colocaliser",
    "make_stn",
    "make_transform",
    "overlap",
    "project",
    "projective_grid",
    "rotated_attention_matrix",
    "sample",
    "thin_plate_grid",
    "triplet_hinge",
]
