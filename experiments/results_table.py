"""Tables the results of runs as Markdown: ``python -m experiments.results_table [FOLDER]``.

The folder, ``results`` by default, holds copies of runs' ``results.json`` under names of their own. The table is
printed and written into the folder's ``README.md``, between its two marks.
"""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.cli.command_line import fail, user_errors
from experiments.cli.tables import found_text
from experiments.files import write_bytes
from experiments.readouts import READOUTS
from experiments.sweeps.axes import fields_of, is_bool
from experiments.sweeps.models import MODELS
from experiments.training.config import flatten, to_json
from experiments.training.run_directory import read_json

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"


def flag_name(key: str) -> str:
    """The flag of a configuration's field, without its dashes: ``model.agent.num_glimpses`` is ``num-glimpses``."""
    return key.rpartition(".")[2].replace("_", "-")


def command(results: dict[str, Any]) -> str:
    """The command that made a run: its preset, and the flags that differ from the preset."""
    # Of a network that sees the whole image the model is the network's own name.
    name, presets = MODELS.get(results["model"], MODELS["cnn"])
    flags: list[str] = []
    if results["preset"] in presets:
        # Flags have the names of fields without their parts. A field of then that is no flag today cannot be given.
        preset = presets[results["preset"]][1]
        usual = {flag_name(key): value for key, value in flatten(to_json(preset))}
        # A field that there was not yet has its default, as when such a run is read back.
        was = {flag_name(key): value for key, value in flatten(to_json(type(preset)()))}
        was |= {flag_name(key): value for key, value in flatten(results["config"])}
        switches = {flag_name(name) for name, field in fields_of(type(preset)).items() if is_bool(field.hint)}
        for flag, value in was.items():
            if flag in usual and usual[flag] != value:
                if flag in switches:
                    flags.append(f"--{flag}" if value else f"--no-{flag}")
                else:
                    flags.append(f"--{flag} {shlex.quote(str(value))}")
    return " ".join(["python -m experiments." + name, results["preset"], *flags])


def row(results: dict[str, Any]) -> list[str]:
    """The cells of one run; errors are on the test set, in per cent, with their 95% intervals."""

    def error(method: str) -> str:
        entry = results["test"].get(method)
        return f"{entry['error']:.2f} [{entry['low']:.2f}, {entry['high']:.2f}]" if entry else "-"

    errors = [error(method) for method in READOUTS]
    if "overlap" in results:
        errors[0] = f"{found_text(results['overlap']['test'])} found; error {errors[0]}"
    return [
        results["task"],
        f"`{command(results)}`",
        *errors,
        f"{results['validation']['average_probability']['error']:.2f}"
        if "average_probability" in results["validation"]
        else f"{results['validation']['greedy']['error']:.2f}",
        f"{results['episodes'] / 1e6:.2f} M",
        f"{results['parameters']:,}",
        f"{results['wall_seconds'] / 60:.0f} min, {results['device']}",
        str(results["seed"]),
        f"{(results['commit'] or '-')[:10]}",
    ]


def table(folder: Path) -> str:
    """The Markdown table of every ``*.json`` of a folder, in the order of their names.

    Raises:
      ValueError: a file is damaged or no results; names it.
    """
    header = ["task", "command", *READOUTS.values(), "validation"]
    header += ["episodes", "parameters", "time, device", "seed", "commit"]
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    for path in sorted(folder.glob("*.json")):
        results = read_json(path)
        try:
            lines.append("| " + " | ".join(row(results)) + " |")
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{str(path)!r} holds no results of a run: {error!r}") from error
    return "\n".join(lines)


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command line."""
    args = sys.argv[1:] if args is None else args
    if any(arg in ("-h", "--help") for arg in args):
        print(__doc__.strip())
        return
    for arg in args:
        if arg.startswith("-"):
            fail(f"unknown flag {arg!r}: there is only --help")
    if len(args) > 1:
        fail(f"{len(args)} folders given, {shlex.join(args)}: give one")
    folder = Path(args[0] if args else "results")
    page = folder / "README.md"
    if not page.is_file():
        fail(f"{str(page)!r} is not there: give a folder of results with a README.md")
    with user_errors():
        text = page.read_text()
        before, begin, rest = text.partition(BEGIN)
        _, end, after = rest.partition(END)
        if not (begin and end):
            raise ValueError(f"{str(page)!r} lacks the marks {BEGIN} and {END}")
        made = table(folder)
        write_bytes(page, f"{before}{BEGIN}\n{made}\n{END}{after}".encode())
    print(made)


if __name__ == "__main__":
    main()
