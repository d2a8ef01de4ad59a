"""Trains a DRAM agent: ``python -m experiments.dram PRESET [flags]``."""

from experiments.families.dram import FAMILY
from experiments.runs.run import train_command

main = train_command(FAMILY)

if __name__ == "__main__":
    main()
