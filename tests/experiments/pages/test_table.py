"""The sortable table: its HTML, and in a browser its sorting and its filter."""

from urllib.parse import quote

import pytest
from markupsafe import escape
from PIL import Image as PillowImage
from selenium.webdriver.common.keys import Keys

from experiments.pages.page import Figure, embed_picture, environment, render_page
from experiments.pages.table import SCRIPT, Link, Number, sortable_table

HEADER = ["run", "error", "test error", "glimpses", "note"]
ODD = "a b#c?d:e%41"  # a folder whose name means something in an address
ROWS = [
    (Link("run 10", "runs/10/report.html"), 9.5, Number(9.5, "9.50 to 10.00"), 6, "wide"),
    (Link("run 9", f"runs/{ODD}/report.html"), 10.25, Number(10.25, "10.25 to 11.00"), 8, "Narrow"),
    (Link("run 2", "runs/2/report.html"), 100.0, Number(100.0, "100.00 to 100.00"), None, "wide, slow"),
    (Link("run 1", "runs/1/report.html"), float("nan"), Number(float("nan"), "diverged"), 12, None),
    (Link("run 30", "runs/30/report.html"), 9.25, None, 6, "narrow <&>"),
]


PAGE = """{% extends "page.html" %}
{% from "table.html" import sortable_table %}
{% from "components.html" import picture %}
{% block content %}{% for table in tables %}{{ sortable_table(table) }}{% endfor %}
{% for figure in figures %}{{ picture(figure) }}{% endfor %}{% endblock %}"""


def render(*tables, figures=()):
    template = environment().from_string(PAGE)
    return render_page(template, "A title", "below", {"main": "Runs"}, [SCRIPT], tables=tables, figures=figures)


def table_html(*arguments):
    """Return the HTML of one table."""
    html = render(sortable_table(*arguments))
    return html[html.index('<p class="control filter"') : html.index("</table>")]


def write(folder, *more, rows=ROWS, name="runs"):
    path = folder / "page.html"
    path.write_text(render(sortable_table(name, "All runs", HEADER, rows), *more))
    return path


def test_a_table_is_html_in_which_text_is_escaped():
    hostile = '<b onclick="x">&'
    table = table_html("t", hostile, [hostile], [[hostile], [Link(hostile, hostile)], [Number(1.0, hostile)]])
    assert "<b " not in table and table.count(str(escape(hostile))) == 6  # the caption is there twice
    assert '<th scope="col">' in table and '<th scope="row">' in table


@pytest.mark.parametrize("path", ["javascript:alert(1)", "https://elsewhere", "data:text/html,x"])
def test_a_link_stays_a_path(path):
    assert ":" not in quote(path)
    assert f'href="{quote(path)}"' in table_html("t", "", ["a"], [[Link("x", path)]])


def test_numbers_keep_all_digits_for_sorting_and_align_to_the_right():
    table = table_html("t", "", ["name", "a", "b"], [["x", 0.1 + 0.2, "text"], ["y", None, 3]])
    assert '<td class="number" data-value="0.30000000000000004">0.3</td><td>text</td>' in table
    assert '<td class="number" data-missing>–</td><td data-value="3.0">3</td>' in table
    assert "data-value" not in table_html("t", "", ["name", "a"], [["x", True], ["y", float("inf")]])


def test_a_table_may_be_empty():
    assert "<tbody>\n</tbody>" in table_html("t", "none", HEADER, [])


def test_a_picture_is_embedded_with_its_size_and_text(tmp_path):
    PillowImage.new("RGB", (3, 2)).save(tmp_path / "a.png")
    html = render(figures=[Figure("<text>", "<caption>", embed_picture((tmp_path / "a.png").read_bytes()))])
    assert 'src="data:image/png;base64,' in html and 'width="3" height="2" alt="&lt;text&gt;. &lt;caption&gt;"' in html
    assert "<figcaption>&lt;caption&gt;</figcaption>" in html


# In a browser.


def shown(browser, name="runs"):
    """The rows that can be seen, by their first cell."""
    return browser.execute_script(
        "return [...document.querySelectorAll(`#${arguments[0]} tbody th`)]"
        ".filter((cell) => cell.checkVisibility()).map((cell) => cell.textContent)",
        name,
    )


def headings(browser, name="runs"):
    return browser.find_elements("css selector", f"#{name} thead button")


UNSORTED = ["run 10", "run 9", "run 2", "run 1", "run 30"]


@pytest.mark.parametrize(
    ("column", "upwards", "downwards"),
    [
        ("run", ["run 1", "run 2", "run 9", "run 10", "run 30"], ["run 30", "run 10", "run 9", "run 2", "run 1"]),
        # As text 10.25 comes before 9.5, as people count 9.5 before 9.25. What is no number comes last either way.
        ("error", ["run 30", "run 10", "run 9", "run 2", "run 1"], ["run 2", "run 9", "run 10", "run 30", "run 1"]),
        (
            "test error",
            ["run 10", "run 9", "run 2", "run 1", "run 30"],
            ["run 2", "run 9", "run 10", "run 1", "run 30"],
        ),
        ("glimpses", ["run 10", "run 30", "run 9", "run 1", "run 2"], ["run 1", "run 9", "run 10", "run 30", "run 2"]),
        ("note", ["run 9", "run 30", "run 10", "run 2", "run 1"], ["run 2", "run 10", "run 30", "run 9", "run 1"]),
    ],
)
def test_sorting(tmp_path, browse, column, upwards, downwards):
    browser = browse(write(tmp_path))
    button = headings(browser)[HEADER.index(column)]
    for order, direction in ((upwards, "ascending"), (downwards, "descending"), (UNSORTED, "none")):
        button.click()
        assert shown(browser) == order
        cells = browser.find_elements("css selector", "thead th")
        assert [cell.get_attribute("aria-sort") for cell in cells] == [
            direction if name == column else "none" for name in HEADER
        ]


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE], ids=["enter", "space"])
def test_sorting_with_the_keyboard_keeps_the_focus(tmp_path, browse, key):
    browser = browse(write(tmp_path))
    browser.find_element("id", "runs-filter").send_keys(Keys.TAB, Keys.TAB, Keys.TAB)  # the table, run, error
    for first in ("run 30", "run 2", "run 10"):
        browser.switch_to.active_element.send_keys(key)
        assert shown(browser)[0] == first


def test_sorting_by_another_column_starts_anew(tmp_path, browse):
    browser = browse(write(tmp_path))
    error, glimpses = headings(browser)[1], headings(browser)[3]
    error.click(), glimpses.click()
    assert shown(browser) == ["run 10", "run 30", "run 9", "run 1", "run 2"]
    assert error.find_element("xpath", "..").get_attribute("aria-sort") == "none"
    assert [button.accessible_name.rstrip(" ↕↑↓") for button in headings(browser)] == HEADER


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("narrow", ["run 9", "run 30"]),
        ("WIDE", ["run 10", "run 2"]),
        ("slow wide", ["run 2"]),  # each word, in any order
        ("run 8", ["run 9"]),  # words of different cells
        ("<&>", ["run 30"]),
        ("wide narrow", []),
        ("  ", UNSORTED),
    ],
)
def test_filter_shows_the_rows_with_every_word(tmp_path, browse, text, left):
    browser = browse(write(tmp_path))
    field = browser.find_element("id", "runs-filter")
    assert field.accessible_name == "Filter"
    field.send_keys(text)
    assert shown(browser) == left
    counter = browser.find_element("css selector", ".filter output").text
    assert counter == (f"{len(left)} of {len(ROWS)}" if text.strip() else "")
    headings(browser)[1].click()  # sorting does not show what is filtered out
    assert sorted(shown(browser)) == sorted(left)
    field.send_keys(Keys.CONTROL, "a", Keys.BACKSPACE)
    assert sorted(shown(browser)) == sorted(UNSORTED)


def test_tables_of_a_page_are_sorted_and_filtered_by_themselves(tmp_path, browse):
    browser = browse(write(tmp_path, sortable_table("others", "Others", HEADER, ROWS)))
    browser.find_element("id", "others-filter").send_keys("wide")
    headings(browser, "others")[1].click()
    assert shown(browser) == UNSORTED and shown(browser, "others") == ["run 10", "run 2"]
    assert headings(browser)[1].find_element("xpath", "..").get_attribute("aria-sort") == "none"


def test_a_link_leads_to_its_file_whatever_its_name(tmp_path, browse):
    target = tmp_path / "runs" / ODD / "report.html"
    target.parent.mkdir(parents=True)
    target.write_text("<!DOCTYPE html><title>there</title>")
    path = write(tmp_path)
    browser = browse(path)
    address = browser.find_element("link text", "run 9").get_attribute("href")
    browser.get(address)
    assert browser.title == "there"
    browse.opened.append(address)


def test_a_wide_table_scrolls_within_a_narrow_page(tmp_path, browse):
    rows = [[f"run {index}", *["a long text without end"] * 4] for index in range(3)]
    browser = browse(write(tmp_path, rows=rows), width=360)
    region = browser.find_element("css selector", ".scroll")
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")
    assert browser.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", region)
    assert region.get_attribute("tabindex") == "0" and region.accessible_name == "All runs"
