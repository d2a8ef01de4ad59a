"""Write the pages of the stored results: ``python -m experiments.results_pages [FOLDER]``.

The folder, ``results`` by default, has a folder for each paper with copies of runs' ``results.json``, the published
numbers (``paper.toml``) and the prose of the page (``page.md.jinja``). The command writes each ``README.md``, and
``index.json``.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.cli.command_line import fail, user_errors
from experiments.reports.results_pages import write_pages


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line."""
    args = sys.argv[1:] if args is None else args
    if any(arg in ("-h", "--help") for arg in args):
        print((__doc__ or "").strip())
        return
    for arg in args:
        if arg.startswith("-"):
            fail(f"unknown flag {arg!r}: there is only --help")
    if len(args) > 1:
        fail(f"{len(args)} folders given, {shlex.join(args)}: give one")
    root = Path(args[0] if args else "results")
    if not root.is_dir():
        fail(f"{str(root)!r} is no folder: give the folder of results")
    with user_errors():
        for path in write_pages(root):
            print(path)


if __name__ == "__main__":
    main()
