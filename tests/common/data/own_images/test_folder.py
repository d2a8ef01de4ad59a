"""Folders of PNG and JPEG files: the images that are read, and their splits."""

import numpy as np
import pytest
from PIL import Image

from common.data.dataset import load_task
from common.data.own_images.folder import load_folder
from common.data.own_images.load import load_own_images
from common.data.recipes.base import Plain
from tests.common.data.own_images.picture_maker import fill_folder, save_picture


def _values(source):
    """Return the gray level of each image."""
    return source.images[:, 0, 0, 0].tolist()


def _only(path, **options):
    """Load a folder and return its only training image."""
    sources, _ = load_folder(path, **options)
    return sources["train"].images[0]


def _with_splits(root, array, suffix="png", **options):
    """Save the array as the only training image; validation and test are black."""
    save_picture(root / "train" / "a" / f"0.{suffix}", array, **options)
    for split in ("validation", "test"):
        save_picture(root / split / "a" / "0.png", np.zeros(np.shape(array)[:2]))


def test_classes_splits_and_order(tmp_path):
    fill_folder(tmp_path, ("dog", "cat", "Ant"))
    (tmp_path / "notes.txt").write_text("ignored")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "cat" / ".thumbnail").write_text("ignored")
    sources, class_names = load_folder(tmp_path, validation_fraction=0.2, test_fraction=0.3)
    assert class_names == ("Ant", "cat", "dog")
    assert list(sources) == ["train", "validation", "test"]
    for split, count in (("train", 5), ("validation", 2), ("test", 3)):
        source = sources[split]
        assert source.images.shape == (3 * count, 6, 8, 1) and source.images.dtype == np.uint8
        assert source.labels.tolist() == [0] * count + [1] * count + [2] * count
        assert source.labels.dtype == np.int32
        # dog, cat and Ant have the levels 0-9, 10-19 and 20-29.
        assert [2 - value // 10 for value in _values(source)] == source.labels.tolist()
    assert sorted(value for source in sources.values() for value in _values(source)) == list(range(30))


def test_choice_of_splits_depends_only_on_the_seed(tmp_path):
    fill_folder(tmp_path)
    chosen = [_values(load_folder(tmp_path, split_seed=seed).sources["test"]) for seed in (0, 0, 1, 2)]
    assert chosen[0] == chosen[1]
    assert len({tuple(levels) for levels in chosen}) == 3


def test_existing_splits_are_kept_and_missing_ones_taken_from_train(tmp_path):
    fill_folder(tmp_path / "train")
    fill_folder(tmp_path / "test", count=3, first=100)
    sources, class_names = load_folder(tmp_path, validation_fraction=0.2)
    assert class_names == ("cat", "dog")
    assert _values(sources["test"]) == list(range(100, 106))
    assert len(sources["validation"].labels) == 4
    assert sorted(_values(sources["train"]) + _values(sources["validation"])) == list(range(20))
    fill_folder(tmp_path / "validation", ("dog",), count=2, first=200)  # A class may be missing.
    sources, _ = load_folder(tmp_path)
    assert _values(sources["train"]) == list(range(20))
    assert sources["validation"].labels.tolist() == [1, 1]


def test_class_may_be_named_like_a_split(tmp_path):
    fill_folder(tmp_path, ("train", "plane"))
    assert load_folder(tmp_path).class_names == ("plane", "train")


@pytest.mark.parametrize(
    "train, validation, test",
    [("Train", "val", "Test"), ("training", "Valid", "testing"), ("TRAINING", "dev", "test"), ("train", "VAL", "TEST")],
)
def test_splits_may_have_other_usual_names(tmp_path, train, validation, test):
    for first, name in ((0, train), (100, validation), (200, test)):
        fill_folder(tmp_path / name, count=2, first=first)
    lines = []
    sources, _ = load_folder(tmp_path, report=lines.append)
    assert [_values(sources[split])[0] for split in ("train", "validation", "test")] == [0, 100, 200]
    counts = ", ".join(
        f"{split} 4" + f" (from {name})" * (split != name)
        for split, name in (("train", train), ("validation", validation), ("test", test))
    )
    assert lines == [f"images: {str(tmp_path)!r} has 2 classes; {counts}; 6x8x1"]


def test_line_about_what_was_loaded(tmp_path):
    fill_folder(tmp_path)
    lines = []
    load_own_images(tmp_path, resize="4x5", grayscale=False, report=lines.append)
    counts = "train 16, validation 2 (from train), test 2 (from train)"
    assert lines == [f"images: {str(tmp_path)!r} has 2 classes; {counts}; 4x5x3"]


@pytest.mark.parametrize("names", [("val", "plane"), ("Test", "dev", "plane"), ("training", "train", "plane")])
def test_classes_may_be_named_like_splits(tmp_path, names):
    fill_folder(tmp_path, names)
    assert load_folder(tmp_path).class_names == tuple(sorted(names))


def test_one_image_in_colour_makes_all_rgb(tmp_path):
    fill_folder(tmp_path)
    save_picture(tmp_path / "dog" / "colour.png", np.full((6, 8, 3), (10, 20, 250)))
    sources, _ = load_folder(tmp_path)
    images = np.concatenate([source.images for source in sources.values()])
    assert images.shape == (21, 6, 8, 3)
    assert [10, 20, 250] in images[:, 0, 0].tolist() and [3, 3, 3] in images[:, 0, 0].tolist()
    sources, _ = load_folder(tmp_path, grayscale=True)
    images = np.concatenate([source.images for source in sources.values()])
    assert images.shape == (21, 6, 8, 1)
    luma = round(0.299 * 10 + 0.587 * 20 + 0.114 * 250)
    assert abs(int(images.max()) - luma) <= 1


def test_grayscale_false_repeats_the_gray_channel(tmp_path):
    _with_splits(tmp_path, np.full((2, 3), 7))
    image = _only(tmp_path, grayscale=False)
    assert image.shape == (2, 3, 3) and (image == 7).all()


def test_jpeg_is_read(tmp_path):
    array = np.linspace(0, 255, 16 * 16).reshape(16, 16).astype(np.uint8)
    _with_splits(tmp_path, array, "jpg", quality=95)
    assert np.abs(_only(tmp_path)[..., 0].astype(int) - array).max() <= 8


def test_orientation_tag_rotates_the_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # Rotate by 90 degrees clockwise.
    array = np.arange(6).reshape(2, 3)
    _with_splits(tmp_path, array, exif=exif)
    for split in ("validation", "test"):
        save_picture(tmp_path / split / "a" / "0.png", np.zeros((3, 2)))
    np.testing.assert_array_equal(_only(tmp_path)[..., 0], np.rot90(array, -1))


def test_sixteen_bits_become_eight(tmp_path):
    _with_splits(tmp_path, np.zeros((1, 4)))
    values = np.array([[0, 257, 32_768, 65_535]], np.uint16)
    Image.fromarray(values).save(tmp_path / "train" / "a" / "0.png")
    assert _only(tmp_path).ravel().tolist() == [0, 1, 128, 255]


def test_transparency_is_blended_with_black(tmp_path):
    _with_splits(tmp_path, np.array([[[200, 100, 0, 255], [200, 100, 0, 0]]]))
    assert _only(tmp_path).tolist() == [[[200, 100, 0], [0, 0, 0]]]


def test_palette_becomes_rgb(tmp_path):
    _with_splits(tmp_path, np.zeros((1, 2)))
    picture = Image.new("P", (2, 1))
    picture.putpalette([0, 0, 0, 9, 8, 7])
    picture.putdata([0, 1])
    picture.save(tmp_path / "train" / "a" / "0.png")
    assert _only(tmp_path).tolist() == [[[0, 0, 0], [9, 8, 7]]]


@pytest.mark.parametrize(("resize", "shape"), [(5, (5, 5)), ((4, 9), (4, 9))])
def test_resize_makes_different_sizes_equal(tmp_path, resize, shape):
    fill_folder(tmp_path)
    save_picture(tmp_path / "cat" / "wide.png", np.full((3, 40), 99))
    sources, _ = load_folder(tmp_path, resize=resize, resize_mode="stretch")
    images = np.concatenate([source.images for source in sources.values()])
    assert images.shape == (21, *shape, 1)
    # A constant image keeps its level.
    assert sorted(images[:, 0, 0, 0].tolist()) == [*range(20), 99] and (images == images[:, :1, :1]).all()


def test_tasks_are_made_of_a_folder(tmp_path):
    fill_folder(tmp_path, size=(12, 12))
    data = load_task("images", data=tmp_path)
    assert (data.height, data.width, data.channels, data.num_classes) == (12, 12, 1, 2)
    assert data.class_names == ("cat", "dog") and data.recipe == Plain()
    assert (len(data.train.labels), len(data.validation.labels), len(data.test.labels)) == (16, 2, 2)
    data = load_task("cluttered60", data=str(tmp_path), resize=20, grayscale=False, split_seed=1)
    assert data.validation.images.shape == (2, 60, 60, 3) and data.train.images.shape == (16, 20, 20, 3)
    with pytest.raises(ValueError, match="70x70 pixels.*at most 60x60"):
        load_task("cluttered60", data=str(tmp_path), resize=70)


def test_hidden_links_and_links_to_folders_are_fine(tmp_path):
    fill_folder(tmp_path / "own", ("cat",))
    fill_folder(tmp_path / "elsewhere", ("kitten",), first=50)
    (tmp_path / "own" / "dog").symlink_to(tmp_path / "elsewhere" / "kitten")
    (tmp_path / "own" / ".trash").symlink_to("gone")
    assert load_folder(tmp_path / "own").class_names == ("cat", "dog")
