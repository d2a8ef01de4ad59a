"""Trains a network that sees the whole image: ``python -m experiments.cnn PRESET [flags]``."""

import sys
from collections.abc import Sequence

from experiments.command_line import parse_preset
from experiments.experiment import run
from experiments.presets import CNN_PRESETS


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    description = "Trains a baseline that sees the whole image, by the same loop on the same images as the agents."
    preset, experiment = parse_preset("cnn", description, CNN_PRESETS, sys.argv[1:] if args is None else args)
    run(experiment, preset, "cnn")


if __name__ == "__main__":
    main()
