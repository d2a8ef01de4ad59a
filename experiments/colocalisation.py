"""Trains co-localisation: ``python -m experiments.colocalisation PRESET --encoder-from RUN [flags]``."""

from experiments.experiment import command
from experiments.presets_stn import COLOCALISATION_PRESETS

main = command(
    "colocalisation",
    "Trains a transformer to find what images have in common, without a word on where it is.",
    COLOCALISATION_PRESETS,
)

if __name__ == "__main__":
    main()
