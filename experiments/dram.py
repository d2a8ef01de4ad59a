"""Trains a DRAM agent: ``python -m experiments.dram PRESET [flags]``."""

from experiments.presets import DRAM_PRESETS
from experiments.training.run import command

main = command(
    "dram",
    "Trains a deep recurrent attention model (DRAM) to read one or several digits, and reports on it.",
    DRAM_PRESETS,
)

if __name__ == "__main__":
    main()
