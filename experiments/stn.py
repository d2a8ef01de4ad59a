"""Trains a spatial transformer network: ``python -m experiments.stn PRESET [flags]``."""

from experiments.experiment import command
from experiments.presets_stn import STN_PRESETS

main = command(
    "stn",
    "Trains a spatial transformer network, or the same network without transformers, and reports on it.",
    STN_PRESETS,
)

if __name__ == "__main__":
    main()
