"""Trains a model of any family: ``python -m experiments.train FAMILY PRESET [flags]``.

FAMILY is ram, dram, stn, soft_attention, colocalisation or cnn, or ``module:NAME`` for a family of your own.
"""

import sys
from collections.abc import Sequence

from experiments.cli.command_line import fail, user_errors
from experiments.families import FAMILIES, find_family
from experiments.runs.run import train_command


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    if args and args[0] in ("-h", "--help"):
        print(__doc__.strip())
        return
    if not args or args[0].startswith("-"):
        fail(f"no family given: give one of {', '.join(FAMILIES)}, or module:NAME")
    with user_errors():
        family = find_family(args[0])
    train_command(family)(args[1:])


if __name__ == "__main__":
    main()
