"""Sweeps fields of a configuration and reports on how the error depends on them.

  python -m experiments.ablate MODEL --preset PRESET [--FIELD VALUE [VALUE ...]] ... [--seeds N] [options]
  python -m experiments.ablate study FILE.py[:NAME] [options]

MODEL is ram, dram, stn, colocalisation, soft_attention or cnn. Every field of its configuration is a flag: with one
value it holds for all cells, with several it is an axis, and every combination of the axes is run with every seed.
Units and defaults of all fields: MODEL --help.

  python -m experiments.ablate ram --preset mnist28 --num-glimpses 2 3 4 5 6 7 --sigma 0.05 0.1 0.2 --seeds 3
  python -m experiments.ablate ram --preset mnist28 --num-glimpses 2 4 --sigma 0.2 0.1 --zip num-glimpses sigma

The same command goes on with a sweep that was stopped or killed; with more values it runs only what is new.
"""

import sys
from collections.abc import Sequence

import jax

from experiments.sweeps.driver import run_sweep
from experiments.sweeps.options import parse


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    if not args or args[0] in ("-h", "--help"):
        print((__doc__ or "").strip())
        return
    study, options = parse(args)
    status = run_sweep(study, options, args)
    if status:
        sys.exit(status)


if __name__ == "__main__":
    jax.config.update("jax_platforms", "cpu")  # Of this process, which trains nothing: a GPU's memory is for the cells.
    main()
