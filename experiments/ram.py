"""Trains a RAM agent: ``python -m experiments.ram PRESET [flags]``."""

import sys
from collections.abc import Sequence

from experiments.command_line import parse_preset, resume_command
from experiments.experiment import run
from experiments.presets import RAM_PRESETS


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    description = "Trains a recurrent attention model (RAM) and reports on it."
    args = sys.argv[1:] if args is None else args
    preset, experiment = parse_preset("python -m experiments.ram", description, RAM_PRESETS, args)
    run(experiment, preset, resume_command("ram", args))


if __name__ == "__main__":
    main()
