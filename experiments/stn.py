"""Trains a spatial transformer network: ``python -m experiments.stn PRESET [flags]``."""

from experiments.presets_stn import STN_PRESETS
from experiments.training.run import command

main = command(
    "stn",
    "Trains a spatial transformer network, or the same network without transformers, and reports on it.",
    STN_PRESETS,
)

if __name__ == "__main__":
    main()
