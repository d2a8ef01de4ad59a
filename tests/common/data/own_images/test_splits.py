"""The choice of missing splits: it depends on content and seed, and changes little when images are added or removed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from common.data.own_images.arrays import load_npz
from common.data.own_images.folder import load_folder
from common.data.own_images.splits import complete_splits
from common.data.source import Source

RNG = np.random.default_rng(3)
CONTENTS = [RNG.bytes(20) for _ in range(101)]


def _divide(contents, seed=0, **fractions):
    """Return the splits of each content."""
    images = np.arange(len(contents), dtype=np.uint8).reshape(-1, 1, 1, 1)
    sources = {"train": Source(images, np.zeros(len(contents), np.int32))}
    options = {"validation_fraction": 0.1, "test_fraction": 0.2, "seed": seed} | fractions
    complete = complete_splits(sources, contents.__getitem__, ("a",), Path("here"), **options)
    splits_of = {}
    for split, source in complete.items():
        for image in source.images.ravel():
            splits_of.setdefault(contents[image], []).append(split)
    assert sum(map(len, splits_of.values())) == len(contents)
    return {content: tuple(splits) for content, splits in splits_of.items()}


@pytest.mark.parametrize("count", [3, 20, 30, 95, 100])
def test_adding_or_removing_one_image_moves_few_others(count):
    for extra in CONTENTS[:60]:
        kept = [content for content in CONTENTS if content != extra][:count]
        without, added = _divide(kept), _divide([extra, *kept])
        moves = [(without[content], added[content]) for content in kept if without[content] != added[content]]
        assert len(moves) <= 2
        assert all(("train",) in move for move in moves)


def test_choice_depends_on_the_seed_and_not_on_the_order():
    assert _divide(CONTENTS) == _divide(CONTENTS[::-1])
    other = _divide(CONTENTS, seed=1)
    both = sum(splits == other[content] == ("test",) for content, splits in _divide(CONTENTS).items())
    # Each choice takes 20 of 101, so 4 are expected in both.
    assert both < 12
    assert _divide(CONTENTS, seed=12) != _divide(CONTENTS, seed=1)


def test_splits_have_their_fractions():
    splits = list(_divide(CONTENTS).values())
    assert [splits.count((split,)) for split in ("train", "validation", "test")] == [71, 10, 20]


@pytest.mark.parametrize("seed", range(5))
def test_identical_images_stay_in_one_split(seed):
    contents = [content for content in CONTENTS[:8] for _ in range(5)]
    # A split of eight images would take all five of one content and three of another.
    splits = list(_divide(contents, seed, validation_fraction=0.2).values())
    assert all(len(set(some)) == 1 for some in splits)
    assert sorted(some[0] for some in splits) == ["test"] + ["train"] * 6 + ["validation"]


def test_no_split_is_empty_where_all_images_are_identical():
    (splits,) = _divide([b"same"] * 10).values()
    assert sorted(splits) == ["test"] * 2 + ["train"] * 7 + ["validation"]


def _chosen(sources):
    """Return the split of each image, by its highest level."""
    return {int(image.max()): split for split, source in sources.items() for image in source.images}


def test_choice_does_not_depend_on_size_colour_and_name_of_the_files(tmp_path):
    for i in range(40):
        path = tmp_path / "a" / f"{i:02}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((6, 8), 5 + i, np.uint8)).save(path)
    first = _chosen(load_folder(tmp_path).sources)
    assert _chosen(load_folder(tmp_path, resize=3, grayscale=False).sources) == first
    for i in range(40):
        (tmp_path / "a" / f"{i:02}.png").rename(tmp_path / "a" / f"{97 * (i + 1) % 41}-new.png")
    assert _chosen(load_folder(tmp_path).sources) == first
    Image.fromarray(np.full((6, 8, 3), (250, 200, 100), np.uint8)).save(tmp_path / "a" / "colour.png")
    second = _chosen(load_folder(tmp_path).sources)
    assert sum(second[level] != split for level, split in first.items()) <= 2


def test_choice_does_not_depend_on_size_and_colour_of_arrays(tmp_path):
    images = np.broadcast_to(np.arange(5, 45, dtype=np.uint8)[:, None, None], (40, 6, 8))
    np.savez(tmp_path / "own.npz", images=images, labels=np.zeros(40, np.uint8))
    first = _chosen(load_npz(tmp_path / "own.npz").sources)
    assert _chosen(load_npz(tmp_path / "own.npz", resize=3, grayscale=False).sources) == first
    assert sorted(first) == list(range(5, 45))
