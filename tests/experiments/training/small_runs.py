"""Flags of runs that are small enough for a test."""

import numpy as np

LOOP = "--steps 4 --batch-size 8 --log-every 2 --evaluate-every 2 --validation-episodes 2 --eval-episodes 3 --seed 5"
RAM = (
    "cluttered60_dense --task images --glimpse-size 4 --num-scales 2 --num-glimpses 2 --core rnn --core-hidden 16"
    " --no-plots --glimpse-hidden 8 --location-hidden 8 --glimpse-features 16 --sigma 3px --sigma-final 1px "
    "--sigma-schedule linear " + LOOP
).split()
CNN = ("mnist28 --task images --network fc --units 8 --no-plots " + LOOP).split()


def save_images(folder, count, side, classes=3, name="images.npz"):
    """Save a file with `count` noisy images of `side` pixels in some classes, which differ in brightness."""
    labels = np.arange(count) % classes
    noise = np.random.default_rng(0).integers(0, 200, (count, side, side), dtype=np.uint8)
    step = np.uint8(25 if classes == 3 else 55 // classes)
    np.savez(folder / name, images=noise + step * labels[:, None, None].astype(np.uint8), labels=labels)
