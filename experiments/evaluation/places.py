"""Places of the source images in the images of a fixed split."""

import numpy as np
from jaxtyping import Float

from common.data import Dataset, Source, find_task, fixed_layouts
from common.data.recipes.canvas import Layout


def split_layouts(dataset: Dataset, split: str) -> Layout:
    """Return the layouts of a fixed split of a task whose recipe is a `common.data.Canvas`."""
    shape = (len(getattr(dataset, split).labels), *dataset.train.images.shape[1:3], dataset.channels)
    # Places depend on shapes alone.
    source = Source(np.broadcast_to(np.uint8(0), shape), np.zeros(shape[0], np.int32))
    return fixed_layouts(source, find_task(dataset.name), split)


def true_boxes(dataset: Dataset, layouts: Layout) -> Float[np.ndarray, "N 4"]:
    """Return the box of the source image in each image: left, top, right, bottom in pixels."""
    high, wide = dataset.train.images.shape[1:3]
    corner = np.asarray(layouts.corner)[:, ::-1]
    return np.concatenate([corner, corner + np.array([wide, high])], axis=1).astype(np.float32)
