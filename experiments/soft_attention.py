"""Trains a network with soft attention: ``python -m experiments.soft_attention PRESET [flags]``."""

from experiments.families.soft_attention import FAMILY
from experiments.runs.run import train_command

main = train_command(FAMILY)

if __name__ == "__main__":
    main()
