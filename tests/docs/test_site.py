"""The documentation site: its links, the files and names that it mentions, and what its reference covers."""

import dataclasses
import importlib
import importlib.util
import re
import subprocess
import sys

import pytest

from experiments.cli.fields import fields_of
from experiments.families import FAMILIES
from tests.docs.pages import DOCS, PAGES, ROOT, code_spans, name_of, without_blocks

LINK = re.compile(r"\]\((?!https?:)([^)\s]*)\)")
PACKAGES = ("common", "ram", "dram", "stn", "experiments")


@pytest.fixture(scope="module")
def generator():
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.*)$", without_blocks(text), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in LINK.findall(page.read_text()):
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.read_text()), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_file_that_a_page_names_exists(page):
    names = [
        span
        for span in code_spans(page.read_text())
        if re.fullmatch(rf"({'|'.join(PACKAGES)}|tests|docs|results)/[\w./]+", span)
    ]
    assert [name for name in names if not (ROOT / name).exists()] == []


def resolve(name: str) -> object:
    """Import what a dotted name stands for: a module, or an attribute in one."""
    parts = name.split(".")
    for count in range(len(parts), 0, -1):
        try:
            value: object = importlib.import_module(".".join(parts[:count]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            value = getattr(value, part)
        return value
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_dotted_name_of_a_page_can_be_imported(page):
    for span in code_spans(page.read_text()):
        if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", span) and not span.endswith((".md", ".py")):
            resolve(span)


@pytest.mark.parametrize("page", sorted((DOCS / "algorithms").glob("*.md")), ids=name_of)
def test_the_functions_of_an_algorithm_are_in_the_files_that_its_page_names(page):
    rows = re.findall(r"`([\w/]+\.py)`: (.*?)(?=; | \||$)", page.read_text(), flags=re.MULTILINE)
    assert rows
    for file, names in rows:
        defined = (ROOT / file).read_text()
        for name in re.findall(r"`(\w+)`", names):
            assert re.search(rf"(def|class) {name}\b", defined), f"{file}: {name}"


def test_every_page_is_in_the_table_of_contents():
    listed = re.findall(r"^([\w-]+(?:/[\w-]+)?)$", (DOCS / "index.md").read_text(), flags=re.MULTILINE)
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES if page.is_relative_to(DOCS)}
    assert set(listed) - {"results/README", "results/research_log", "results/faults"} == pages - {"index"} and len(
        listed
    ) == len(set(listed))


def test_the_api_reference_has_every_public_module(generator):
    made = generator.pages()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            name = path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
            if name not in generator.LEFT_OUT and not any(part.startswith("_") for part in name.split(".")):
                assert f".. automodule:: {name}\n" in made[f"api/{name}.md"]
                assert f"{name} <{name}>" in made[f"api/{package}_package.md"]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_configuration_reference_has_every_field_with_its_range_and_help(generator, family):
    page = generator.fields_page(FAMILIES[family])
    for name, field in fields_of(FAMILIES[family].experiment).items():
        (row,) = re.findall(rf"^\| `--{name.replace('_', '-')}` .*$", page, flags=re.MULTILINE)
        assert field.help.split()[0] in row
    assert "| `--learning-rate` | number | `0.001` | above 0 | Peak learning rate. |" in page
    assert all(f"| `{preset}` |" in page for preset in FAMILIES[family].presets)


def test_the_reference_names_the_flags_of_the_output(generator):
    page = (DOCS / "reference" / "configuration.md").read_text()
    output = type(FAMILIES["ram"].experiment().output)
    assert all(f"`--{field.name.replace('_', '-')}`" in page for field in dataclasses.fields(output))
    assert all(f"configuration/{family}\n" in page for family in FAMILIES)


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", DOCS, tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    page = (tmp_path / "algorithms" / "ram.html").read_text()
    assert "<mtable" in page and "cdn." not in page
    equations = [re.sub(r"<[^>]+>", "", each) for each in re.findall(r"<math.*?</math>", page, flags=re.DOTALL)]
    assert equations and not any("\\" in each or "&amp;" in each or re.search(r"&(?!#)", each) for each in equations)
    assert "sample_batch" in (tmp_path / "reference" / "api" / "common.data.sampling.html").read_text()
