"""The tables that commands print."""

import io

from rich.console import Console

from experiments.cli.tables import errors_table
from experiments.output.readouts import READOUTS

ENTRY = {"error": 4.0, "low": 3.5, "high": 4.5, "n": 100}


def printed(table) -> str:
    console = Console(file=io.StringIO(), width=100)
    console.print(table)
    return console.file.getvalue()


def test_rows_are_named_after_the_read_outs_of_the_glossary() -> None:
    errors = {split: dict.fromkeys(READOUTS, ENTRY) for split in ("validation", "test")}
    rows = [line.split("│")[1].strip() for line in printed(errors_table(errors)).splitlines() if line.startswith("│")]
    assert rows == ["greedy", "one episode", "mean of episodes", "mean of episodes, log-probabilities"]
    assert printed(errors_table(errors)).count("4.00 [3.50, 4.50]") == 8


def test_the_caption_gives_the_number_of_episodes_of_the_means() -> None:
    errors = {"test": dict.fromkeys(READOUTS, ENTRY)}
    assert "means are of" not in printed(errors_table(errors))
    assert "means are of 20 sampled episodes" in printed(errors_table(errors, num_episodes=20))
    assert printed(errors_table(errors, num_episodes=1)).rstrip().endswith("means are of 1 sampled episode")
    assert "means are of" not in printed(errors_table({"test": {"greedy": ENTRY}}, num_episodes=20))
