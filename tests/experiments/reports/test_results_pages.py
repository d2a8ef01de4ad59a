"""The generated pages of results: the committed ones, a small set of them, and what is checked."""

import csv
import re
import tomllib
from pathlib import Path

import pytest

from experiments.reports import results_pages
from experiments.reports.results_pages import render_pages, write_pages
from experiments.reports.stored_runs import read_groups
from tests.experiments.reports.test_stored_runs import make_results, write_run

ROOT = Path(__file__).parents[3] / "results"
PAPER = """order = 1
short = "Somebody 2014"
[tables.digits]
title = "digits"
rows = [
  {model = "CNN", paper = 1.5, run = "cnn", command = "cnn mnist28 --batch-size 128"},
  {model = "RAM", paper = "1.20", run = "ram", headline = true},
]
"""


@pytest.fixture
def root(tmp_path):
    """Return a folder of results with one paper and one run."""
    write_run(tmp_path / "mnih2014", "ram")
    (tmp_path / "mnih2014" / "paper.toml").write_text(PAPER)
    (tmp_path / "mnih2014" / "page.md.jinja").write_text(
        '# RAM\n\n{{ paper_table("digits") }}\n\n{{ cost_table("digits") }}\n\nIt errs in {{ value("ram") }}%.\n'
    )
    (tmp_path / "page.md.jinja").write_text("{{ headline() }}\n")
    return tmp_path


def cells_of(page):
    """Return the cells of all lines of tables."""
    lines = [line for line in page.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_committed_pages_are_those_that_the_generator_writes():
    for path, text in render_pages(ROOT).items():
        assert path.read_text() == text, f"{path} is stale: run python -m experiments.reports.results_pages"


def test_every_stored_run_is_on_a_page():
    for folder in ("mnih2014", "ba2014", "jaderberg2015", "article"):
        page = (ROOT / folder / "README.md").read_text()
        for path in (ROOT / folder).glob("*.json"):
            assert f"]({path.name})" in page


def test_links_of_the_pages_lead_to_files():
    for page in ROOT.rglob("README.md"):
        for target in re.findall(r"\]\(([^)#:]+)[^):]*\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page} links to {target}"


def test_a_papers_table_has_our_results_beside_its_numbers_and_empty_cells_for_what_was_not_run(root):
    page = render_pages(root)[root / "mnih2014" / "README.md"]
    header, _, cnn, ram = cells_of(page)[:4]
    errors = ("greedy / single pass", "one episode", "mean of ten")
    assert header == ["model", "published", *errors, "sd over seeds", "seeds"]
    assert cnn == ["CNN", "1.5", *[""] * 5]
    assert ram == ["RAM", "1.20", *["4.00 [3.50, 4.50]"] * 3, "", "1 (0)"]
    assert "It errs in 4.00%." in page


def test_a_papers_table_has_the_cost_of_each_run_and_the_command_of_what_was_not_run(root):
    cost = {"values_read": 3456, "image_values": 3600, "operations": 10_500_000.0}
    write_run(root / "mnih2014", "ram", cost=cost)
    page = render_pages(root)[root / "mnih2014" / "README.md"]
    header, _, cnn, ram = cells_of(page)[4:]
    numbers = ["values read", "of the image", "multiply-adds", "parameters"]
    assert header == ["model", *numbers, "training images", "minutes", "command"]
    assert cnn == ["CNN", *[""] * 4, "2.56 M", "", "not run: `python -m experiments.cnn mnist28 --batch-size 128`"]
    read = ["3,456", "96%", "5.25 M", "1,234"]
    assert ram == ["RAM", *read, "1.28 M", "2", "`python -m experiments.ram cluttered60`"]


def test_a_row_says_that_its_run_is_of_an_earlier_preset(root):
    with_command = PAPER.replace(
        'run = "ram",', 'run = "ram", command = "ram cluttered60 --num-glimpses 6", note = "wide",'
    )
    (root / "mnih2014" / "paper.toml").write_text(with_command)
    pages = render_pages(root)
    assert "| RAM (ours: wide, an earlier preset) | 1.20 |" in pages[root / "mnih2014" / "README.md"]
    assert "| RAM (ours: wide, an earlier preset) | 1.20 |" in pages[root / "README.md"]
    (root / "mnih2014" / "paper.toml").write_text(with_command.replace(" --num-glimpses 6", ""))
    assert "| RAM (ours: wide) | 1.20 |" in render_pages(root)[root / "README.md"]


def test_random_locations_have_no_greedy_error(root):
    config = make_results()["config"]
    config["model"]["policy"]["locations"] = "random"
    write_run(root / "mnih2014", "ram", config=config)
    page = render_pages(root)[root / "mnih2014" / "README.md"]
    assert f"| RAM | 1.20 |  |{' 4.00 [3.50, 4.50] |' * 2}" in page


def test_seeds_become_one_row_with_an_interval_over_seeds(root):
    write_run(root / "mnih2014", "ram-seed1", error=5.0, seed=1)
    write_run(root / "mnih2014", "ram-seed2", error=3.0, seed=2)
    page = render_pages(root)[root / "mnih2014" / "README.md"]
    assert f"| RAM | 1.20 |{' 4.00 [2.14, 7.37] |' * 3} 1.00 | 3 (0, 1, 2) |" in page
    write_run(root / "mnih2014", "ram-seed3", error=4.0, seed=3)
    write_run(root / "mnih2014", "ram-seed4", error=40.0, seed=4)
    header, _, _, ram, *_ = cells_of(render_pages(root)[root / "mnih2014" / "README.md"])
    assert header[-2] == "interquartile mean over seeds" and ram[-2].startswith("4.33 [")


def test_the_headline_table_has_the_marked_rows_of_every_paper(root):
    text = render_pages(root)[root / "README.md"]
    assert text.splitlines()[2] == (
        "| [Somebody 2014](mnih2014/README.md) | digits | RAM | 1.20 | 4.00 [3.50, 4.50] | 4.00 [3.50, 4.50] | 1 (0) |"
    )


@pytest.mark.parametrize(("published", "bold"), [("4.0", True), ("3.99", False), ("4 to 5", True), ("3 to 5", False)])
def test_an_error_that_reaches_the_published_one_is_bold_and_others_are_listed(root, published, bold):
    (root / "mnih2014" / "paper.toml").write_text(PAPER.replace("1.20", published))
    (root / "page.md.jinja").write_text("{{ headline() }}\n\n{{ not_reached() }}\n")
    headline, not_reached = render_pages(root)[root / "README.md"].split("\n\n")
    assert ("**4.00** [3.50, 4.50]" in headline) == bold
    assert ("| RAM |" in not_reached) == (not bold) and "CNN" not in not_reached


def test_boxes_found_reach_a_published_number_from_above(root):
    found = {"found": 99.0, "low": 98.5, "high": 99.25, "n": 10_000, "mean": 0.7}
    single = {"greedy": {"error": 4.0, "low": 3.5, "high": 4.5, "n": 10_000}}
    write_run(root / "mnih2014", "ram", overlap={"validation": found, "test": found}, test=single, validation=single)
    paper = PAPER.replace('"1.20"', "99").replace("rows =", 'readout = "found"\nrows =')
    (root / "mnih2014" / "paper.toml").write_text(paper)
    (root / "mnih2014" / "page.md.jinja").write_text('{{ paper_table("digits") }}\n')
    pages = render_pages(root)
    assert "| RAM | 99 | **99.00** [98.50, 99.25] |  | 1 (0) |" in pages[root / "README.md"]
    assert "| model | published | ours | sd over seeds | seeds |" in pages[root / "mnih2014" / "README.md"]


def test_images_of_a_run_that_started_from_another_are_a_sum(root):
    write_run(root / "mnih2014", "first")
    with (root / "mnih2014" / "paper.toml").open("a") as file:
        file.write('[started_from]\nram = "first"\n')
    page = render_pages(root)[root / "mnih2014" / "README.md"]
    assert "| 1.28 + 1.28 M |" in page
    # The run that it started from had a warm start too, so its own images are not all.
    write_run(root / "mnih2014", "ram", starts=[{"step": 0, "warm_start": {"training_images": 3_840_000}}, {"step": 9}])
    assert "| 3.84 + 1.28 M |" in render_pages(root)[root / "mnih2014" / "README.md"]


def test_every_stored_run_with_a_warm_start_has_a_record_of_it_or_names_the_run_that_it_started_from():
    for folder in ("mnih2014", "ba2014", "jaderberg2015", "article"):
        started_from = tomllib.loads((ROOT / folder / "paper.toml").read_text()).get("started_from", {})
        groups = read_groups(ROOT / folder)
        runs = {name: group.runs[0] for name, group in groups.items()}
        warm = {name: run for name, run in runs.items() if run["config"].get("start", {}).get("init_from")}
        recorded = {name for name, run in warm.items() if "warm_start" in run.get("starts", [{}])[0]}
        assert set(warm) - recorded == set(started_from)
        assert set(started_from.values()) <= set(groups)


def test_a_page_that_names_a_missing_run_is_an_error(root):
    (root / "mnih2014" / "ram.json").unlink()
    with pytest.raises(ValueError, match="names 'mnih2014/ram', but there is no results/mnih2014/ram.json"):
        render_pages(root)


def test_differences_of_stored_sweeps_stay_in_range(root):
    lines = ["sigma,seed,cell,test_greedy_error,validation_greedy_error"]
    errors = {"1px": (0.0, 90.0), "2px": (95.0, 100.0)}
    lines += [f"{sigma},{seed},x,{e},{e}" for sigma, pair in errors.items() for seed, e in enumerate(pair)]
    (root / "studies" / "sigma").mkdir(parents=True)
    (root / "studies" / "sigma" / "results.csv").write_text("\n".join(lines) + "\n")
    (root / "studies" / "sigma" / "page.md.jinja").write_text('{{ sweep_table("greedy") }}\n')
    write_pages(root)
    with (root / "studies" / "sigma" / "differences.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["first"], row["second"], row["seeds"]) == ("sigma 1px", "sigma 2px", "2")
    assert -100 <= float(row["low"]) < float(row["second_minus_first"]) == 52.5 < float(row["high"]) <= 100
    table = (root / "studies" / "sigma" / "README.md").read_text().splitlines()
    assert table[0] == "| sigma | greedy | greedy, by seed |" and table[2].endswith("| 0.00, 90.00 |")


# -- The command. --


def test_the_command_writes_every_page_and_prints_their_paths(root, capsys):
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
def test_a_bad_command_line_is_one_line(args, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        results_pages.main(args)
    assert capsys.readouterr() == ("", message + "\n")


def test_help_is_printed(capsys):
    results_pages.main(["--help"])
    assert "python -m experiments.reports.results_pages [FOLDER]" in capsys.readouterr().out
