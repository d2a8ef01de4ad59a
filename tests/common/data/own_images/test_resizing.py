"""Sizes as they are typed, and the three ways to treat the aspect ratio, against Pillow."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from common.data.own_images.arrays import load_npz
from common.data.own_images.folder import load_folder
from common.data.own_images.resizing import check_size, resize_picture

BILINEAR = Image.Resampling.BILINEAR
MODES = ("pad", "crop", "stretch")


def _picture(rows, columns, mode="L"):
    shape = (rows, columns, 3) if mode == "RGB" else (rows, columns)
    return Image.fromarray(np.random.default_rng(rows * columns).integers(1, 256, shape, dtype=np.uint8))


@pytest.mark.parametrize(
    ("resize", "size"),
    [(None, None), (64, (64, 64)), ("64", (64, 64)), ("48x64", (48, 64)), ((3, 9), (3, 9)), ("2048", (2048, 2048))],
)
def test_sizes(resize, size):
    assert check_size(resize) == size


@pytest.mark.parametrize("resize", [0, -5, 2049, (5, -1), (5, 3000), "0x5", "48x", "x48", "48x64x3", "5.0", "big", ""])
def test_bad_size_is_quoted(resize):
    with pytest.raises(ValueError) as error:
        check_size(resize)
    allowed = "must be SIDE or HxW in pixels, such as 64 or 48x64; each side from 1 to 2048"
    assert str(error.value) == f"resize {resize!r} (--resize): {allowed}"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("sides", [(30, 12), (12, 30), (30, 30), (7, 7)])
def test_square_pictures_are_resized_alike_in_all_modes(mode, sides):
    side, target = sides
    picture = _picture(side, side)
    expected = picture.resize((target, target), BILINEAR)
    np.testing.assert_array_equal(resize_picture(picture, (target, target), mode), expected)


@pytest.mark.parametrize("mode", MODES)
def test_fitting_aspect_ratio_is_resized_alike_in_all_modes(mode):
    picture = _picture(30, 40, "RGB")
    np.testing.assert_array_equal(resize_picture(picture, (12, 16), mode), picture.resize((16, 12), BILINEAR))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(
    ("shape", "size", "inner", "corner"),
    [
        ((20, 40), (16, 16), (8, 16), (4, 0)),
        ((40, 20), (16, 16), (16, 8), (0, 4)),
        ((20, 40), (12, 48), (12, 24), (0, 12)),
        ((10, 30), (9, 9), (3, 9), (3, 0)),
    ],
)
def test_pad_keeps_the_aspect_ratio_and_fills_with_black(mode, shape, size, inner, corner):
    picture = _picture(*shape, mode)
    expected = np.zeros((*size, *np.shape(picture)[2:]), np.uint8)
    rows, columns = (slice(start, start + length) for start, length in zip(corner, inner, strict=True))
    expected[rows, columns] = picture.resize(inner[::-1], BILINEAR)
    np.testing.assert_array_equal(resize_picture(picture, size, "pad"), expected)
    # Pillow's own function agrees.
    np.testing.assert_array_equal(ImageOps.pad(picture, size[::-1], BILINEAR, color=0), expected)


def test_pad_keeps_at_least_one_pixel_of_a_very_long_picture():
    padded = np.asarray(resize_picture(_picture(1, 300), (5, 5), "pad"))
    assert padded[2].all() and not padded[[0, 1, 3, 4]].any()


@pytest.mark.parametrize(
    ("shape", "size", "box"),
    [
        ((20, 40), (16, 16), (10, 0, 30, 20)),
        ((40, 20), (16, 16), (0, 10, 20, 30)),
        ((20, 40), (12, 48), (0, 5, 40, 15)),
    ],
)
def test_crop_covers_the_size_and_keeps_the_centre(shape, size, box):
    picture = _picture(*shape)
    expected = picture.resize(size[::-1], BILINEAR, box=box)
    np.testing.assert_array_equal(resize_picture(picture, size, "crop"), expected)


def test_stretch_changes_the_aspect_ratio():
    picture = _picture(20, 40)
    np.testing.assert_array_equal(resize_picture(picture, (16, 9), "stretch"), picture.resize((9, 16), BILINEAR))


@pytest.mark.parametrize("mode", MODES)
def test_folders_and_arrays_are_resized_alike(tmp_path, mode):
    pictures = [_picture(20, 40), _picture(20, 41).resize((40, 20)), _picture(20, 42).resize((40, 20))]
    for i, picture in enumerate(pictures):
        for split in ("train", "validation", "test"):
            path = tmp_path / "folder" / split / "a" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
    arrays = {f"{split}_images": np.stack(pictures) for split in ("train", "validation", "test")}
    labels = {f"{split}_labels": np.zeros(3, int) for split in ("train", "validation", "test")}
    np.savez(tmp_path / "own.npz", **arrays, **labels)
    expected = [np.asarray(resize_picture(picture, (9, 16), mode)) for picture in pictures]
    for load, name in ((load_folder, "folder"), (load_npz, "own.npz")):
        images = load(tmp_path / name, resize="9x16", resize_mode=mode).sources["test"].images
        np.testing.assert_array_equal(images[..., 0], expected)


def test_own_images_are_padded_by_default(tmp_path):
    images = np.full((9, 4, 8), 200, np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=np.zeros(9, int))
    loaded = load_npz(tmp_path / "own.npz", resize=8).sources["train"].images[..., 0]
    assert (loaded[:, 2:6] == 200).all() and not loaded[:, [0, 1, 6, 7]].any()
