"""Write the pages that are made when the site is built: every configuration field, every public module, the results."""

import importlib
import importlib.util
import pkgutil
import shutil
import typing
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal

import common
import dram
import experiments
import ram
import stn
from experiments.cli.fields import fields_of, get
from experiments.families import FAMILIES, Family

PACKAGES = (ram, dram, stn, common, experiments)
# Imports PyTorch, which nothing else needs.
LEFT_OUT = ("experiments.benchmarks.torch_ram",)


def public_modules(package: Any) -> Iterator[str]:
    """Yield the dotted names of a package and its public modules, sorted."""
    names = [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    for name in sorted([package.__name__, *names]):
        if name not in LEFT_OUT and not any(part.startswith("_") for part in name.split(".")):
            yield name


def module_page(name: str) -> str:
    """Return the page of a module, in MyST Markdown; that of a package links to what it exports."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        return f"# {name}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"
    module = importlib.import_module(name)
    exported = [(each, getattr(module, each)) for each in getattr(module, "__all__", ())]
    links = [
        f"- {{py:obj}}`{each} <{value.__module__}.{each}>`" if callable(value) else f"- `{each}`"
        for each, value in exported
    ]
    directive = f"```{{eval-rst}}\n.. automodule:: {name}\n   :no-members:\n```\n"
    return f"# {name}\n\n{directive}" + ("\nExports:\n\n" + "\n".join(links) + "\n" if links else "")


def package_page(package: Any) -> str:
    """Return the page that lists the modules of a package."""
    name = package.__name__
    entries = "\n".join(f"{module} <{module}>" for module in public_modules(package))
    return f"# {name}\n\n{first_line(package)}\n\n```{{toctree}}\n:maxdepth: 1\n\n{entries}\n```\n"


def first_line(item: Any) -> str:
    """Return the first line of a docstring, with code in single backticks as Markdown has it."""
    return (item.__doc__ or "").strip().splitlines()[0].replace("``", "`")


def describe_type(hint: Any) -> str:
    """Return a type as the tables show it: choices, or the name of the type."""
    if typing.get_origin(hint) is Literal:
        return " \\| ".join(f"`{value}`" for value in typing.get_args(hint))
    if isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union:
        parts = [part for part in typing.get_args(hint) if part is not bool]
        words = ["True, False"] if len(parts) < len(typing.get_args(hint)) else []
        return " or ".join([*words, *map(describe_type, parts)])
    words_of = {type(None): "None", bool: "switch", str: "text", int: "whole number", float: "number"}
    return words_of.get(hint, getattr(hint, "__name__", str(hint)))


def fields_page(family: Family) -> str:
    """Return the page of a family: a table of the fields of each part of its configuration."""
    default = family.experiment()
    lines = [
        f"# {family.name}",
        "",
        f"{family.description} The command is `python -m {family.command} PRESET [flags]`.",
    ]
    lines += ["Defaults are those of the configuration class; a preset changes some of them.", ""]
    section = None
    for name, field in fields_of(family.experiment).items():
        if field.path[:-1] != section:
            section = field.path[:-1]
            lines += [
                "",
                f"## {'.'.join(section)}",
                "",
                "| flag | type | default | range | meaning |",
                "|---|---|---|---|---|",
            ]
        cells = [
            f"`--{name.replace('_', '-')}`",
            describe_type(field.hint),
            f"`{get(default, field.path)}`",
            field.range,
            field.help.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Presets", "", "| preset | what it is |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, (text, _) in family.presets.items()]
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """Return all pages that are made from the code, by their path below `docs/reference/`."""
    made = {f"configuration/{name}.md": fields_page(family) for name, family in FAMILIES.items()}
    for package in PACKAGES:
        made[f"api/{package.__name__}_package.md"] = package_page(package)
        made |= {f"api/{name}.md": module_page(name) for name in public_modules(package)}
    return made


def write(docs: Path) -> None:
    """Write the pages that have changed, so that Sphinx rebuilds no others, and delete those that are gone.

    The pages of `results/` are copied, with the files that they link to.
    """
    folder, wanted = docs / "reference", pages()
    for path in [*folder.glob("api/*.md"), *folder.glob("configuration/*.md")]:
        if path.relative_to(folder).as_posix() not in wanted:
            path.unlink()
    for name, text in wanted.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)
    shutil.rmtree(docs / "results", ignore_errors=True)
    shutil.copytree(docs.parent / "results", docs / "results")
