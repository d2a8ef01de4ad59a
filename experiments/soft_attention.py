"""Trains a network with soft attention: ``python -m experiments.soft_attention PRESET [flags]``."""

from experiments.presets_stn import SOFT_PRESETS
from experiments.training.run import command

main = command(
    "soft_attention",
    "Trains a network with soft attention, which needs no policy gradient, and reports on it.",
    SOFT_PRESETS,
)

if __name__ == "__main__":
    main()
