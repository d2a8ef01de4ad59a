"""The splits of SVHN, and the memory that loading takes."""

import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.array_cache import read_arrays
from common.data.svhn.dataset import SvhnConfig, choose_validation, load_parts, load_svhn
from common.data.svhn.files import Part
from common.data.svhn.records import Record
from tests.common.data.svhn.svhn_maker import make_part, make_parts, make_picture, some_records

SMALL = SvhnConfig(size=16)


@pytest.fixture
def folder(tmp_path):
    """A folder with train, extra and test of a few numbers."""
    return make_parts(tmp_path, {"train": 12, "extra": 18, "test": 5})


def test_removing_one_number_moves_at_most_one_other(tmp_path):
    records, extra = some_records(60), some_records(60, seed=1)
    pictures = {name: make_picture(i) for i, (name, _) in enumerate(records)}
    make_part(tmp_path, "extra", extra, {name: make_picture(100 + i) for i, (name, _) in enumerate(extra)})
    make_part(tmp_path, "test", some_records(1))
    before = None
    # Another order, a record without digits, one without a picture, and one removed.
    for changed, present in (
        (records, pictures),
        (records[::-1], pictures),
        ([*records[:30], ("31.png", []), *records[31:]], pictures),
        (records, {name: pictures[name] for name in pictures if name != "50.png"}),
        (records[1:], pictures),
    ):
        make_part(tmp_path, "train", changed, present)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sources = load_svhn(tmp_path, SMALL)
        chosen, rest = ({image.tobytes() for image in sources[split].images} for split in ("validation", "train"))
        before = before or (chosen, rest)
        assert len(chosen | rest) >= 119 and len(chosen) in (11, 12)
        assert len(chosen & before[1]) <= 1 and len(rest & before[0]) <= 1


def test_validation_is_the_same_for_all_crops(folder):
    labels = [load_svhn(folder, SvhnConfig(size, growth))["train"].labels for size, growth in ((16, 1.3), (20, 2.6))]
    np.testing.assert_array_equal(*labels)


def test_validation_is_spread_evenly_over_parts_and_seeds():
    names = [f"{part}/{i}.png" for part, count in (("train", 3_000), ("extra", 17_000)) for i in range(count)]
    first, other = (choose_validation(names, 2_000, seed) for seed in (8, 9))
    # Within five standard deviations of 300 and 200.
    assert len(first) == 2_000 and abs(sum(name.startswith("train") for name in first) - 300) < 5 * 16
    assert abs(len(first & other) - 200) < 5 * 13


def test_pictures_of_training_images_are_not_read_if_not_needed(folder, tmp_path, monkeypatch):
    expected, reads = load_svhn(folder, SMALL), []
    pictures = Part.pictures

    def record_reads(part, records, skipped):
        reads.append((part.name, len(records)))
        return pictures(part, records, skipped)

    monkeypatch.setattr(Part, "pictures", record_reads)
    for cache in (None, tmp_path / "cache"):
        loaded = load_svhn(folder, SMALL, cache, train=False)
        assert sum(count for name, count in reads if name != "test") == 3
        for split in ("validation", "test"):
            np.testing.assert_array_equal(loaded[split].images, expected[split].images)
            np.testing.assert_array_equal(loaded[split].labels, expected[split].labels)
        assert loaded["train"].images.shape == (1, 16, 16, 3) and loaded["train"].labels.tolist() == [[10] * 6]
        assert not loaded["train"].images.any()
        reads.clear()
    # Both kinds of loading share the cache.
    assert len(load_svhn(folder, SMALL, tmp_path / "cache")["train"].labels) == 27
    assert sum(count for _, count in reads) == 27
    reads.clear()
    cached = []
    monkeypatch.setattr(
        "common.data.svhn.dataset.read_arrays", lambda path: cached.append(path.name) or read_arrays(path)
    )
    load_svhn(folder, SMALL, tmp_path / "cache", train=False)
    assert not reads and [name.split("-")[1] for name in cached] == ["validation", "test"]


def test_loading_holds_at_most_one_copy_of_the_images(monkeypatch):
    counts = {"train": 300, "extra": 900, "test": 10}
    box = np.array([[1, 1, 4, 4]], np.float32)

    def records(part, *_):
        return [Record(f"{i}.png", (i % 10,), box) for i in range(counts[part.name])]

    def pictures(part, records, skipped):
        for record in records[:-1]:  # The last one of each part of a split has no picture.
            number = int(record.name[:-4])
            green = number // 256 + 100 * (part.name == "extra")
            yield record, Image.new("RGB", (5, 5), (number % 256, green, *record.digits))

    monkeypatch.setattr(Part, "records", records)
    monkeypatch.setattr(Part, "pictures", pictures)
    parts = [Part(name, Path(name)) for name in counts]
    tracemalloc.start()
    sources = load_parts(parts, SvhnConfig(size=80), num_validation=100)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.2 * 1210 * 80 * 80 * 3
    assert {split: len(source.labels) for split, source in sources.items()} == {
        "train": 1100 - 2,
        "validation": 100 - 2,
        "test": 9,
    }
    for source in sources.values():
        assert (source.images == source.images[:, :1, :1]).all()
        red, green, blue = source.images[:, 0, 0].astype(int).T
        assert (blue == source.labels[:, 0]).all()
        # The order is that of the parts and their records.
        assert (np.diff(256 * green + red) > 0).all()
