"""Trains a network that sees the whole image: ``python -m experiments.cnn PRESET [flags]``."""

from experiments.presets import CNN_PRESETS
from experiments.training.run import command

main = command(
    "cnn",
    "Trains a baseline that sees the whole image, by the same loop on the same images as the agents.",
    CNN_PRESETS,
)

if __name__ == "__main__":
    main()
