"""The report: what it holds, that it is safe and self-contained, and that episodes survive their file."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from experiments.output.text import duration
from experiments.pages import run_page
from experiments.plots.episode_files import read_episodes, write_episodes
from experiments.training.config import flatten

HOSTILE = '</script><script>alert(1)</script><img src=x onerror="alert(2)">&\'"'
VOID = {"meta", "img", "input", "br", "link"}


class Page(HTMLParser):
    """What a browser would make of the page: its elements, its text, and whether every tag is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def make_episodes(glimpses=3, images=2, scales=2, side=4, channels=1, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "images": rng.integers(0, 256, (images, 9, 12, channels), dtype=np.uint8),
        "labels": rng.integers(0, classes, images),
        "locations": rng.uniform(-1, 1, (glimpses, images, 2)),
        "boxes": rng.uniform(-5, 15, (glimpses, images, scales, 4)),
        "glimpses": rng.uniform(size=(glimpses, images, scales, side, side, channels)),
        "probabilities": rng.dirichlet(np.ones(classes), (glimpses, images)),
        "class_names": [f"class {index}" for index in range(classes)],
        "rewards": rng.uniform(size=images),
    }


def result(error: float) -> dict:
    return {"error": error, "low": error - 0.25, "high": error + 0.5, "n": 10000}


def make_run(folder: Path, text: str = "plain") -> Path:
    (folder / "plots").mkdir(parents=True)
    config = {"task": "cluttered60", "policy": {"sigma_px": 6.0, "name": text, text: None}, "scales": [1, 2]}
    results = {
        "task": "cluttered60",
        "family": f"ram {text}",
        "preset": "small",
        "config": config,
        "seed": 7,
        "commit": text,
        "device": "a machine",
        "jax_version": "0.10.2",
        "wall_seconds": 3725.0,
        "steps": 12000,
        "episodes": 1536000,
        "parameters": 431242,
        "validation": {"greedy": result(3.5), "sampled": result(5.25)},
        "test": {"greedy": result(4.0), text: result(9.0)},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "results.json").write_text(json.dumps(results))
    records = [{"step": 100, "loss": 2.0, "validation_error": 8.5}, {"step": 200, "loss": 1.25, text: text}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    PillowImage.new("RGB", (30, 20), "red").save(folder / "plots" / "learning_curves.png")
    PillowImage.new("RGB", (40, 50), "blue").save(folder / "plots" / "own_figure.png")
    PillowImage.new("P", (10, 10)).save(folder / "plots" / "episodes.gif")
    names = [text, "b", "c"]
    write_episodes(folder / "plots" / "episodes.json", **{**make_episodes(), "class_names": names})
    return folder


def write(folder: Path) -> tuple[str, Page]:
    path = run_page.write_report(folder)
    assert path == folder / "report.html"
    text = path.read_text()
    return text, Page(text)


def test_report_is_one_file_that_loads_nothing(tmp_path):
    text, page = write(make_run(tmp_path / "run"))
    assert "http:" not in text and "https:" not in text
    assert not re.search(r"url\(|@import", text)
    for _, attributes in page.elements:
        assert all(value.startswith("data:") for key, value in attributes.items() if key in ("src", "srcset", "data"))
        assert attributes.get("href", "#").startswith("#")
    assert not page.all("link")
    (policy,) = [each["content"] for each in page.all("meta") if each.get("http-equiv")]
    assert "default-src 'none'" in policy and "img-src data:" in policy and "'unsafe-inline'; script-src 'sha" in policy
    assert not list((tmp_path / "run").glob(".*"))


def test_report_holds_facts_results_and_settings(tmp_path):
    _, page = write(make_run(tmp_path / "run"))
    for words in (
        "training steps 12,000",
        "training episodes 1,536,000",
        "parameters 431,242",
        "wall time 1 h 2 min",
        "seed 7",
        "greedy 3.50 3.25 to 4.00 10,000 4.00 3.75 to 4.50 10,000",
        "one episode 5.25 5.00 to 5.75 10,000 – – –",  # sampled was not measured on the test set
        "Lowest validation error 8.50% at step 100",
        "loss 1.25 200",
        "policy.sigma_px 6",
        "scales [1, 2]",
    ):
        assert words in page.text, words


def test_figures_are_embedded_whole_with_text_beside_them(tmp_path):
    folder = make_run(tmp_path / "run")
    _, page = write(folder)
    images = [each for each in page.all("img") if "src" in each]
    assert [(each["width"], each["height"]) for each in images] == [("30", "20"), ("10", "10"), ("40", "50")]
    assert images[0]["src"].startswith("data:image/png;base64,") and images[1]["src"].startswith("data:image/gif;")
    assert all(each["alt"] for each in images)
    assert "Own figure" in page.text and "Learning curves" in page.text
    assert page.text.count("The file own_figure.png.") == 1


def test_text_is_escaped(tmp_path):
    text, page = write(make_run(tmp_path / "run", HOSTILE))
    assert "<script>alert" not in text and "<img src=x" not in text
    assert len(page.all("script")) == 3  # the viewer's data, tables, viewer
    assert not any("onerror" in attributes for _, attributes in page.elements)
    assert HOSTILE in page.text  # it is there, as text
    data = json.loads(page.scripts[0])
    assert data["class_names"][0] == HOSTILE  # and whole in the viewer's data


def test_report_works_without_anything(tmp_path):
    _, page = write(tmp_path)
    for name in ("results.json", "metrics.jsonl", "config.json", "plots/episodes.json"):
        assert f"There is no {name}" in page.text
    assert not page.all("table")
    assert "no figures" in page.text


def test_missing_results_fall_back_to_the_configuration_and_metrics(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "results.json").unlink()
    _, page = write(folder)
    assert "not been evaluated" in page.text
    assert "task cluttered60" in page.text and "training steps 200" in page.text


def test_missing_config_falls_back_to_the_results(tmp_path):
    folder = make_run(tmp_path / "run")
    (folder / "config.json").unlink()
    _, page = write(folder)
    assert "policy.sigma_px 6" in page.text


def test_a_baseline_has_only_greedy_results(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps({"validation": {"greedy": result(1.5)}, "test": None}))
    _, page = write(tmp_path)
    assert "1.50" in page.text and "one episode" not in page.text and "Test" not in page.text


def test_the_report_says_of_how_many_episodes_the_means_are(tmp_path):
    results = {"config": {"training": {"eval_episodes": 7}}, "test": {"greedy": result(1.5)}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "means are of" not in write(tmp_path)[1].text
    results["test"] |= {"average_probability": result(2.5), "average_log_probability": result(3.5)}
    (tmp_path / "results.json").write_text(json.dumps(results))
    _, page = write(tmp_path)
    assert "Classification error in per cent; means are of 7 sampled episodes" in page.text
    assert "mean of 7 2.50" in page.text and "mean of 7, log-probabilities 3.50" in page.text
    results["config"] = "none"
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "means are of" not in write(tmp_path)[1].text


def test_a_model_without_episodes_has_a_page_without_them(tmp_path):
    run = make_run(tmp_path / "run")
    found = {"found": 97.5, "low": 97.0, "high": 98.25, "n": 10_000, "mean": 0.725}
    config = {"model": {"crop": 28}, "training": {"keep_best": False}}
    results = json.loads((run / "results.json").read_text()) | {"config": config, "overlap": {"test": found}}
    (run / "results.json").write_text(json.dumps(results))
    for name in ("episodes.json", "episodes.gif"):
        (run / "plots" / name).unlink()
    _, page = write(run)
    for words in (
        "training images 1,536,000",
        "validation error (%) 8.50 100",
        "Boxes that overlap the true ones by more than a half",
        "test 97.50 97.00 to 98.25 10,000 72.50",
    ):
        assert words in page.text, words
    for words in ("Episodes", "episodes.json", "mean of", "Lowest validation error"):
        assert words not in page.text, words


def test_last_values_have_units(tmp_path):
    record = {
        "step": 200,
        "accuracy": 0.912734375,
        "learning_rate": 1.2582540875882842e-07,
        "validation_error": 6.533333333333333,
        "validation_greedy_error": 8.0,
        "sigma_px": 4.055557079315186,
        "loss": 0.8704490643739701,
        "seconds": 513.0687669580002,
    }
    (tmp_path / "metrics.jsonl").write_text(json.dumps(record) + "\n")
    _, page = write(tmp_path)
    for words in (
        "training accuracy (%) 91.27 200",
        "learning rate 1.26e-07 200",
        "validation error, mean of episodes (%) 6.53 200",
        "validation error, greedy (%) 8.00 200",
        "sigma (px) 4.056 200",
        "loss 0.8704 200",
        "training time (s) 513.1 200",
    ):
        assert words in page.text, words


def test_writing_again_replaces_the_report(tmp_path):
    first, _ = write(tmp_path)
    make_run(tmp_path / "other")
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "loss": 1.0}\n')
    second, page = write(tmp_path)
    assert first != second and "training steps 5" in page.text


def test_a_record_cut_short_by_a_kill_is_left_out(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 5, "loss": 1.5}\n{"step": 6, "lo')
    _, page = write(tmp_path)
    assert "loss 1.5 5" in page.text


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "{"),
        ("results.json", "[1]"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=re.escape(name)):
        run_page.write_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_no_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run_page.write_report(tmp_path / "nowhere")


def test_controls_have_labels_and_ids_are_unique(tmp_path):
    _, page = write(make_run(tmp_path / "run"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    labelled = {each["for"] for each in page.all("label") if "for" in each}
    for control in page.all("input") + page.all("select"):
        assert control["id"] in labelled or control["type"] == "checkbox"  # the checkbox stands inside its label
    assert labelled <= set(ids)
    for each in page.all("section"):
        assert each.get("aria-label") or each["aria-labelledby"] in ids
    assert {each["href"] for each in page.all("a")} <= {f"#{name}" for name in ids}


def test_the_script_finds_every_element_it_asks_for(tmp_path):
    _, page = write(make_run(tmp_path / "run"))
    wanted = set(re.findall(r"(?:find|getElementById)\(\"([\w-]+)\"\)", page.scripts[-1]))
    ids = {attributes.get("id") for _, attributes in page.elements}
    assert len(wanted) > 15 and wanted <= ids


def test_viewer_is_hidden_until_the_script_runs(tmp_path):
    _, page = write(make_run(tmp_path / "run"))
    hidden = [attributes for _, attributes in page.elements if "hidden" in attributes]
    names = [(each.get("id"), each["class"]) for each in hidden]
    assert names == [("viewer", "viewer"), ("reading", "reading"), (None, "control filter")]
    assert "needs JavaScript" in page.text


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (4.25, "4.2 s"),
        (59.4, "59.4 s"),
        (60.0, "1 min"),
        (200.0, "3 min 20 s"),
        (3600.0, "1 h"),
        (8123.4, "2 h 15 min"),
        (90000.0, "1 d 1 h"),
        (86400.0 * 2 + 30, "2 d"),
    ],
)
def test_duration(seconds, words):
    assert duration(seconds) == words


def test_flatten():
    nested = {"a": 1, "b": {"c": {"d": [2, 3]}, "e": {}}, "f": None}
    assert list(flatten(nested)) == [("a", 1), ("b.c.d", [2, 3]), ("b.e", {}), ("f", None)]


# Episodes


@pytest.mark.parametrize("sizes", [{}, {"glimpses": 1, "images": 1, "scales": 1}, {"channels": 3}])
def test_episodes_round_trip(tmp_path, sizes):
    episodes = make_episodes(**sizes)
    path = write_episodes(tmp_path / "plots" / "episodes.json", **episodes)
    again = read_episodes(path)
    np.testing.assert_array_equal(again.images, episodes["images"])
    np.testing.assert_array_equal(again.labels, episodes["labels"])
    np.testing.assert_allclose(again.locations, episodes["locations"], atol=0.5e-4)
    np.testing.assert_allclose(again.boxes, episodes["boxes"], atol=0.5e-2)
    np.testing.assert_allclose(again.glimpses, episodes["glimpses"], atol=0.5 / 255 + 1e-9)
    np.testing.assert_allclose(again.probabilities, episodes["probabilities"], atol=0.5e-4)
    np.testing.assert_allclose(again.rewards, episodes["rewards"], atol=0.5e-4)
    assert again.class_names == episodes["class_names"]
    assert again.glimpses.shape == episodes["glimpses"].shape
    assert [entry.name for entry in path.parent.iterdir()] == ["episodes.json"]


def test_episodes_keep_rewards_of_each_glimpse_and_unknown_ones(tmp_path):
    episodes = make_episodes()
    rewards = np.array([[0.5, 1.0], [0.25, np.nan], [1.0, -1.0]])
    path = write_episodes(tmp_path / "e.json", **{**episodes, "rewards": rewards})
    np.testing.assert_allclose(read_episodes(path).rewards, rewards)
    path = write_episodes(tmp_path / "e.json", **{**episodes, "rewards": None, "class_names": None})
    again = read_episodes(path)
    assert np.isnan(again.rewards).all() and again.rewards.shape == (2,)
    assert again.class_names == ["0", "1", "2"]
    json.loads(path.read_text(), parse_constant=pytest.fail)  # strict JSON: no NaN that a browser would reject
