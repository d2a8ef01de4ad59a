"""Trains a RAM agent: ``python -m experiments.ram PRESET [flags]``."""

import sys
from collections.abc import Sequence

from experiments.command_line import parse_preset
from experiments.experiment import run
from experiments.presets import RAM_PRESETS


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    description = "Trains a recurrent attention model (RAM) and reports on it."
    preset, experiment = parse_preset("ram", description, RAM_PRESETS, sys.argv[1:] if args is None else args)
    run(experiment, preset, "ram")


if __name__ == "__main__":
    main()
