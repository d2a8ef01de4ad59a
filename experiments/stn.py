"""Trains a spatial transformer network: ``python -m experiments.stn PRESET [flags]``."""

import sys
from collections.abc import Sequence

from experiments.command_line import parse_preset, resume_command
from experiments.experiment import run
from experiments.presets_stn import STN_PRESETS


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    description = "Trains a spatial transformer network, or the same network without transformers, and reports on it."
    args = sys.argv[1:] if args is None else args
    preset, experiment = parse_preset("python -m experiments.stn", description, STN_PRESETS, args)
    run(experiment, preset, resume_command("stn", args))


if __name__ == "__main__":
    main()
