"""MNIST, which comes with the project and is checked against its digest."""

import hashlib
import io
import os
from pathlib import Path

import numpy as np

from common.data.source import Source

MNIST_PATH = Path(__file__).with_name("mnist.npz")
MNIST_SHA256 = "ef5c47939af9cb6fb553652159a623d38e919fec4546f7d3b50c610203be3b7e"
NUM_TRAIN = 54_000


def load_mnist(path: str | os.PathLike[str] = MNIST_PATH) -> dict[str, Source]:
    """Load MNIST, split into 54,000 training, 6,000 validation and 10,000 test digits.

    Validation is the last 6,000 of the 60,000 training digits in their original order; test is the original
    test set.

    Args:
        path: a copy of `mnist.npz`; by default the one beside this module.

    Returns:
        A dictionary with the keys `train`, `validation` and `test`. Each source holds NumPy arrays: images
        uint8 `[N, 28, 28, 1]` (0 is background, 255 is ink) and labels int32 `[N]` in 0..9.

    Raises:
        OSError: the file cannot be read.
        ValueError: its SHA-256 differs from the published one.

    Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", CC BY-SA 3.0.
    """
    content = Path(path).read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != MNIST_SHA256:
        raise ValueError(f"MNIST file {str(path)!r} is damaged: its SHA-256 is {actual}, expected {MNIST_SHA256}")
    # Parse the verified bytes instead of opening the file again.
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        images, labels = arrays["train_images"][..., None], arrays["train_labels"].astype(np.int32)
        test = Source(arrays["test_images"][..., None], arrays["test_labels"].astype(np.int32))
    return {
        "train": Source(images[:NUM_TRAIN], labels[:NUM_TRAIN]),
        "validation": Source(images[NUM_TRAIN:], labels[NUM_TRAIN:]),
        "test": test,
    }
