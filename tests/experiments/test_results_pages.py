"""The command that writes the pages of results."""

import pytest

from experiments import results_pages
from tests.experiments.reports.test_results_pages import root  # noqa: F401


def test_the_command_writes_every_page_and_prints_their_paths(root, capsys) -> None:  # noqa: F811
    results_pages.main([str(root)])
    written = [root / "mnih2014" / "README.md", root / "README.md", root / "index.json"]
    assert capsys.readouterr().out.split() == [str(path) for path in written]
    assert all(path.is_file() for path in written)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--foo"], "error: unknown flag '--foo': there is only --help"),
        (["results", "-x"], "error: unknown flag '-x': there is only --help"),
        (["a", "b"], "error: 2 folders given, a b: give one"),
        (["nowhere"], "error: 'nowhere' is no folder: give the folder of results"),
    ],
)
def test_a_bad_command_line_is_one_line(args, message, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        results_pages.main(args)
    assert capsys.readouterr() == ("", message + "\n")


def test_help_is_printed(capsys) -> None:
    results_pages.main(["--help"])
    assert "python -m experiments.results_pages [FOLDER]" in capsys.readouterr().out
