"""Trains a network with soft attention: ``python -m experiments.soft_attention PRESET [flags]``."""

import sys
from collections.abc import Sequence

from experiments.command_line import parse_preset, resume_command
from experiments.experiment import run
from experiments.presets_stn import SOFT_PRESETS


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    description = "Trains a network with soft attention, which needs no policy gradient, and reports on it."
    args = sys.argv[1:] if args is None else args
    preset, experiment = parse_preset("python -m experiments.soft_attention", description, SOFT_PRESETS, args)
    run(experiment, preset, resume_command("soft_attention", args))


if __name__ == "__main__":
    main()
