"""Damaged pictures and `.npz` files: either they are read, or a short line names them."""

import io
import struct
import warnings
import zipfile
import zlib

import jax
import numpy as np
import pytest
from PIL import Image

from common.data.own_images.arrays import load_npz
from common.data.own_images.folder import load_folder, read_image
from common.data.source import LabelledSplits
from tests.common.data.own_images.picture_maker import CHANNELS, make_exif, make_png

RNG = np.random.default_rng(5)
IMAGES = RNG.integers(0, 256, (20, 6, 7, 3), np.uint8)
EXIF = make_exif([(0x0112, 3, 1, b"\6\0"), (0x0128, 3, 1, b"\2\0"), (0x011A, 5, 1, struct.pack("<LL", 72, 1))])
LONGEST = 450


def _jpeg(mode, **options):
    content = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (20, 24, 3), np.uint8)).convert(mode).save(content, "JPEG", **options)
    return content.getvalue()


def _png(depth, colour, **chunks):
    return make_png(RNG.integers(0, 2**depth, (6, 7, CHANNELS[colour])), depth, colour, **chunks)


def _pillow_png(**options):
    content = io.BytesIO()
    Image.fromarray(IMAGES[0]).save(content, "PNG", **options)
    return content.getvalue()


PICTURES = {
    **{f"gray {depth}": _png(depth, 0, transparency=b"\0\1") for depth in (1, 2, 4, 8, 16)},
    **{f"palette {depth}": _png(depth, 3, palette=bytes(3 * 2**depth), transparency=b"\x80\0") for depth in (1, 4, 8)},
    **{f"rgb {depth}": _png(depth, 2, transparency=bytes(6)) for depth in (8, 16)},
    **{f"alpha {colour} {depth}": _png(depth, colour) for colour in (4, 6) for depth in (8, 16)},
    "png with exif": _pillow_png(exif=EXIF, dpi=(72, 72)),
    "animation": _pillow_png(save_all=True, append_images=[Image.fromarray(image) for image in IMAGES[1:3]]),
    **{f"jpeg {mode}": _jpeg(mode) for mode in ("L", "RGB", "CMYK")},
    "progressive jpeg": _jpeg("RGB", progressive=True, exif=EXIF),
}


def _damage(content, rng):
    """Flip some bits, overwrite, cut, remove or repeat a piece."""
    damaged = bytearray(content)
    place = int(rng.integers(len(content)))
    length = int(rng.integers(1, 20))
    kind = rng.integers(5)
    if kind == 0:
        for bit in rng.integers(8 * len(content), size=rng.integers(1, 6)):
            damaged[bit // 8] ^= 1 << (bit % 8)
    elif kind == 1:
        damaged[place : place + length] = rng.bytes(len(damaged[place : place + length]))
    elif kind == 2:
        del damaged[place:]
    elif kind == 3:
        del damaged[place : place + length]
    else:
        damaged[place:place] = damaged[place : place + length]
    return bytes(damaged)


def _repair_checksums(content):
    """Return a PNG whose chunks have right checksums, so that damage passes Pillow's first check."""
    place, chunks = 8, content[:8]
    while place + 12 <= len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4], "big")
        chunks += content[place:end] + struct.pack(">L", zlib.crc32(content[place + 4 : end]))
        place = end + 4
    return chunks


def _check_read_or_named(read, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return read()
        except ValueError as error:
            assert name in str(error) and len(str(error)) < LONGEST and len(str(error).splitlines()) == 1
            return None


KIND = "damaged photos and arrays"
# The slow cases are 19 * 400 pictures and 2 * 1000 files.
MANY = pytest.mark.slow


def _outcome(value, sound):
    """Return the outcome of a damage: None is a refusal."""
    if value is None:
        return "named"
    return "exact" if np.array_equal(_numbers(value), _numbers(sound)) else "read"


def _numbers(value):
    """Return all numbers of an image, or of splits, in a row."""
    arrays = jax.tree.leaves(value.sources) if isinstance(value, LabelledSplits) else [value]
    return np.concatenate([np.ravel(np.asarray(array)) for array in arrays])


@pytest.mark.parametrize("count", [3, pytest.param(400, marks=MANY)])
@pytest.mark.parametrize("name", PICTURES)
def test_damaged_pictures(tmp_path, record_fault, name, count):
    rng = np.random.default_rng(len(name))
    for label, image in enumerate(IMAGES[:6]):
        (tmp_path / "own" / "ab"[label % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(tmp_path / "own" / "ab"[label % 2] / f"{label}.png")
    path = tmp_path / "own" / "a" / "bad.picture"
    path.write_bytes(PICTURES[name])
    sound = read_image(path, (6, 7), "pad")
    for i in range(count):
        damaged = _damage(PICTURES[name], rng)
        path.write_bytes(_repair_checksums(damaged) if i % 2 and damaged.startswith(b"\x89PNG") else damaged)
        picture = _check_read_or_named(lambda: read_image(path, (6, 7), "pad"), "bad.picture'")
        assert picture is None or (picture.mode in ("L", "RGB") and picture.size == (7, 6))
        record_fault(KIND, _outcome(picture, sound))
        if i % 10 == 0:
            loaded = _check_read_or_named(lambda: load_folder(tmp_path / "own", (6, 7)), "bad.picture'")
            assert (loaded is None) == (picture is None)


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=MANY)])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_damaged_arrays(tmp_path, record_fault, save, count):
    rng = np.random.default_rng(count)
    path = tmp_path / "own.npz"
    save(path, train_images=IMAGES, train_labels=np.arange(20) % 2, val_images=IMAGES, val_labels=np.arange(20) % 2)
    content, sound = path.read_bytes(), load_npz(path)
    for _ in range(count):
        path.write_bytes(_damage(content, rng))
        loaded = _check_read_or_named(lambda: load_npz(path), "own.npz'")
        assert loaded is None or isinstance(loaded, LabelledSplits)
        record_fault(KIND, _outcome(loaded, sound))


@pytest.mark.parametrize("count", [20, pytest.param(1000, marks=MANY)])
def test_damaged_arrays_in_a_sound_archive(tmp_path, record_fault, count):
    rng = np.random.default_rng(count)
    members = {}
    for name, array in (("images", IMAGES), ("labels", np.arange(20) % 2)):
        np.save(tmp_path / "a.npy", array)
        members[f"{name}.npy"] = (tmp_path / "a.npy").read_bytes()
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=np.arange(20) % 2)
    sound = load_npz(tmp_path / "own.npz")
    for _ in range(count):
        name = str(rng.choice(list(members)))
        head = 128 if rng.random() < 0.8 else len(members[name])  # The damage of most of them is in the header.
        damaged = _damage(members[name][:head], rng) + members[name][head:]
        with zipfile.ZipFile(tmp_path / "own.npz", "w") as archive:
            for member, content in (members | {name: damaged}).items():
                archive.writestr(member, content)
        loaded = _check_read_or_named(lambda: load_npz(tmp_path / "own.npz"), "own.npz'")
        record_fault(KIND, _outcome(loaded, sound))
