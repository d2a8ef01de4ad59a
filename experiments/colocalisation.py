"""Trains co-localisation: ``python -m experiments.colocalisation PRESET --encoder-from RUN [flags]``."""

from experiments.presets_stn import COLOCALISATION_PRESETS
from experiments.training.run import command

main = command(
    "colocalisation",
    "Trains a transformer to find what images have in common, without a word on where it is.",
    COLOCALISATION_PRESETS,
)

if __name__ == "__main__":
    main()
