"""Single pictures: every kind of PNG and JPEG, the orientation tag, and what is no picture."""

import io
import os
import struct
import warnings
import zlib
from itertools import product

import numpy as np
import pytest
from PIL import Image

from common.data.own_images.folder import read_image
from tests.common.data.own_images.picture_maker import CHANNELS, make_exif, make_png

ORIENTATION, RESOLUTION = 0x0112, 0x011A
UPRIGHT = {  # What turns a picture upright, by its tag.
    1: lambda array: array,
    2: lambda array: array[:, ::-1],
    3: lambda array: array[::-1, ::-1],
    4: lambda array: array[::-1],
    5: lambda array: array.T,
    6: lambda array: np.rot90(array, -1),
    7: lambda array: np.rot90(array, 2).T,
    8: lambda array: np.rot90(array),
}


def _read(folder, content):
    """Read the bytes of a file, with every warning an error."""
    path = folder / "a.picture"
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_image(path, None, "pad")


def _samples(depth, colour):
    return np.random.default_rng(depth).integers(0, 2**depth, (5, 9, CHANNELS[colour]))


def _to_eight(samples, depth):
    """Scale samples to 0..255."""
    return samples * 255 / (2**depth - 1)


@pytest.mark.parametrize("depth, colour", [*product((1, 2, 4, 8, 16), (0,)), *product((8, 16), (2, 4, 6))])
@pytest.mark.fault("odd photos and arrays", "exact")
def test_every_depth_and_colour_of_png(tmp_path, depth, colour):
    samples = _samples(depth, colour)
    picture = _read(tmp_path, make_png(samples, depth, colour))
    levels = _to_eight(samples, depth)
    if colour in (4, 6):  # The last channel is alpha; black shows through.
        levels = levels[..., :-1] * samples[..., -1:] / (2**depth - 1)
    assert picture.mode == ("L" if colour in (0, 4) else "RGB")
    np.testing.assert_allclose(np.asarray(picture).reshape(levels.shape), levels, atol=1.6)


@pytest.mark.parametrize("depth, colour", [*product((1, 2, 4, 8, 16), (0,)), *product((8, 16), (2,))])
@pytest.mark.fault("odd photos and arrays", "exact")
def test_a_transparent_colour_of_png_is_black(tmp_path, depth, colour):
    samples = _samples(depth, colour)
    key = samples[2, 3]
    picture = _read(tmp_path, make_png(samples, depth, colour, transparency=struct.pack(f">{len(key)}H", *key)))
    levels = np.where((samples == key).all(axis=-1, keepdims=True), 0, _to_eight(samples, depth))
    assert picture.mode == ("L" if colour == 0 else "RGB")
    np.testing.assert_allclose(np.asarray(picture).reshape(levels.shape), levels, atol=1.1)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("alpha", [b"", b"\0", b"\xff\0", b"\x80\x10"])
@pytest.mark.fault("odd photos and arrays", "exact")
def test_a_palette_of_png_is_rgb_on_black(tmp_path, depth, alpha):
    samples = _samples(depth, 3)[..., 0]
    palette = np.random.default_rng(0).integers(0, 256, (2**depth, 3), np.uint8)
    picture = _read(tmp_path, make_png(samples, depth, 3, palette.tobytes(), alpha))
    opacity = np.full(2**depth, 255)
    opacity[: len(alpha)] = list(alpha)
    assert picture.mode == "RGB"
    np.testing.assert_allclose(np.asarray(picture), (palette * opacity[:, None] / 255)[samples], atol=1)


@pytest.mark.parametrize(
    "mode, stored, shown",
    [("L", 90, 90), ("RGB", (200, 30, 60), (200, 30, 60)), ("CMYK", (0, 255, 255, 0), (255, 0, 0))],
)
@pytest.mark.fault("odd photos and arrays", "exact")
def test_every_mode_of_jpeg(tmp_path, mode, stored, shown):
    content = io.BytesIO()
    Image.new(mode, (9, 5), stored).save(content, "JPEG", quality=95, progressive=True)
    picture = _read(tmp_path, content.getvalue())
    assert picture.mode == ("L" if mode == "L" else "RGB") and picture.size == (9, 5)
    np.testing.assert_allclose(np.asarray(picture)[2, 3], shown, atol=3)


def _save(kind, exif):
    content = io.BytesIO()
    Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10)).save(content, kind, exif=exif)
    return content.getvalue()


def _short(value, order="<"):
    return (3, 1, struct.pack(f"{order}H", value))


@pytest.mark.parametrize("kind, order", product(("PNG", "JPEG"), "<>"))
@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.fault("odd photos and arrays", "exact")
def test_orientations(tmp_path, kind, order, orientation):
    exif = make_exif([(ORIENTATION, *_short(orientation, order))], order)
    array = np.arange(60).reshape(6, 10)
    picture = _read(tmp_path, _save(kind, exif))
    upright = UPRIGHT[orientation](array)
    assert picture.size == upright.shape[::-1]
    np.testing.assert_allclose(np.asarray(picture), upright, atol=0 if kind == "PNG" else 8)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(
    "tag, entry",
    [
        (RESOLUTION, (2, 3, b"72\0")),  # Text.
        (RESOLUTION, (6, 1, b"\xff")),  # Signed.
        (RESOLUTION, (10, 1, struct.pack("<ll", -72, 1))),
        (RESOLUTION, (5, 1, struct.pack("<LL", 72, 0))),
        (RESOLUTION, (1, 1, b"a")),  # Bytes, of which Pillow looks for the second one when it opens a JPEG.
        (RESOLUTION, (11, 1, b"\xff\xff\xff\xff")),  # Not a number.
        (0x8769, (16, 1, b"\xff" * 8)),  # A table out of reach.
        (0x010F, (5, 1, struct.pack("<LL", 1, 1))),  # A number for the maker.
        (0x9999, (99, 2**31, b"")),  # No type.
    ],
)
@pytest.mark.fault("odd photos and arrays", "exact")
def test_odd_exif_data_stop_no_picture_and_hide_no_orientation(tmp_path, kind, tag, entry):
    exif = make_exif([(ORIENTATION, *_short(6)), (0x0128, *_short(2)), (tag, *entry)])
    assert _read(tmp_path, _save(kind, exif)).size == (6, 10)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.fault("odd photos and arrays", "exact")
def test_damaged_exif_data_stop_no_picture(tmp_path, kind):
    rng = np.random.default_rng(0)
    whole = make_exif([(ORIENTATION, *_short(6)), (0x0128, *_short(2)), (RESOLUTION, 5, 1, bytes(range(8)))])
    for _ in range(40):
        exif = bytearray(whole[: rng.integers(6, len(whole) + 1)])
        for place in rng.integers(6, max(len(exif), 7), 3):
            exif[place : place + 1] = rng.bytes(1)
        assert _read(tmp_path, _save(kind, bytes(exif))).size in ((6, 10), (10, 6))
    for orientation in [(3, 1, b"\x09\0"), (2, 2, b"6\0"), (3, 2, b"\6\0\6\0"), (5, 1, bytes(8)), (7, 1, b"\6")]:
        assert _read(tmp_path, _save(kind, make_exif([(ORIENTATION, *orientation)]))).size in ((6, 10), (10, 6))


def _huge(width, height):
    content = make_png(np.zeros((1, 1), int), 8, 0)
    header = b"IHDR" + struct.pack(">LL", width, height) + content[24:29]
    return content[:12] + header + struct.pack(">L", zlib.crc32(header)) + content[33:]


@pytest.mark.parametrize("width, height", [(100_000, 100_000), (2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (0, 5)])
@pytest.mark.fault("odd photos and arrays", "named")
def test_absurd_sizes_are_named(tmp_path, width, height):
    with pytest.raises(ValueError, match=r"a\.picture' is not a readable PNG or JPEG image: .") as error:
        _read(tmp_path, _huge(width, height))
    assert len(str(error.value).splitlines()) == 1 and len(str(error.value)) < 400


@pytest.mark.fault("odd photos and arrays", "exact")
def test_a_large_picture_is_read_without_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    assert _read(tmp_path, make_png(np.zeros((6, 10), int), 8, 0)).size == (10, 6)
    with pytest.raises(ValueError, match=r"a\.picture' is not a readable .*120 pixels"):
        _read(tmp_path, make_png(np.zeros((12, 10), int), 8, 0))


@pytest.mark.fault("odd photos and arrays", "named")
def test_what_is_no_file_is_named_at_once(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to("gone.png")
    (tmp_path / "loop.png").symlink_to("loop.png")
    for name, reason in {
        "pipe": "it is no regular file",
        "folder": "it is a folder",
        "link": "it is a link to 'gone.png', which does not exist",
        "loop": "it is a link to 'loop.png', which does not exist",
        "absent": ".*No such file",
    }.items():
        with pytest.raises(ValueError, match=rf"{name}\.png' is not a readable PNG or JPEG image: {reason}"):
            read_image(tmp_path / f"{name}.png", None, "pad")
