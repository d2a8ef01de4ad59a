"""The documentation site: its links, its pages, and the modules and fields that its reference covers."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md") if path.name not in ("configuration.md", "api.md"))
GENERATED = {DOCS / "reference" / name for name in ("configuration.md", "api.md")}


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_every_link_leads_to_a_file(page):
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_every_file_that_a_page_names_exists(page):
    names = re.findall(r"`((?:common|ram|dram|stn|experiments|tests|docs)/[\w/]+\.\w+)`", page.read_text())
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_every_page_is_in_the_table_of_contents():
    listed = re.findall(r"^([\w-]+(?:/[\w-]+)?)$", (DOCS / "index.md").read_text(), flags=re.MULTILINE)
    pages = {path.relative_to(DOCS).with_suffix("").as_posix() for path in {*PAGES, *GENERATED}} - {"index"}
    assert set(listed) == pages


def test_the_reference_covers_every_public_module_and_every_field(generator):
    modules = set(generator.modules())
    for folder in generator.PACKAGES:
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
            assert name in modules, f"{path} is not in the API reference"
    page = generator.configuration_page()
    assert all(f"## {family}" in page for family in ("ram", "dram", "stn", "soft_attention", "colocalisation", "cnn"))
    assert "| `num_glimpses` |" in page and "| `learning_rate` |" in page


@pytest.mark.slow
def test_the_site_builds(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-b", "html", DOCS, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "index.html").is_file() and (tmp_path / "reference" / "api.html").is_file()
