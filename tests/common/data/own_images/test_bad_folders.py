"""Folders that cannot be loaded: the messages."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from common import user_files
from common.data.own_images import folder
from common.data.own_images.folder import load_folder
from common.data.own_images.load import load_own_images
from tests.common.data.own_images.picture_maker import fill_folder, save_picture


def _truncated(root):
    path = root / "dog" / "cut.png"
    save_picture(path, np.random.default_rng(0).integers(0, 256, (60, 80)))
    path.write_bytes(path.read_bytes()[:1000])


def _truncated_jpeg(root):
    path = root / "dog" / "cut.jpg"
    save_picture(path, np.random.default_rng(0).integers(0, 256, (60, 80)))
    path.write_bytes(path.read_bytes()[:1000])


def _two_class_names(root):
    (root / "train").mkdir()
    for name in ("cat", "dog"):
        (root / name).rename(root / "train" / name)


def _stray_split_class(root):
    _two_class_names(root)
    save_picture(root / "test" / "cow" / "0.png", np.zeros((6, 8)))


def _stray_folder(root):
    _two_class_names(root)
    (root / "extra").mkdir()


def _flat_splits(root):
    (root / "cat").rename(root / "train")
    (root / "dog").rename(root / "test")


def _mistyped_split(root):
    _two_class_names(root)
    (root / "train").rename(root / "trian")


def _two_spellings(root):
    _two_class_names(root)
    fill_folder(root / "val")
    fill_folder(root / "Valid")


def _many_folders(root):
    _two_class_names(root)
    for i in range(500):
        (root / f"extra{i:03}").mkdir()


def _many_classes(root):
    for i in range(500):
        save_picture(root / "train" / f"class{i:03}" / "0.png", np.full((6, 8), 9))
    save_picture(root / "test" / "cat" / "0.png", np.zeros((6, 8)))
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
        save_picture(path, np.eye(6, 8))


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
        (lambda root: save_picture(root / "dog" / "a.gif", np.zeros((6, 8))), "dog/a.gif' is not a readable"),
        (
            lambda root: save_picture(root / "dog" / "a.png", np.zeros((6, 9))),
            "dog/a.png' is 6x9.*cat/00.png' is 6x8",
        ),
        (lambda root: (root / "cow").mkdir(), "cow' holds no images"),
        (lambda root: (root / "cat" / "more").mkdir(), "cat/more' is not a readable PNG or JPEG"),
        (lambda root: fill_folder(root, ("cow",), count=2), "class 'cow'.*has 2 images: at least 3 are needed"),
        (_stray_split_class, "test/cow' is not a class of train: expected cat, dog$"),
        (_stray_folder, "holds the folders extra, train: expected train, and optionally validation and test"),
        (_flat_splits, "train' holds no classes"),
        (_no_train, "holds the folders test: expected train"),
        (_mistyped_split, "trian/cat' is not a readable .* a folder; expected FOLDER/CLASS/PICTURE, or FOLDER/train/"),
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
@pytest.mark.fault("odd photos and arrays", "named")
def test_bad_content_is_named(tmp_path, spoil, quoted):
    fill_folder(tmp_path)
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
    fill_folder(tmp_path)
    with pytest.raises(ValueError, match=quoted):
        load_own_images(tmp_path, **options)


def test_bad_paths_are_named(tmp_path):
    with pytest.raises(ValueError, match="holds no classes"):
        load_folder(tmp_path)
    (tmp_path / "link").symlink_to("absent")
    for path in (tmp_path / "absent", tmp_path / "link", ""):
        with pytest.raises(ValueError, match=f"no folder and no file at '{path}'; data must be a folder"):
            load_own_images(path)


def test_pictures_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    fill_folder(tmp_path)
    monkeypatch.setattr(user_files, "physical_memory", lambda: 2**20)
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
    fill_folder(tmp_path, count=count)
    with pytest.raises(ValueError, match=message) as error:
        load_folder(tmp_path, **options)
    needed = int(str(error.value).partition("at least ")[2].partition(" ")[0])
    fill_folder(tmp_path, count=needed)
    assert load_folder(tmp_path, **options).sources["train"].labels.tolist() == [0, 1]


def test_small_class_with_an_existing_test_split(tmp_path):
    fill_folder(tmp_path / "train", count=1)
    fill_folder(tmp_path / "test", count=1)
    with pytest.raises(ValueError, match=r"at least 2 are needed, .* training \(validation_fraction 0.1\)$"):
        load_folder(tmp_path)


@pytest.mark.parametrize("options", [{"validation_fraction": 0.0}, {"test_fraction": 1.0}, {"resize": 3000}])
def test_bad_options_are_refused_before_any_image_is_read(tmp_path, options):
    fill_folder(tmp_path)
    (tmp_path / "cat" / "00.png").write_text("no image")
    with pytest.raises(ValueError, match=next(iter(options))):
        load_folder(tmp_path, **options)
