"""Folders of PNG and JPEG files: the images that are read, their splits, and the errors."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from common.data.dataset import load_task
from common.data.own_images import files, folder
from common.data.own_images.folder import load_folder
from common.data.own_images.load import load_own_images
from common.data.recipes.base import Plain


def _save(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)


def _fill(root, classes=("cat", "dog"), count=10, size=(6, 8), first=0):
    """Save gray images of one level each, so that every image is distinguishable."""
    for label, name in enumerate(classes):
        for i in range(count):
            _save(root / name / f"{i:02}.png", np.full(size, first + label * count + i))


def _values(source):
    """Return the gray level of each image."""
    return source.images[:, 0, 0, 0].tolist()


def _only(path, **options):
    """Load a folder and return its only training image."""
    sources, _ = load_folder(path, **options)
    return sources["train"].images[0]


def _with_splits(root, array, suffix="png", **options):
    """Save the array as the only training image; validation and test are black."""
    _save(root / "train" / "a" / f"0.{suffix}", array, **options)
    for split in ("validation", "test"):
        _save(root / split / "a" / "0.png", np.zeros(np.shape(array)[:2]))


def test_classes_splits_and_order(tmp_path):
    _fill(tmp_path, ("dog", "cat", "Ant"))
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
    _fill(tmp_path)
    chosen = [_values(load_folder(tmp_path, split_seed=seed).sources["test"]) for seed in (0, 0, 1, 2)]
    assert chosen[0] == chosen[1]
    assert len({tuple(levels) for levels in chosen}) == 3


def test_existing_splits_are_kept_and_missing_ones_taken_from_train(tmp_path):
    _fill(tmp_path / "train")
    _fill(tmp_path / "test", count=3, first=100)
    sources, class_names = load_folder(tmp_path, validation_fraction=0.2)
    assert class_names == ("cat", "dog")
    assert _values(sources["test"]) == list(range(100, 106))
    assert len(sources["validation"].labels) == 4
    assert sorted(_values(sources["train"]) + _values(sources["validation"])) == list(range(20))
    _fill(tmp_path / "validation", ("dog",), count=2, first=200)  # A class may be missing.
    sources, _ = load_folder(tmp_path)
    assert _values(sources["train"]) == list(range(20))
    assert sources["validation"].labels.tolist() == [1, 1]


def test_class_may_be_named_like_a_split(tmp_path):
    _fill(tmp_path, ("train", "plane"))
    assert load_folder(tmp_path).class_names == ("plane", "train")


@pytest.mark.parametrize(
    "train, validation, test",
    [("Train", "val", "Test"), ("training", "Valid", "testing"), ("TRAINING", "dev", "test"), ("train", "VAL", "TEST")],
)
def test_splits_may_have_other_usual_names(tmp_path, train, validation, test):
    for first, name in ((0, train), (100, validation), (200, test)):
        _fill(tmp_path / name, count=2, first=first)
    lines = []
    sources, _ = load_folder(tmp_path, report=lines.append)
    assert [_values(sources[split])[0] for split in ("train", "validation", "test")] == [0, 100, 200]
    counts = ", ".join(
        f"{split} 4" + f" (from {name})" * (split != name)
        for split, name in (("train", train), ("validation", validation), ("test", test))
    )
    assert lines == [f"{str(tmp_path)!r}: 2 classes; {counts}; 6x8x1"]


def test_line_about_what_was_loaded(tmp_path):
    _fill(tmp_path)
    lines = []
    load_own_images(tmp_path, resize="4x5", grayscale=False, report=lines.append)
    counts = "train 16, validation 2 (from train), test 2 (from train)"
    assert lines == [f"{str(tmp_path)!r}: 2 classes; {counts}; 4x5x3"]


@pytest.mark.parametrize("names", [("val", "plane"), ("Test", "dev", "plane"), ("training", "train", "plane")])
def test_classes_may_be_named_like_splits(tmp_path, names):
    _fill(tmp_path, names)
    assert load_folder(tmp_path).class_names == tuple(sorted(names))


def test_one_image_in_colour_makes_all_rgb(tmp_path):
    _fill(tmp_path)
    _save(tmp_path / "dog" / "colour.png", np.full((6, 8, 3), (10, 20, 250)))
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
        _save(tmp_path / split / "a" / "0.png", np.zeros((3, 2)))
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
    _fill(tmp_path)
    _save(tmp_path / "cat" / "wide.png", np.full((3, 40), 99))
    sources, _ = load_folder(tmp_path, resize=resize, resize_mode="stretch")
    images = np.concatenate([source.images for source in sources.values()])
    assert images.shape == (21, *shape, 1)
    # A constant image keeps its level.
    assert sorted(images[:, 0, 0, 0].tolist()) == [*range(20), 99] and (images == images[:, :1, :1]).all()


def test_tasks_are_made_of_a_folder(tmp_path):
    _fill(tmp_path, size=(12, 12))
    data = load_task("images", data=tmp_path)
    assert (data.height, data.width, data.channels, data.num_classes) == (12, 12, 1, 2)
    assert data.class_names == ("cat", "dog") and data.recipe == Plain()
    assert (len(data.train.labels), len(data.validation.labels), len(data.test.labels)) == (16, 2, 2)
    data = load_task("cluttered60", data=str(tmp_path), resize=20, grayscale=False, split_seed=1)
    assert data.validation.images.shape == (2, 60, 60, 3) and data.train.images.shape == (16, 20, 20, 3)
    with pytest.raises(ValueError, match="70x70 pixels.*at most 60x60"):
        load_task("cluttered60", data=str(tmp_path), resize=70)


def _truncated(root):
    path = root / "dog" / "cut.png"
    _save(path, np.random.default_rng(0).integers(0, 256, (60, 80)))
    path.write_bytes(path.read_bytes()[:1000])


def _truncated_jpeg(root):
    path = root / "dog" / "cut.jpg"
    _save(path, np.random.default_rng(0).integers(0, 256, (60, 80)))
    path.write_bytes(path.read_bytes()[:1000])


def _two_class_names(root):
    (root / "train").mkdir()
    for name in ("cat", "dog"):
        (root / name).rename(root / "train" / name)


def _stray_split_class(root):
    _two_class_names(root)
    _save(root / "test" / "cow" / "0.png", np.zeros((6, 8)))


def _stray_folder(root):
    _two_class_names(root)
    (root / "extra").mkdir()


def _flat_splits(root):
    (root / "cat").rename(root / "train")
    (root / "dog").rename(root / "test")


def _two_spellings(root):
    _two_class_names(root)
    _fill(root / "val")
    _fill(root / "Valid")


def _many_folders(root):
    _two_class_names(root)
    for i in range(500):
        (root / f"extra{i:03}").mkdir()


def _many_classes(root):
    for i in range(500):
        _save(root / "train" / f"class{i:03}" / "0.png", np.full((6, 8), 9))
    _save(root / "test" / "cat" / "0.png", np.zeros((6, 8)))
    for name in ("cat", "dog"):
        shutil.rmtree(root / name)


def _link(*names):
    def spoil(root):
        (root.joinpath(*names)).symlink_to("/mnt/gone")

    return spoil


def _linked_split(root):
    _two_class_names(root)
    (root / "test").symlink_to("gone")


def _bits(root):
    for path in root.rglob("*.png"):
        _save(path, np.eye(6, 8))


def _sixteen_bits(root):
    for path in root.rglob("*.png"):
        Image.fromarray(np.full((6, 8), 200, np.uint16)).save(path)


def _no_train(root):
    _two_class_names(root)
    (root / "train").rename(root / "test")


@pytest.mark.parametrize(
    ("spoil", "quoted"),
    [
        (_truncated, "dog/cut.png' is not a readable PNG or JPEG"),
        (_truncated_jpeg, "dog/cut.jpg' is not a readable PNG or JPEG"),
        (
            lambda root: (root / "dog" / "a.png").write_text("no image"),
            "dog/a.png' is not a readable PNG or JPEG",
        ),
        (lambda root: (root / "dog" / "a.png").write_bytes(b""), "dog/a.png' is not a readable PNG or JPEG"),
        (lambda root: _save(root / "dog" / "a.gif", np.zeros((6, 8))), "dog/a.gif' is not a readable"),
        (
            lambda root: _save(root / "dog" / "a.png", np.zeros((6, 9))),
            "dog/a.png' is 6x9.*cat/00.png' is 6x8",
        ),
        (lambda root: (root / "cow").mkdir(), "cow' holds no images"),
        (lambda root: (root / "cat" / "more").mkdir(), "cat/more' is not a readable PNG or JPEG"),
        (lambda root: _fill(root, ("cow",), count=2), "class 'cow'.*has 2 images: at least 3 are needed"),
        (_stray_split_class, "test/cow' is not a class of train: expected cat, dog$"),
        (_stray_folder, "holds the folders extra, train: expected train, and optionally validation and test"),
        (_flat_splits, "train' holds no classes"),
        (_no_train, "holds the folders test: expected train"),
        (_two_spellings, "holds the folders Valid and val, which all mean validation: keep one$"),
        (_many_folders, "holds the folders extra000, .*, extra005 and 495 more: expected train, and optionally"),
        (_many_classes, "test/cat' is not a class of train: expected class000, .*, class005 and 494 more$"),
        (_link("cow"), "cow' cannot be read: it is a link to '/mnt/gone', which does not exist$"),
        (_link("cat", "a.png"), "a.png' is not a readable .*: it is a link to '/mnt/gone', which does not exist$"),
        (_linked_split, "test' cannot be read: it is a link to 'gone', which does not exist$"),
        (lambda root: os.mkfifo(root / "cat" / "pipe"), "pipe' is not a readable .*: it is no regular file$"),
        (_bits, "the pictures in '.*' hold only 0 and 1, which is black: multiply by 255"),
        (_sixteen_bits, "the pictures in '.*' hold only 0 and 1, which is black: multiply by 255"),
    ],
)
def test_bad_content_is_named(tmp_path, spoil, quoted):
    _fill(tmp_path)
    spoil(tmp_path)
    with pytest.raises(ValueError, match=quoted) as error:
        load_folder(tmp_path)
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("options", "quoted"),
    [
        ({"resize": 0}, "^resize 0 "),
        ({"validation_fraction": 0.0}, "^validation_fraction 0.0 and test_fraction 0.1: must be more than 0, and less"),
        (
            {"test_fraction": 1.5},
            "^validation_fraction 0.1 and test_fraction 1.5: must be more than 0, and less",
        ),
        ({"validation_fraction": 0.5, "test_fraction": 0.5}, "^validation_fraction 0.5 and test_fraction 0.5: must be"),
        ({"validation_fraction": 0.49, "test_fraction": 0.5}, "'cat'.*has 10 images: at least [0-9]+ are needed, so"),
    ],
)
def test_bad_options_are_quoted(tmp_path, options, quoted):
    _fill(tmp_path)
    with pytest.raises(ValueError, match=quoted):
        load_own_images(tmp_path, **options)


def test_bad_paths_are_named(tmp_path):
    with pytest.raises(ValueError, match="holds no classes"):
        load_folder(tmp_path)
    (tmp_path / "link").symlink_to("absent")
    for path in (tmp_path / "absent", tmp_path / "link", ""):
        with pytest.raises(ValueError, match=f"no folder and no file at '{path}'; data must be a folder"):
            load_own_images(path)


def test_hidden_links_and_links_to_folders_are_fine(tmp_path):
    _fill(tmp_path / "own", ("cat",))
    _fill(tmp_path / "elsewhere", ("kitten",), first=50)
    (tmp_path / "own" / "dog").symlink_to(tmp_path / "elsewhere" / "kitten")
    (tmp_path / "own" / ".trash").symlink_to("gone")
    assert load_folder(tmp_path / "own").class_names == ("cat", "dog")


def test_pictures_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    _fill(tmp_path)
    monkeypatch.setattr(files, "physical_memory", lambda: 2**20)
    load_folder(tmp_path, resize=100)  # 20 pictures, twice: 0.4 MB.
    monkeypatch.setattr(folder, "_check_sizes", None)
    with pytest.raises(ValueError, match=r"' needs 0\.\d GiB of memory, but this machine has 0\.0 GiB: give fewer or"):
        load_folder(tmp_path, resize=2000)


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (
            1,
            {},
            r"has 1 image: at least 3 are needed, .* training \(validation_fraction 0.1 and test",
        ),
        (2, {}, "has 2 images: at least 3 are needed"),
        (4, {"validation_fraction": 0.45, "test_fraction": 0.45}, "has 4 images: at least 5 are needed"),
    ],
)
def test_error_of_a_small_class_says_how_many_images_are_needed(tmp_path, count, options, message):
    _fill(tmp_path, count=count)
    with pytest.raises(ValueError, match=message) as error:
        load_folder(tmp_path, **options)
    needed = int(str(error.value).partition("at least ")[2].partition(" ")[0])
    _fill(tmp_path, count=needed)
    assert load_folder(tmp_path, **options).sources["train"].labels.tolist() == [0, 1]


def test_small_class_with_an_existing_test_split(tmp_path):
    _fill(tmp_path / "train", count=1)
    _fill(tmp_path / "test", count=1)
    with pytest.raises(ValueError, match=r"at least 2 are needed, .* training \(validation_fraction 0.1\)$"):
        load_folder(tmp_path)


@pytest.mark.parametrize("options", [{"validation_fraction": 0.0}, {"test_fraction": 1.0}, {"resize": 3000}])
def test_bad_options_are_refused_before_any_image_is_read(tmp_path, options):
    _fill(tmp_path)
    (tmp_path / "cat" / "00.png").write_text("no image")
    with pytest.raises(ValueError, match=next(iter(options))):
        load_folder(tmp_path, **options)
