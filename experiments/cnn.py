"""Trains a network that sees the whole image: ``python -m experiments.cnn PRESET [flags]``."""

from experiments.families.cnn import FAMILY
from experiments.runs.run import train_command

main = train_command(FAMILY)

if __name__ == "__main__":
    main()
