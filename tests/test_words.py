"""Terms that the glossary replaces do not come back, and flags with a new name are refused with it."""

import ast
import re
from pathlib import Path

import pytest

from experiments.cli.flags import RENAMED, check_flags
from experiments.families import FAMILIES

ROOT = Path(__file__).parents[1]
PACKAGES = ("common", "ram", "dram", "stn", "experiments")
SOURCES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))
# Not this file, and not the list of renamed flags.
TEXTS = [ROOT / "README.md"] + sorted(
    path
    for name in (*PACKAGES, "tests", "docs", "results")
    for path in (ROOT / name).rglob("*")
    if path.suffix in (".py", ".md", ".jinja") and path not in (Path(__file__), ROOT / "experiments/cli/flags.py")
)
# Question words, and others that say nothing of what a function does.
NO_FIRST_WORDS = ("Whether", "Of", "Those", "Who", "How", "What", "Where", "That")
# Names from the glossary's table of replaced terms, and the renamed flag that is a word of its own.
REPLACED = re.compile(
    r"\b(goes_on|take_over|_?attentively|GLIMPSE_SCALE|read_glimpse|require_readable|has_more_to_learn|next_stop|load_fixed"
    r"|shared_loader|glimpses_per_symbol|compile_alone|Built|Rollout(?=\()|StopRequest|learn_sigma)\b"
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_do_not_begin_with_a_question_word(path):
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, documented)]
    docs = {getattr(node, "name", "module"): ast.get_docstring(node) or "" for node in nodes}
    assert {name: doc.splitlines()[0] for name, doc in docs.items() if doc.split(" ")[0] in NO_FIRST_WORDS} == {}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_replaced_names_do_not_occur(path):
    text, _, _ = path.read_text().partition("## Replaced terms")  # The glossary's table of them.
    assert REPLACED.findall(text) == []


@pytest.mark.parametrize("old, new", RENAMED.items())
def test_a_renamed_flag_is_refused_with_its_new_name_and_its_values(old, new):
    for flag in (f"--{old.replace('_', '-')}", f"--no-{old.replace('_', '-')}"):
        with pytest.raises(ValueError, match=f"^{flag} was renamed to --{new.replace('_', '-')}, which takes [^;]+;"):
            check_flags(FAMILIES["ram"].experiment, [flag, "1"])


def test_a_renamed_switch_keeps_its_no(monkeypatch):
    monkeypatch.setitem(RENAMED, "demean", "subtract_mean")
    with pytest.raises(ValueError, match="^--no-demean was renamed to --subtract-mean or --no-subtract-mean;"):
        check_flags(FAMILIES["ram"].experiment, ["--no-demean"])
