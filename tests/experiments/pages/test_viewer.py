"""The report of a run in a browser: its viewer, its keys, its colours, and that it fetches nothing."""

import json
import math

import numpy as np
import pytest
from PIL import Image as PillowImage
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from experiments.pages import run_page
from experiments.plots.episode_files import Episodes, write_episodes
from experiments.plots.episodes import reconstruct_episode

HEIGHT, WIDTH, GLIMPSES, IMAGES, SCALES, SIDE = 9, 12, 4, 3, 2, 3
NAMES = ["zero", "one", "two"]
CONFIG = {"task": "images", "model": {"agent": {"core": "lstm"}, "policy": {"sigma": "6px", "sigma_final": "3px"}}}
SETTINGS = ["task", "model.agent.core", "model.policy.sigma", "model.policy.sigma_final"]


def make_episodes():
    """Episodes whose boxes lie on pixels, some of them partly outside the image."""
    rng = np.random.default_rng(1)
    corners = rng.integers(-2, 7, (GLIMPSES, IMAGES, 1, 2))
    halves, middles = SIDE * 2 ** np.arange(SCALES)[:, None] / 2, corners + SIDE / 2
    boxes = np.concatenate([np.floor(middles - halves), np.floor(middles - halves) + 2 * halves], axis=-1)
    rewards = rng.normal(size=(GLIMPSES, IMAGES))
    rewards[2, 0] = np.nan
    return Episodes(
        images=rng.integers(0, 256, (IMAGES, HEIGHT, WIDTH, 1), dtype=np.uint8),
        labels=np.array([0, 2, 1]),
        locations=(middles[:, :, 0] / (WIDTH, HEIGHT)) * 2 - 1,
        boxes=boxes,
        glimpses=rng.integers(0, 256, (GLIMPSES, IMAGES, SCALES, SIDE, SIDE, 1)) / 255.0,
        probabilities=rng.dirichlet(np.ones(len(NAMES)), (GLIMPSES, IMAGES)),
        class_names=NAMES,
        rewards=rewards,
    )


EPISODES = make_episodes()


def make_run(folder, episodes=EPISODES):
    (folder / "plots").mkdir(parents=True)
    entry = {"error": 3.5, "low": 3.25, "high": 4.0, "n": 10000}
    results = {"family": "ram", "task": "images", "commit": "0123456789" * 4, "validation": {"greedy": entry}}
    (folder / "config.json").write_text(json.dumps({"family": "ram", "preset": "quick", "config": CONFIG}))
    (folder / "results.json").write_text(json.dumps({**results, "test": {"greedy": entry, "sampled": entry}}))
    (folder / "metrics.jsonl").write_text('{"step": 100, "loss": 2.0, "validation_error": 8.5}\n')
    PillowImage.new("RGB", (1600, 300), "red").save(folder / "plots" / "learning_curves.png")
    PillowImage.new("P", (10, 10)).save(folder / "plots" / "episodes.gif")
    write_episodes(folder / "plots" / "episodes.json", *episodes)
    return run_page.write_report(folder)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture
def view(path, browse):
    """Opens the report and waits for its viewer."""

    def call(opened=path, **screen):
        browser = browse(opened, **screen)
        wait(browser, lambda: status(browser))
        return browser

    return call


def wait(browser, condition):
    WebDriverWait(browser, 60, poll_frequency=0.02).until(lambda _: condition())


def status(browser):
    return browser.find_element("id", "status").text


def choose(browser, image):
    browser.find_elements("css selector", "#thumbnails button")[image].click()
    alt = f"Image {image + 1}, true class {NAMES[EPISODES.labels[image]]}"
    wait(browser, lambda: browser.find_element("id", "image").get_attribute("alt") == alt)


def glimpse(browser):
    """The glimpse that is shown, from 0: the slider, the number beside it and the status must agree."""
    slider, beside = browser.find_element("id", "glimpse"), browser.find_element("id", "glimpse-number").text
    number = int(slider.get_attribute("value"))
    assert beside == slider.get_attribute("aria-valuetext") == f"{number} of {GLIMPSES}"
    assert status(browser).startswith(f"Glimpse {number} of {GLIMPSES}: ")
    assert slider.get_attribute("min") == "1" and slider.get_attribute("max") == str(GLIMPSES)
    return number - 1


def press(browser, *keys):
    browser.switch_to.active_element.send_keys(*keys)


def drawn_boxes(browser):
    """The boxes `[n, 4]` as they stand on the screen over the image, in its pixels."""
    return browser.execute_script(
        """const frame = document.getElementById("image").getBoundingClientRect();
        return [...document.querySelectorAll("#overlay rect")].map((rect) => {
          const box = rect.getBBox(), matrix = rect.getScreenCTM();
          const place = (x, y) => new DOMPoint(x, y).matrixTransform(matrix);
          const [a, b] = [place(box.x, box.y), place(box.x + box.width, box.y + box.height)];
          const [x, y] = [arguments[0] / frame.width, arguments[1] / frame.height];
          return [(a.x - frame.x) * x, (a.y - frame.y) * y, (b.x - frame.x) * x, (b.y - frame.y) * y];
        });""",
        WIDTH,
        HEIGHT,
    )


def painted(browser, name):
    """The colours `[H, W, 3]` at the centres of the image's pixels on a canvas, in [0, 1]."""
    colours = browser.execute_script(
        """const canvas = document.getElementById(arguments[0]), zoom = canvas.width / arguments[1];
        const pen = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
        pen.drawImage(canvas, 0, 0);
        const data = pen.getImageData(0, 0, canvas.width, canvas.height).data, colours = [];
        for (let row = 0.5; row < arguments[2]; row++) for (let column = 0.5; column < arguments[1]; column++) {
          const place = 4 * (Math.floor(row * zoom) * canvas.width + Math.floor(column * zoom));
          colours.push([...data.slice(place, place + 3)]);
        }
        return colours;""",
        name,
        WIDTH,
        HEIGHT,
    )
    return np.array(colours).reshape(HEIGHT, WIDTH, 3) / 255.0


# The viewer.


@pytest.mark.parametrize("image", range(IMAGES))
def test_every_glimpse_shows_its_data(view, image):
    browser = view()
    choose(browser, image)
    for step in range(GLIMPSES):
        assert glimpse(browser) == step
        np.testing.assert_allclose(drawn_boxes(browser), EPISODES.boxes[step, image], atol=0.02)
        for name, first in (("now", step), ("so-far", 0)):
            glimpses, boxes = EPISODES.glimpses[first : step + 1, image], EPISODES.boxes[first : step + 1, image]
            seen, colours = reconstruct_episode(glimpses, boxes, HEIGHT, WIDTH), painted(browser, name)
            reached = colours[..., 2] == colours[..., 0]  # what was not is blue
            assert reached.any()
            np.testing.assert_allclose(colours[..., :1][reached], seen[reached], atol=1e-6)
            assert not seen[~reached].any()
        rows = [row.text.split() for row in browser.find_elements("css selector", "#belief li")]
        assert [row[0] for row in rows] == NAMES
        shares = [float(row[-1].rstrip("%")) / 100 for row in rows]
        np.testing.assert_allclose(shares, EPISODES.probabilities[step, image], atol=0.0051)
        assert [row[1] == "(true)" for row in rows] == [name == NAMES[EPISODES.labels[image]] for name in NAMES]
        press(browser, Keys.ARROW_RIGHT)
    choose(browser, (image + 1) % IMAGES)
    assert glimpse(browser) == GLIMPSES - 1  # another image, the same glimpse


def test_boxes_of_earlier_glimpses(view):
    browser = view()
    browser.find_element("id", "all-boxes").click()
    for step in range(GLIMPSES):
        np.testing.assert_allclose(drawn_boxes(browser), EPISODES.boxes[: step + 1, 0].reshape(-1, 4), atol=0.02)
        press(browser, Keys.ARROW_RIGHT)


def number(text):
    return math.nan if text == "not recorded" else float(text.replace("−", "-"))


def test_every_glimpse_shows_its_reward(view):
    browser = view()
    for step in range(GLIMPSES):
        rows = browser.find_elements("css selector", "#rewards li")
        shown = [number(row.find_element("class name", "share").text) for row in rows]
        np.testing.assert_allclose(shown, EPISODES.rewards[:, 0], atol=0.0051)
        assert [row.get_attribute("aria-current") for row in rows].index("step") == step
        now, so_far = status(browser).split(", reward ")[1].split(", so far ")
        np.testing.assert_allclose(number(now), EPISODES.rewards[step, 0], atol=0.0051)
        np.testing.assert_allclose(number(so_far), np.nansum(EPISODES.rewards[: step + 1, 0]), atol=0.0051)
        press(browser, Keys.ARROW_RIGHT)
    bars = browser.execute_script(
        """return [...document.querySelectorAll("#rewards .track")].map((track) => {
          const outer = track.getBoundingClientRect(), inner = track.firstChild.getBoundingClientRect();
          return [inner.left, inner.right].map((edge) => (edge - outer.left - 1) / (outer.width - 2));
        });"""
    )
    rewards = np.nan_to_num(EPISODES.rewards[:, 0])
    ends = np.stack([np.minimum(rewards, 0), np.maximum(rewards, 0)], axis=1)
    np.testing.assert_allclose(bars, (ends - ends.min()) / np.ptp(ends), atol=0.02)


@pytest.mark.parametrize(
    ("rewards", "words"),
    [
        (np.array([1.0, 0.0, 0.25]), "reward of the episode +1.00"),
        (None, "reward of the episode not recorded"),
    ],
)
def test_a_reward_of_the_whole_episode(tmp_path, view, rewards, words):
    browser = view(make_run(tmp_path / "run", EPISODES._replace(rewards=rewards)))
    assert status(browser).endswith(words)
    assert not browser.find_element("id", "rewards-panel").is_displayed()


# Keys.


def test_keys_and_slider_agree(view):
    browser = view()
    slider, body = browser.find_element("id", "glimpse"), browser.find_element("tag name", "body")
    for target in (body, slider):
        target.send_keys(Keys.ARROW_LEFT)
        assert glimpse(browser) == 0  # there is nothing before the first
        for step in [*range(1, GLIMPSES), GLIMPSES - 1]:
            target.send_keys(Keys.ARROW_RIGHT)
            assert glimpse(browser) == step
        for step in reversed(range(GLIMPSES - 1)):
            target.send_keys(Keys.ARROW_LEFT)
            assert glimpse(browser) == step
    slider.send_keys(Keys.END)
    assert glimpse(browser) == GLIMPSES - 1
    at_end = drawn_boxes(browser)
    slider.send_keys(Keys.HOME)
    assert glimpse(browser) == 0 and drawn_boxes(browser) != at_end
    slider.click()  # in its middle
    assert glimpse(browser) in (1, 2)
    browser.find_element("id", "next").send_keys(Keys.ENTER)
    browser.find_element("id", "previous").send_keys(Keys.SPACE, Keys.SPACE)
    assert glimpse(browser) in (0, 1)


def test_arrow_keys_keep_their_use_elsewhere(view):
    browser = view()
    browser.find_element("id", "settings-filter").send_keys("b", Keys.ARROW_LEFT, "a")
    assert browser.find_element("id", "settings-filter").get_attribute("value") == "ab"
    browser.find_element("css selector", ".scroll").send_keys(Keys.ARROW_RIGHT)
    browser.find_element("tag name", "body").send_keys(Keys.ALT, Keys.ARROW_RIGHT)
    assert glimpse(browser) == 0
    browser.find_element("id", "episode").send_keys(Keys.ARROW_DOWN)
    wait(browser, lambda: browser.find_element("id", "image").get_attribute("alt").startswith("Image 2,"))
    assert glimpse(browser) == 0


def test_playing(view):
    browser = view()
    play = browser.find_element("id", "play")
    play.send_keys(Keys.ENTER)
    assert (play.text, play.get_attribute("aria-pressed")) == ("Pause", "true")
    wait(browser, lambda: not status(browser).startswith("Glimpse 1 "))
    play.send_keys(Keys.ENTER)
    assert (play.text, play.get_attribute("aria-pressed")) == ("Play", "false")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everything_is_reached_with_the_tab_key_and_shows_it(view, scheme):
    browser = view(scheme=scheme)
    expected = browser.execute_script(
        "return [...document.querySelectorAll('a[href], button, input, select, summary, .scroll')]"
        ".filter((each) => each.checkVisibility())"
    )
    for control in expected:
        press(browser, Keys.TAB)
        assert browser.switch_to.active_element == control
        assert control.accessible_name.strip() or control.text.strip()
        outline = browser.execute_script(
            "const style = getComputedStyle(arguments[0]);"
            "return [style.outlineStyle, parseFloat(style.outlineWidth), style.outlineColor]",
            control,
        )
        assert outline[0] == "solid" and outline[1] >= 2
        ratio = "return contrast(arguments[0], ground(arguments[1]))"
        assert browser.execute_script(CONTRAST + ratio, outline[2], control) > 3
    assert len(expected) > 20


def test_the_first_link_skips_to_the_content(view):
    browser = view()
    press(browser, Keys.TAB)
    skip = browser.switch_to.active_element
    assert skip.text == "Skip to the content" and skip.rect["x"] >= 0
    skip.send_keys(Keys.ENTER)
    assert browser.switch_to.active_element.tag_name == "main"
    browser.execute_script("history.replaceState(null, '', location.pathname)")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("sigma", SETTINGS[2:]),
        ("LSTM", SETTINGS[1:2]),
        ("policy 3px", SETTINGS[3:]),
        ("nothing like it", []),
        ("", SETTINGS),
    ],
)
def test_the_configuration_is_searched(view, text, left):
    browser = view()
    browser.find_element("id", "settings-filter").send_keys(text)
    rows = browser.find_elements("css selector", "#settings tbody th")
    assert [row.text for row in rows if row.is_displayed()] == left


# What it looks like.

CONTRAST = """
  function rgb(colour) { return colour.match(/[\\d.]+/g).map(Number); }
  function luminance(colour) {
    const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = rgb(colour).map((value) => linear(value / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  }
  function contrast(one, two) {
    const [low, high] = [luminance(one), luminance(two)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  }
  function ground(element) {
    for (let each = element.parentElement; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if ((rgb(colour)[3] ?? 1) === 1) return colour;
    }
  }
"""
TEXTS = (
    CONTRAST
    + """
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement, text = walker.currentNode.textContent.trim();
    if (!text || !element.checkVisibility() || element.closest("svg, script, noscript")) continue;
    const own = getComputedStyle(element).backgroundColor;
    found.push([text, contrast(getComputedStyle(element).color, (rgb(own)[3] ?? 1) === 1 ? own : ground(element))]);
  }
  return found;
"""
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("whole", [True, False], ids=["a whole run", "an empty folder"])
def test_text_stands_out(tmp_path, view, browse, scheme, whole):
    browser = view(scheme=scheme) if whole else browse(run_page.write_report(tmp_path), scheme=scheme)
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")
    texts = browser.execute_script(TEXTS)
    assert len(texts) > (60 if whole else 10)
    assert [(text, ratio) for text, ratio in texts if ratio < 4.5] == []
    ground = browser.execute_script(CONTRAST + "return luminance(getComputedStyle(document.body).backgroundColor)")
    assert ground < 0.02 if scheme == "dark" else ground > 0.85


@pytest.mark.parametrize("width", [320, 400, 800, 1280])
def test_it_fits_the_screen(view, width):
    browser = view(width=width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    frames = browser.execute_script(
        """const all = [...document.querySelectorAll("button, input, select, output, #viewer img, canvas")];
        return all.map((each) => each.getBoundingClientRect()).filter((frame) => frame.width);"""
    )
    assert len(frames) > 15
    assert all(frame["left"] >= 0 and frame["right"] <= width for frame in frames)


def test_pictures_are_there_and_described(view):
    browser = view()
    images = browser.execute_script(
        "return [...document.images].map((i) => [i.naturalWidth, i.alt, i.src.slice(0, 11)])"
    )
    assert len(images) == 2 + 1 + IMAGES  # figures, the image, thumbnails
    assert all(width and alt and source == "data:image/" for width, alt, source in images)
    assert all(canvas.accessible_name for canvas in browser.find_elements("tag name", "canvas"))


def test_text_that_looks_like_code_does_nothing(tmp_path, view):
    hostile = '</script><script>document.title = "taken"</script><img src=x onerror="document.title = \'taken\'">'
    browser = view(make_run(tmp_path / "run", EPISODES._replace(class_names=[hostile, "one", "two"])))
    assert browser.title == "ram on images"
    assert hostile in status(browser)


def test_the_page_could_not_fetch(view, browse):
    """What every test relies on at its end: the page itself refuses a request, and says so on the console."""
    browser = view()
    refused = browser.execute_async_script(
        "const done = arguments[0]; fetch('https://example.com').then(() => done(false), () => done(true))"
    )
    browser.execute_script(
        "document.body.append(Object.assign(new Image(), { src: 'https://example.com/a.png' }),"
        "Object.assign(document.createElement('script'), { text: 'window.ran = true' }))"
    )
    assert refused and not browser.execute_script("return window.ran")
    messages = []
    wait(browser, lambda: messages.extend(browse.console()) or len(messages) >= 3)
    assert all("Content Security Policy" in message for message in messages)
    browse.opened.append("https://example.com/a.png")  # a request that was refused is seen all the same
