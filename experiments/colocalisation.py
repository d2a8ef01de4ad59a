"""Trains co-localisation: ``python -m experiments.colocalisation PRESET --encoder-from RUN [flags]``."""

from experiments.families.colocalisation import FAMILY
from experiments.runs.run import train_command

main = train_command(FAMILY)

if __name__ == "__main__":
    main()
