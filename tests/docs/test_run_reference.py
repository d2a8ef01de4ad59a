"""The pages on metrics and on the run directory name everything that runs leave."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from experiments import cnn, dram, ram
from tests.docs.pages import DOCS

METRICS = (DOCS / "reference" / "metrics.md").read_text()
FOLDER = (DOCS / "reference" / "run_directory.md").read_text()
SMALL = (
    "--data images.npz --steps 2 --batch-size 8 --log-every 1 --evaluate-every 2 --eval-episodes 1"
    " --validation-episodes 1 --run-dir run"
)
AGENT = f"--core rnn --num-glimpses 2 --glimpse-size 4 --num-scales 1 --core-hidden 8 --glimpse-hidden 8 {SMALL}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """An empty folder with images in three classes."""
    images = np.random.default_rng(0).integers(0, 255, (60, 12, 12), np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(60) % 3)
    monkeypatch.chdir(tmp_path)


def documented(text):
    """Return the code spans in the first column of the tables of a page."""
    rows = re.findall(r"^\| (`.*?) \|", text, flags=re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def check_metrics():
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    results = json.loads(Path("run/results.json").read_text())
    assert {key for line in lines for key in line} | set(results) <= documented(METRICS)


def test_every_metric_and_every_file_of_an_agent_is_explained():
    ram.main(["images", *f"{AGENT} --replicates 2 --surrogate ppo_clip --passes 2".split()])
    check_metrics()
    files = {path.relative_to("run").as_posix() for path in Path("run").rglob("*") if path.is_file()}
    names = documented(FOLDER)
    for file in files:
        top = f"{file.split('/')[0]}/"
        plot = file.removeprefix("plots/") if top == "plots/" else file
        assert plot in names or any(name.startswith(top) and top != "plots/" for name in names), file
    assert "kl" in Path("run/metrics.jsonl").read_text()


def test_every_metric_of_a_classifier_is_explained():
    cnn.main(["images", "--network", "fc", "--units", "8", "--no-plots", *SMALL.split()])
    check_metrics()


def test_every_metric_of_a_dram_is_explained():
    networks = "--glimpse-network dense --conv-channels 64 --lower-hidden 8 --upper-hidden 8 --context-size 8"
    retina = "--glimpse-size 4 --num-scales 1 --glimpses-per-target 2 --core rnn --optimizer adam"
    dram.main(["pairs100", *f"--task images {retina} {networks} --no-plots {SMALL}".split()])
    check_metrics()
