"""Every command of the README and the docs parses: its preset exists, and its flags and their values are allowed."""

import importlib
import re
import shlex
from collections.abc import Iterator

import pytest

from experiments.cli.flags import check_flags
from experiments.families import FAMILIES, find_preset
from experiments.sweeps import options, study
from tests.docs.pages import PAGES, name_of

COMMAND = re.compile(r"python -m (experiments\.\S+)(.*)", flags=re.DOTALL)
# Words that stand for a name that the reader chooses.
PLACEHOLDERS = {"PRESET", "FAMILY", "PRESET_OR_RUN_DIR", "..."}


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the module and the arguments of each command of a page, in fenced blocks and in inline code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *re.findall(r"`([^`]+)`", prose)]:
        if found := COMMAND.search(line):
            yield found[1], shlex.split(found[2], comments=True)


def check_command(module: str, args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Check the arguments of a command, without running it."""
    name = module.removeprefix("experiments.")
    command = importlib.import_module(module)
    if "--help" in args or PLACEHOLDERS & set(args) or any(":" in arg for arg in args[:1]):
        return
    if name == "train":
        name, *args = args
    if name in FAMILIES:
        check_flags(type(find_preset(FAMILIES[name], args[0])), args[1:])
    elif name == "ablate" and args[0] == "study":
        check_flags(options.StudyChoice, args[1:])
    elif name == "ablate":
        study.make_plan(options.parse(args)[0])
    elif hasattr(command, "parse"):
        check_parsed(command, args, monkeypatch)
    else:
        assert not args and callable(command.main)


def check_parsed(command, args, monkeypatch):
    """Run the command up to the end of its parser."""

    class ParsedError(Exception):
        pass

    parse = command.parse

    def parse_and_stop(*inputs):
        parse(*inputs)
        raise ParsedError

    monkeypatch.setattr(command, "parse", parse_and_stop)
    with pytest.raises(ParsedError):
        command.main(args)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_parse(page, monkeypatch):
    for module, args in commands(page.read_text()):
        with monkeypatch.context() as patches:
            try:
                check_command(module, args, patches)
            except (ValueError, SystemExit) as error:
                pytest.fail(f"python -m {module} {shlex.join(args)}: {error}")


def test_commands_are_found_in_blocks_and_in_inline_code():
    text = "`python -m experiments.cost`\n```\npython -m experiments.ram quick \\\n  --seed 1  # a seed\n```\n"
    assert list(commands(text)) == [("experiments.ram", ["quick", "--seed", "1"]), ("experiments.cost", [])]


@pytest.mark.parametrize(
    "command",
    [
        "experiments.ram absent",
        "experiments.ram quick --num-glimpse 4",
        "experiments.ram quick --num-glimpses four",
        "experiments.ablate ram --preset mnist28 --sigmas 0.1",
        "experiments.ablate ram --preset mnist28 --num-glimpses many",
        "experiments.evaluate runs/one --last 3",
        "experiments.forward_backward runs/one",
    ],
)
def test_a_wrong_command_is_noticed(command, monkeypatch):
    module, *args = command.split()
    with pytest.raises((ValueError, SystemExit)):
        check_command(module, args, monkeypatch)
