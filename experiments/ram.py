"""Trains a RAM agent: ``python -m experiments.ram PRESET [flags]``."""

from experiments.families.ram import FAMILY
from experiments.runs.run import train_command

main = train_command(FAMILY)

if __name__ == "__main__":
    main()
