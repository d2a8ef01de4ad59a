"""Sweep fields of a configuration and report how the error depends on them.

  python -m experiments.ablate FAMILY --preset PRESET [--FIELD VALUE [VALUE ...]] ... [--seeds N] [options]
  python -m experiments.ablate study FILE.py[:NAME] [options]

FAMILY is ram, dram, stn, soft_attention, colocalisation, cnn, or module:NAME for your own. Every field of its
configuration is a flag. One value holds for all cells. Several values are an axis. Every combination of the axes runs
with every seed; such a run is a cell. For the units and defaults of all fields: FAMILY --preset PRESET --help.

  python -m experiments.ablate ram --preset mnist28 --num-glimpses 2 4 6 --replicates 1 4 --seeds 3
  python -m experiments.ablate ram --preset mnist28 --num-glimpses 2 4 --sigma 6px 4px --zip num-glimpses sigma

The same command resumes a sweep that was stopped or killed. With more values it runs only the new cells.
"""

import sys
from collections.abc import Sequence

from experiments.cli.command_line import python_command
from experiments.sweeps.driver import run_sweep, use_cpu
from experiments.sweeps.options import parse


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print((__doc__ or "").strip())
        return
    study, options = parse(args)
    status = run_sweep(study, options, python_command("-m", "experiments.ablate", *args))
    if status:
        sys.exit(status)


if __name__ == "__main__":
    use_cpu()
    main()
