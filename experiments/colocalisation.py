"""Trains co-localisation: ``python -m experiments.colocalisation PRESET --encoder-from RUN [flags]``."""

import sys
from collections.abc import Sequence

from experiments.command_line import parse_preset, resume_command
from experiments.experiment import run
from experiments.presets_stn import COLOCALISATION_PRESETS


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    description = "Trains a transformer to find what images have in common, without a word on where it is."
    args = sys.argv[1:] if args is None else args
    preset, experiment = parse_preset("python -m experiments.colocalisation", description, COLOCALISATION_PRESETS, args)
    run(experiment, preset, resume_command("colocalisation", args))


if __name__ == "__main__":
    main()
