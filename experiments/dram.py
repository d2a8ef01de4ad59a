"""Trains a DRAM agent: ``python -m experiments.dram PRESET [flags]``."""

import sys
from collections.abc import Sequence

from experiments.command_line import parse_preset, resume_command
from experiments.experiment import run
from experiments.presets import DRAM_PRESETS


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    description = "Trains a deep recurrent attention model (DRAM) to read one or several digits, and reports on it."
    args = sys.argv[1:] if args is None else args
    preset, experiment = parse_preset("python -m experiments.dram", description, DRAM_PRESETS, args)
    run(experiment, preset, resume_command("dram", args))


if __name__ == "__main__":
    main()
