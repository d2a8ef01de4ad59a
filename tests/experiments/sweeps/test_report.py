"""The page of a sweep: its tables and its escaping, and in a browser its sorting."""

from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys

from experiments.output.json_files import write_json
from experiments.sweeps.directory import cell_folder
from experiments.sweeps.report import write_report
from experiments.sweeps.study import Study, make_plan
from tests.experiments.results_maker import results_of


class Reader(HTMLParser):
    """The links that leave a page, its table rows, the values of their cells, and what it shows of elsewhere."""

    def __init__(self):
        super().__init__()
        self.links, self.rows, self.sources, self.values = [], [], [], []
        self.in_row = False

    def handle_starttag(self, tag, attrs):
        """Collects."""
        attributes = dict(attrs)
        self.links += [attributes["href"]] if tag == "a" and not attributes["href"].startswith("#") else []
        self.sources += [value for name, value in attrs if name in ("src", "href") and tag != "a"]
        if tag == "tr":
            self.rows.append([])
            self.in_row = True
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.values.append(attributes.get("data-value"))

    def handle_endtag(self, tag):
        """Notes the end of a row."""
        self.in_row = self.in_row and tag != "tr"

    def handle_data(self, data):
        """Collects."""
        if self.in_row:
            self.rows[-1][-1] += data.strip()


def read(path):
    reader = Reader()
    reader.feed(path.read_text())
    return reader


def finish(sweep, cell, error):
    """Write the results of a cell."""
    entry = {"error": error, "low": error - 1, "high": error + 1, "n": 100}
    errors = {split: {"greedy": entry} for split in ("test", "validation")}
    write_json(cell_folder(sweep, cell) / "results.json", results_of(**cell.identity(), **errors))


def test_page_shows_settings_and_cells_and_escapes_text(tmp_path):
    study = Study("cnn", "mnist28", {"units": [8, 4]}, overrides={"network": "fc", "data": "x&y <b>"})
    plan = make_plan(study)
    finish(tmp_path, plan.cells[0], 1.23456)
    failures = [(plan.cells[1], "a & b: <b>")]
    path = write_report(tmp_path, plan, failures)
    text, reader = path.read_text(), read(path)
    ids = [cell.id for cell in plan.cells]
    assert reader.rows == [
        ["units", "test error", "low", "high", "by seed", "validation error", "seeds"],
        ["8", "1.23", "–", "–", "1.23", "1.23", "1"],
        ["4", "–", "–", "–", "–", "–", "0"],
        ["units", "seed", "test error", "validation error", "parameters", "minutes", "run"],
        ["8", "0", "1.23", "1.23", "1,234", "1.5", ids[0]],
        ["4", "0", "–", "–", "–", "–", f"{ids[1]}: a & b: <b>"],
    ]
    first = ["8.0", "1.23456", None, None, None, "1.23456", "1.0", "4.0", None, None, None, None, None, "0.0"]
    last = ["8.0", "0.0", "1.23456", "1.23456", "1234.0", "1.5", None, "4.0", "0.0", *[None] * 5]
    assert reader.values == [*[None] * 7, *first, *[None] * 7, *last]
    assert reader.links == [f"cells/{ids[0]}"], "the other has no folder"
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources) and len(reader.sources) == 2
    assert "://" not in text and "<b>" not in text and "x&amp;y" in text
    assert "default-src 'none'" in text and 'class="sortable"' in text


def test_page_of_a_sweep_with_failures(sweep, fake):
    fake.set("fail-16")
    sweep.run("--units", "4", "8", "16", "--weight-decay", "0.5", "0.6", "--seeds", "2")
    reader = read(Path("s/report.html"))
    assert len(reader.links) == 12 and all(Path("s", link).is_dir() for link in reader.links)
    assert all(source.startswith("data:image/png;base64,") for source in reader.sources) and len(reader.sources) == 4
    text = Path("s/report.html").read_text()
    for words in (
        "Settings",
        "Paired differences",
        "units by weight_decay",
        "Learning curves",
        "8 of 12 finished, 4 failed",
    ):
        assert words in text
    assert {path.stem for path in Path("s/figures").iterdir()} == {
        *("error_units", "error_weight_decay", "heat_map_units_weight_decay", "learning_curves")
    }


def test_intervals_over_seeds_stay_in_range_and_every_seed_is_listed(tmp_path):
    plan = make_plan(Study("cnn", "mnist28", {"units": [8, 4]}, seeds=2))
    for cell, error in zip(plan.cells, (20.8, 33.2, 1.0, 90.0), strict=True):
        finish(tmp_path, cell, error)
    rows = read(write_report(tmp_path, plan, [])).rows
    for row, seeds in zip(rows[1:3], ("20.80, 33.20", "1.00, 90.00"), strict=True):
        assert 0 <= float(row[2]) < float(row[1]) < float(row[3]) <= 100 and row[4] == seeds
    (_, _, difference, low, high, _) = rows[4]
    assert -100 <= float(low) < float(difference) < float(high) <= 100
    _, line = (tmp_path / "differences.csv").read_text().splitlines()
    assert [f"{float(number):.2f}" for number in line.split(",")[-4:-1]] == [difference, low, high]


def test_one_seed_has_no_interval_and_the_page_says_so(tmp_path):
    plan = make_plan(Study("cnn", "mnist28", {"units": [8, 4]}))
    for cell in plan.cells:
        finish(tmp_path, cell, 3.0)
    page = write_report(tmp_path, plan, [])
    assert "Every setting has one seed, so there is no interval over seeds." in page.read_text()
    assert (tmp_path / "differences.csv").read_text().splitlines()[1] == "units 8,units 4,0.0,,,1"


# In a browser; `browse` asserts that the console stays empty and nothing is fetched.

SIGMAS = ["1.5px", "10px", "1.25px"]
ORDERS = {
    "sigma": (["1.25px", "1.5px", "10px"], ["10px", "1.5px", "1.25px"]),
    "test error": (["1.25px", "10px", "1.5px"], ["1.5px", "10px", "1.25px"]),
}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    sweep = tmp_path_factory.mktemp("sweep")
    plan = make_plan(Study("ram", "mnist28", {"sigma": SIGMAS}, seeds=2))
    for number, cell in enumerate(plan.cells[:-1]):
        finish(sweep, cell, [20.0, 22.0, 3.0, 4.0, 1.0][number])
    return write_report(sweep, plan, [(plan.cells[-1], "killed by signal 9")])


def column(browser, table, index=0):
    return browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)]"
        ".map((row) => row.cells[arguments[1]].textContent)",
        table,
        index,
    )


def heading(browser, table, text):
    (only,) = [
        button
        for button in browser.find_elements("css selector", f"#{table} thead button")
        if button.accessible_name.rstrip(" ↕↑↓") == text
    ]
    return only


@pytest.mark.parametrize("key", [None, Keys.ENTER, Keys.SPACE], ids=["click", "enter", "space"])
def test_a_heading_sorts(page, browse, key):
    browser = browse(page)
    for name, orders in ORDERS.items():
        button = heading(browser, "means-table", name)
        for order, direction in [*zip(orders, ("ascending", "descending"), strict=True), (SIGMAS, "none")]:
            button.send_keys(key) if key else button.click()
            assert column(browser, "means-table") == order
            assert button.find_element("xpath", "..").get_attribute("aria-sort") == direction
    assert column(browser, "runs-table") == [sigma for sigma in SIGMAS for _ in range(2)], "the other table stays"


def test_a_cell_without_an_error_comes_last(page, browse):
    browser = browse(page)
    button = heading(browser, "runs-table", "test error")
    for errors in (["1.00", "3.00", "4.00", "20.00", "22.00"], ["22.00", "20.00", "4.00", "3.00", "1.00"]):
        button.click()
        assert column(browser, "runs-table", 2) == [*errors, "–"]


def test_links_lead_to_the_runs(page, browse):
    browser = browse(page)
    links = browser.find_elements("css selector", "#runs-table a")
    assert len(links) == 5
    for link in links:
        assert link.get_attribute("href") == (page.parent / "cells" / link.text).as_uri()
    assert all(
        browser.find_element("id", link.get_attribute("href").partition("#")[2])
        for link in browser.find_elements("css selector", "nav a")
    )
    names = ["Settings", "Figures", "Paired differences", "Cells"]
    assert [link.text for link in browser.find_elements("css selector", "nav a")] == names
    assert all(browser.execute_script("return [...document.images].map((image) => image.naturalWidth > 0)"))
