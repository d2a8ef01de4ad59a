"""Tasks made from labelled images: MNIST, or your own."""

from common.data.canvas import Canvas
from common.data.distortions import Elastic, Projected, Rotated, RotatedScaledMoved, TwoChannelSum
from common.data.mnist import load_mnist
from common.data.own_images import OwnImages, load_folder, load_npz, load_own_images
from common.data.pairs import Pair
from common.data.recipe import Plain, Recipe
from common.data.source import SPLITS, Source
from common.data.tasks import (
    DIGESTS,
    TASKS,
    Dataset,
    Task,
    digest,
    find_task,
    fixed_corners,
    fixed_split,
    load_task,
    sample_batch,
)

__all__ = [
    "DIGESTS",
    "SPLITS",
    "TASKS",
    "Canvas",
    "Dataset",
    "Elastic",
    "OwnImages",
    "Pair",
    "Plain",
    "Projected",
    "Recipe",
    "Rotated",
    "RotatedScaledMoved",
    "Source",
    "Task",
    "TwoChannelSum",
    "digest",
    "find_task",
    "fixed_corners",
    "fixed_split",
    "load_folder",
    "load_mnist",
    "load_npz",
    "load_own_images",
    "load_task",
    "sample_batch",
]
