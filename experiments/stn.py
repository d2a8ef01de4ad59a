"""Trains a spatial transformer network: ``python -m experiments.stn PRESET [flags]``."""

from experiments.families.stn import FAMILY
from experiments.runs.run import train_command

main = train_command(FAMILY)

if __name__ == "__main__":
    main()
