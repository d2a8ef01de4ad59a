"""Trains a RAM agent: ``python -m experiments.ram PRESET [flags]``."""

from experiments.presets import RAM_PRESETS
from experiments.training.run import command

main = command(
    "ram",
    "Trains a recurrent attention model (RAM) and reports on it.",
    RAM_PRESETS,
)

if __name__ == "__main__":
    main()
