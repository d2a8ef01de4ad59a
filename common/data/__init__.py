"""Tasks made from labelled images: MNIST, rendered house numbers, or your own."""

from common.data.blank import blank_task
from common.data.house_numbers.pool import Pool, PoolConfig, load_pool
from common.data.mnist import load_mnist
from common.data.own_images.load import OwnImages, load_folder, load_npz, load_own_images
from common.data.recipes.base import Plain, Recipe
from common.data.recipes.canvas import Canvas
from common.data.recipes.crops import Crop
from common.data.recipes.distortions import Elastic, Projected, Rotated, RotatedScaledMoved, TwoChannelSum
from common.data.recipes.pairs import Pair
from common.data.recipes.reversal import reverse_dataset, reverse_symbols
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
    "Crop",
    "Dataset",
    "Elastic",
    "OwnImages",
    "Pair",
    "Plain",
    "Pool",
    "PoolConfig",
    "Projected",
    "Recipe",
    "Rotated",
    "RotatedScaledMoved",
    "Source",
    "Task",
    "TwoChannelSum",
    "blank_task",
    "digest",
    "find_task",
    "fixed_corners",
    "fixed_split",
    "load_folder",
    "load_mnist",
    "load_npz",
    "load_own_images",
    "load_pool",
    "load_task",
    "reverse_dataset",
    "reverse_symbols",
    "sample_batch",
]
