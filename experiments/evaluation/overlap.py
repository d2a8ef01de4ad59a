"""Overlap of the boxes that a co-localiser finds with the true boxes."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from common.data import Dataset
from common.training.evaluation import interval, over_batches
from experiments.evaluation.places import split_layouts, true_boxes
from stn.colocalisation import Colocaliser, bounding_boxes, overlap

# A box is found if its overlap with the true box is larger (Jaderberg et al. 2015, appendix A.2).
ENOUGH = 0.5
_BATCH = 500


def overlaps(finder: Colocaliser, params: Any, dataset: Dataset) -> dict[str, dict[str, Any]]:
    """Compute intersection over union of found and true boxes, of the validation and the test images.

    Returns:
      ``{split: {found, low, high, n, mean}}``: the fraction above `ENOUGH` in per cent with its 95% interval, the
      number of images, and the mean overlap.
    """

    @jax.jit
    def find(key: Array, images: Array) -> Array:
        del key
        return bounding_boxes(finder.find(params, images).grids, dataset.height, dataset.width)

    results = {}
    for split in ("validation", "test"):
        images = getattr(dataset, split).images
        boxes = over_batches(find, jax.random.key(0), images, min(_BATCH, len(images)))
        values = np.asarray(
            overlap(jnp.asarray(boxes), jnp.asarray(true_boxes(dataset, split_layouts(dataset, split))))
        )
        error = interval(int((values > ENOUGH).sum()), len(values))
        results[split] = {"found": error.pop("error"), **error, "mean": float(values.mean())}
    return results
