"""Export a trained agent as one small file: ``python -m experiments.export RUN OUTPUT [flags]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from common.checks import check_output
from experiments.cli.command_line import computing, parse
from experiments.runs.restore import read_run_without_images
from experiments.runs.trained_agents import save_agent


@dataclass(frozen=True)
class Export:
    """Write the parameters that a finished run reported, its configuration and its errors into one file.

    The file holds numbers and text and no code. experiments.look, experiments.evaluate and
    experiments.runs.trained_agents.load_agent read it.
    """

    run_dir: Annotated[Path, tyro.conf.Positional]
    """Folder of a finished run of an agent."""
    output: Annotated[Path, tyro.conf.Positional]
    """File to write, NAME.npz."""
    dtype: Literal["float16", "float32"] = "float16"
    """Type of the stored parameters. float16 halves the file and rounds each parameter to three digits."""


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    config = parse(Export, "python -m experiments.export", args)
    with computing("interrupted; no file was written"):
        export(config)


def export(config: Export) -> None:
    """Write the file.

    Raises:
      ValueError: the run has not finished or is none of an agent, or the name of the file does not end in .npz.
      OSError: the file cannot be written.
    """
    check_output("output", config.output, ".npz")
    run = read_run_without_images(config.run_dir)
    results = run.results()
    if results is None:
        raise ValueError(f"run {str(config.run_dir)!r} has not finished: it holds no results.json")
    save_agent(run, results, config.output, config.dtype)
    print(f"agent: {config.output} ({config.output.stat().st_size / 2**20:.2f} MB)")


if __name__ == "__main__":
    main()
