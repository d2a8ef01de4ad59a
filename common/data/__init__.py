"""Tasks made from labelled images: MNIST, rendered house numbers, SVHN, or your own."""

from common.data.blank import blank_images, blank_task
from common.data.dataset import Dataset, check_num_images, check_resize, load_task, reverse_dataset
from common.data.digests import DIGESTS, digest
from common.data.house_numbers.pool import Pool, PoolConfig, load_pool
from common.data.mnist import load_mnist
from common.data.own_images.load import load_folder, load_npz, load_own_images
from common.data.recipes.base import Plain, Recipe
from common.data.recipes.canvas import Canvas
from common.data.recipes.crops import Crop
from common.data.recipes.distortions import Elastic, Projected, Rotated, RotatedScaledMoved, TwoChannelSum
from common.data.recipes.pairs import Pair
from common.data.recipes.reversal import reverse_symbols
from common.data.sampling import fixed_layouts, fixed_split, sample_batch
from common.data.source import SPLITS, LabelledSplits, Source
from common.data.tasks import TASKS, Task, find_task

__all__ = [
    "DIGESTS",
    "SPLITS",
    "TASKS",
    "Canvas",
    "Crop",
    "Dataset",
    "Elastic",
    "LabelledSplits",
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
    "blank_images",
    "blank_task",
    "check_num_images",
    "check_resize",
    "digest",
    "find_task",
    "fixed_layouts",
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
