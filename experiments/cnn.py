"""Trains a network that sees the whole image: ``python -m experiments.cnn PRESET [flags]``."""

import sys
from collections.abc import Sequence

from experiments.command_line import parse_preset, resume_command
from experiments.experiment import run
from experiments.presets import CNN_PRESETS


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    description = "Trains a baseline that sees the whole image, by the same loop on the same images as the agents."
    args = sys.argv[1:] if args is None else args
    preset, experiment = parse_preset("python -m experiments.cnn", description, CNN_PRESETS, args)
    run(experiment, preset, resume_command("cnn", args))


if __name__ == "__main__":
    main()
