"""The report of an agent that reads sequences, in a browser: the symbol of each glimpse, and the predictions."""

import json

import pytest
from PIL import Image as PillowImage
from selenium.webdriver.common.keys import Keys

from experiments.pages import run_page
from experiments.plots.episode_files import write_episodes
from tests.experiments.evaluation.test_reading import EACH, EPISODES, LABELS, NAMES, PREDICTED, readings
from tests.experiments.pages.test_viewer import press, status, wait


def entry(error, by_length=None):
    interval = {"error": error, "low": error - 0.25, "high": error + 0.5, "n": 1000}
    return interval if by_length is None else interval | by_length


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    (folder / "plots").mkdir(parents=True)
    detail = {"symbol": entry(2.25), "end": entry(1.5), "by_length": {"2": entry(9.5), "1": entry(3.5)}}
    methods = {"greedy": entry(5.5, detail), "sampled": entry(6.5, detail)}
    results = {"family": "dram", "task": "pairs100_sequence", "validation": methods, "test": methods}
    (folder / "results.json").write_text(json.dumps(results))
    for name in ("confusion", "error_by_length", "error_by_glimpse"):
        PillowImage.new("RGB", (20, 20), "red").save(folder / "plots" / f"{name}.png")
    PillowImage.new("P", (10, 10)).save(folder / "plots" / "episodes.gif")
    write_episodes(folder / "plots" / "episodes.json", **EPISODES, class_names=NAMES)
    return run_page.write_report(folder)


@pytest.fixture
def view(path, browse):
    browser = browse(path)
    wait(browser, lambda: status(browser))
    return browser


def choose(browser, image):
    browser.find_elements("css selector", "#thumbnails button")[image].click()
    words = " ".join(NAMES[symbol] for symbol in LABELS[image] if symbol != 3)
    wait(
        browser,
        lambda: browser.find_element("id", "image").get_attribute("alt") == f"Image {image + 1}, true symbols {words}",
    )


def chips(browser):
    """The symbols as they stand in a row: heading, what was read, and whether it is the one that is looked for."""
    return [
        (*chip.text.split("\n"), chip.get_attribute("aria-current"))
        for chip in browser.find_elements("css selector", "#reading li")
    ]


def tags(browser):
    """What stands on the image by the last glimpses of symbols."""
    return [text.text for text in browser.find_elements("css selector", "#overlay text.symbol")]


def chip_text(place, image):
    right = truth(place, image) == f"true {NAMES[PREDICTED[image][place]]}"
    return f"{'✓' if right else '✗'} {NAMES[PREDICTED[image][place]]}"


def truth(place, image):
    """What is true at a place, past the end of a label nothing."""
    return f"true {NAMES[LABELS[image][place]]}" if 3 not in LABELS[image][:place] else "past the end"


@pytest.mark.parametrize("image", range(5))
def test_every_glimpse_shows_its_symbol_and_what_was_read(view, image):
    choose(view, image)
    reading = readings()[image]
    view.find_element("id", "glimpse").send_keys(Keys.HOME)
    for step in range(reading.num_taken):
        place, done = step // EACH, (step + 1) // EACH
        read = " ".join(NAMES[symbol] for symbol in PREDICTED[image][:done] if symbol != 3) or "nothing"
        text = status(view)
        assert text.startswith(
            f"Glimpse {step + 1} of {reading.num_taken}: symbol {place + 1}, {truth(place, image)}, "
        )
        assert f", read so far: {read}, reward" in text
        found = chips(view)
        length = max(len(PREDICTED[image]), list(LABELS[image]).index(3) + 1)
        assert [chip[0] for chip in found] == [f"symbol {index + 1}, {truth(index, image)}" for index in range(length)]
        assert [chip[1] for chip in found] == [chip_text(index, image) for index in range(done)] + ["–"] * (
            length - done
        )
        assert [chip[2] for chip in found] == ["step" if index == place else None for index in range(length)]
        assert tags(view) == [" ".join(reversed(chip_text(index, image).split())) for index in range(done)]
        marked = [row.text for row in view.find_elements("css selector", "#belief .true")]
        expected = [] if truth(place, image) == "past the end" else [truth(place, image)]
        assert [f"true {row.split(' (true)')[0]}" for row in marked] == expected
        if step + 1 < reading.num_taken:
            press(view, Keys.ARROW_RIGHT)
    press(view, Keys.ARROW_RIGHT)  # There is no glimpse after the end that was read.
    assert status(view).startswith(f"Glimpse {reading.num_taken} of {reading.num_taken}: ")
    assert view.find_element("id", "glimpse").get_attribute("max") == str(reading.num_taken)


def test_a_shorter_reading_is_shown_from_a_later_glimpse_of_another(view):
    choose(view, 0)
    view.find_element("id", "glimpse").send_keys(Keys.END)
    assert status(view).startswith("Glimpse 6 of 6")
    choose(view, 1)
    wait(view, lambda: status(view).startswith("Glimpse 4 of 4: symbol 2, true end, ✓ believes end"))


def test_the_list_tells_right_from_wrong(view):
    options = [option.text for option in view.find_elements("css selector", "#episode option")]
    assert options == [
        "1: true one two, read right",
        "2: true zero, read as one",
        "3: true two one, read as two",
        "4: true two, read as two zero one",
        "5: true two, read as two zero",
    ]


def test_results_and_captions_are_those_of_sequences(view):
    text = view.find_element("id", "results").text
    assert "Error of whole sequences in per cent" in text and "Errors in detail" in text
    rows = [row.text for row in view.find_elements("css selector", "#sequences tbody tr")]
    assert rows[0] == "greedy validation 2.25 1.50 3.50 9.50" and len(rows) == 4
    heads = [head.text.strip() for head in view.find_elements("css selector", "#sequences thead th")]
    assert heads[2:] == ["symbols", "wrong length", "length 1", "length 2"]
    figures = view.find_element("id", "figures").text
    assert "Confusions of symbols" in figures and "Error by length" in figures and "a triangle marks" not in figures
