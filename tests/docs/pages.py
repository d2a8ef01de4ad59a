"""The pages of the documentation that are written by hand."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Made from the code when the site is built (docs/generate_reference.py).
GENERATED = tuple(DOCS / name for name in ("_build", "reference/api", "reference/configuration", "results"))
PAGES = [
    ROOT / "README.md",
    *(page for page in sorted(DOCS.rglob("*.md")) if not any(page.is_relative_to(folder) for folder in GENERATED)),
]


def name_of(page: Path) -> str:
    """Return the path of a page below the repository, for the names of tests."""
    return page.relative_to(ROOT).as_posix()


def without_blocks(text: str) -> str:
    """Return a page without its fenced code blocks."""
    return re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)


def documented(text: str) -> set[str]:
    """Return the inline code in the first column of the tables of a page."""
    rows = re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def unexplained_names(run: Path) -> set[str]:
    """Return the names of metrics and results of a run that the page on metrics does not explain."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    names = {key for line in lines for key in line} | set(json.loads((run / "results.json").read_text()))
    return names - documented((DOCS / "reference" / "metrics.md").read_text())


def unexplained_files(run: Path) -> list[str]:
    """Return the files of a run that the page on the run directory does not explain, by themselves or by folder."""
    names = documented((DOCS / "reference" / "run_directory.md").read_text())
    folders = tuple({f"{name.split('/')[0]}/" for name in names if "/" in name} - {"plots/"})
    files = [path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()]
    return [file for file in files if file.removeprefix("plots/") not in names and not file.startswith(folders)]


def code_spans(text: str) -> list[str]:
    """Return the inline code of a page."""
    return re.findall(r"`([^`\n]+)`", without_blocks(text))
