"""Terms that the glossary replaces do not come back, and flags with a new name are refused with it."""

import ast
import re
from pathlib import Path

import pytest

from experiments.cli.flags import RENAMED, check_flags
from experiments.families import FAMILIES

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    path for name in ("common", "ram", "dram", "stn", "experiments") for path in (ROOT / name).rglob("*.py")
)
# First words of docstrings that should begin with a verb.
NO_VERBS = ("Whether", "Of", "Those", "Who", "How", "What", "Where", "That")
# Names from the glossary's table of replaced terms.
REPLACED = re.compile(
    r"\b(goes_on|take_over|_?attentively|GLIMPSE_SCALE|read_glimpse|require_readable|has_more_to_learn|next_stop|load_fixed"
    r"|shared_loader|glimpses_per_symbol)\b"
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_docstrings_begin_with_a_verb(path):
    documented = ast.Module | ast.ClassDef | ast.FunctionDef
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, documented)]
    docs = {getattr(node, "name", "module"): ast.get_docstring(node) or "" for node in nodes}
    assert {name: doc.splitlines()[0] for name, doc in docs.items() if doc.split(" ")[0] in NO_VERBS} == {}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_replaced_names_do_not_occur(path):
    assert REPLACED.findall(path.read_text()) == []


@pytest.mark.parametrize("old, new", RENAMED.items())
def test_a_renamed_flag_is_refused_with_its_new_name_and_its_values(old, new):
    for flag in (f"--{old.replace('_', '-')}", f"--no-{old.replace('_', '-')}"):
        with pytest.raises(ValueError, match=f"^{flag} was renamed to --{new.replace('_', '-')}, which takes [^;]+;"):
            check_flags(FAMILIES["ram"].experiment, [flag, "1"])


def test_a_renamed_switch_keeps_its_no(monkeypatch):
    monkeypatch.setitem(RENAMED, "demean", "subtract_mean")
    with pytest.raises(ValueError, match="^--no-demean was renamed to --subtract-mean or --no-subtract-mean;"):
        check_flags(FAMILIES["ram"].experiment, ["--no-demean"])
