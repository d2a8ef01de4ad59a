"""Writes the generated pages of the reference: every configuration field, and a page for each public module."""

import pkgutil
from pathlib import Path

PACKAGES = ("common", "ram", "dram", "stn", "experiments")


def modules() -> list[str]:
    """Return the names of all public modules that can be imported without running anything."""
    names = []
    for package in PACKAGES:
        root = Path(__file__).parents[1] / package
        names.append(package)
        for module in pkgutil.walk_packages([str(root)], f"{package}."):
            if not module.name.rpartition(".")[2].startswith("_"):
                names.append(module.name)
    return names


def configuration_page() -> str:
    """Return the page of every field of every family: flag, type, default and help."""
    from experiments.cli.fields import allowed, fields_of, get
    from experiments.families import FAMILIES

    lines = [
        "# Configuration fields",
        "",
        "Every field is a flag of the command, with dashes for underscores.",
        "",
    ]
    for family in FAMILIES.values():
        lines += [f"## {family.name}", "", "| field | takes | default | meaning |", "|---|---|---|---|"]
        default = family.experiment()
        for name, field in fields_of(family.experiment).items():
            cells = (name, allowed(field.hint), get(default, field.path), field.help)
            escaped = [str(cell).replace("|", "\\|") for cell in cells]
            lines.append(f"| `{escaped[0]}` | {escaped[1]} | `{escaped[2]}` | {escaped[3]} |")
        lines.append("")
    return "\n".join(lines)


def api_page() -> str:
    """Return the page that documents every public module."""
    lines = ["# API", ""]
    for name in modules():
        lines += [f"## {name}", "", "```{eval-rst}", f".. automodule:: {name}", "```", ""]
    return "\n".join(lines)


def write(folder: Path) -> None:
    """Write ``configuration.md`` and ``api.md``, which git ignores."""
    folder.mkdir(exist_ok=True)
    (folder / "configuration.md").write_text(configuration_page())
    (folder / "api.md").write_text(api_page())
