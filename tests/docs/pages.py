"""The pages of the documentation that are written by hand."""

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


def code_spans(text: str) -> list[str]:
    """Return the inline code of a page."""
    return re.findall(r"`([^`\n]+)`", without_blocks(text))
