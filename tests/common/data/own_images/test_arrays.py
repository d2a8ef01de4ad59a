"""`.npz` files: the arrays that are read, and the errors."""

import io
import os
import re
import zipfile

import numpy as np
import pytest

from common import user_files
from common.data.dataset import load_task
from common.data.mnist import MNIST_PATH, load_mnist
from common.data.own_images import arrays
from common.data.own_images.arrays import load_npz
from common.data.own_images.load import load_own_images

IMAGES = np.arange(20 * 4 * 5, dtype=np.uint64).reshape(20, 4, 5).astype(np.uint8)
LABELS = np.arange(20) % 2


def _save(folder, **arrays):
    np.savez(folder / "own.npz", **arrays)
    return folder / "own.npz"


def test_images_and_labels(tmp_path):
    path = _save(tmp_path, images=IMAGES, labels=LABELS.astype(np.uint8), other=np.array([1.5]))
    sources, class_names = load_npz(path)
    assert class_names == ("0", "1") and list(sources) == ["train", "validation", "test"]
    labels_of = {}
    for split, count in (("train", 16), ("validation", 2), ("test", 2)):
        images, labels = sources[split]
        assert images.shape == (count, 4, 5, 1) and images.dtype == np.uint8 and labels.dtype == np.int32
        assert np.bincount(labels).tolist() == [count // 2, count // 2]
        labels_of |= {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert labels_of == {image.tobytes(): label for image, label in zip(IMAGES, LABELS, strict=True)}


def test_labels_may_be_a_column(tmp_path):
    flat, column = (load_npz(_save(tmp_path, images=IMAGES, labels=labels)) for labels in (LABELS, LABELS[:, None]))
    for split in flat.sources:
        np.testing.assert_array_equal(column.sources[split].labels, flat.sources[split].labels)


def test_splits_of_the_file_are_kept(tmp_path):
    arrays = {"train_images": IMAGES, "train_labels": LABELS}
    arrays |= {"test_images": IMAGES[:3] // 2, "test_labels": np.array([1, 0, 1])}
    sources, _ = load_npz(_save(tmp_path, **arrays), validation_fraction=0.2)
    np.testing.assert_array_equal(sources["test"].images[..., 0], IMAGES[:3] // 2)
    assert sources["test"].labels.tolist() == [1, 0, 1]
    assert len(sources["validation"].labels) == 4 and len(sources["train"].labels) == 16


@pytest.mark.parametrize(
    "train, validation, test, spelling",
    [
        ("train_{}", "val_{}", "test_{}", {"validation": "val"}),
        ("training_{}", "valid_{}", "testing_{}", {"train": "training", "validation": "valid", "test": "testing"}),
        ("{}_train", "{}_dev", "{}_test", {"validation": "dev"}),
        ("Train_{}", "VAL_{}", "{}_Test", {"train": "Train", "validation": "VAL", "test": "Test"}),
    ],
)
@pytest.mark.parametrize("kinds", [("images", "labels"), ("x", "y"), ("X", "y"), ("Images", "Labels")])
def test_splits_may_have_other_usual_names(tmp_path, kinds, train, validation, test, spelling):
    arrays, other = {}, {"train_mean": np.zeros(3), "val_ids": LABELS, "class_names": np.array(["a"])}
    for i, pattern in enumerate((train, validation, test)):
        arrays |= dict(zip(map(pattern.format, kinds), (IMAGES[: 9 - i] // 2 + i, LABELS[: 9 - i]), strict=True))
    lines = []
    sources, _ = load_npz(_save(tmp_path, **arrays, **other), report=lines.append)
    for i, split in enumerate(("train", "validation", "test")):
        np.testing.assert_array_equal(sources[split].images[..., 0], IMAGES[: 9 - i] // 2 + i)
    counts = [
        f"{split} {len(source.labels)}" + (f" (from {spelling[split]})" if split in spelling else "")
        for split, source in sources.items()
    ]
    assert lines == [f"images: {str(tmp_path / 'own.npz')!r} has 2 classes; {', '.join(counts)}; 4x5x1"]


@pytest.mark.parametrize("stray", ["extra", "train_mean", "label_names", "text_images", "imagesize", "TRAIN"])
def test_other_arrays_are_ignored(tmp_path, stray):
    path = _save(tmp_path, images=IMAGES, labels=LABELS, **{stray: LABELS})
    assert len(load_npz(path).sources["train"].labels) == 16


@pytest.mark.parametrize("stray", ["vall_images", "val_imgs", "tests_y", "x_valdiation", "test_ids", "Val", "dev.data"])
@pytest.mark.fault("odd photos and arrays", "named")
def test_arrays_that_seem_to_be_a_split_are_named(tmp_path, stray):
    path = _save(tmp_path, train_images=IMAGES, train_labels=LABELS, **{stray: IMAGES})
    message = f"own.npz' holds the array {re.escape(stray)}, which seems to be of a split: {NAMES}"
    with pytest.raises(ValueError, match=message):
        load_npz(path)


def test_mnist_file_is_readable():
    sources, class_names = load_own_images(MNIST_PATH)
    assert class_names == tuple("0123456789")
    np.testing.assert_array_equal(sources["test"].images, load_mnist()["test"].images)
    assert len(sources["train"].labels) + len(sources["validation"].labels) == 60_000


def test_channels_grayscale_and_resize(tmp_path):
    flat = np.broadcast_to(np.array([10, 20, 250], np.uint8), (20, 4, 5, 3))
    path = _save(tmp_path, images=flat, labels=LABELS)
    assert load_npz(path).sources["train"].images.shape == (16, 4, 5, 3)
    gray = load_npz(path, grayscale=True).sources["train"].images
    assert gray.shape == (16, 4, 5, 1)
    assert np.abs(gray.astype(float) - (0.299 * 10 + 0.587 * 20 + 0.114 * 250)).max() <= 1
    resized = load_npz(path, resize=(2, 7), resize_mode="stretch").sources["train"].images
    assert resized.shape == (16, 2, 7, 3) and (resized == [10, 20, 250]).all()
    path = _save(tmp_path, images=IMAGES[..., None].repeat(2, axis=-1), labels=LABELS)
    assert load_npz(path, resize=3).sources["train"].images.shape == (16, 3, 3, 2)
    with pytest.raises(ValueError, match="grayscale True needs images of 1 or 3 channels, not 2"):
        load_npz(path, grayscale=True)
    path = _save(tmp_path, images=IMAGES, labels=LABELS)
    assert load_npz(path, grayscale=False).sources["test"].images.shape == (2, 4, 5, 3)


def test_tasks_are_made_of_arrays(tmp_path):
    path = str(_save(tmp_path, images=IMAGES.repeat(3, axis=1).repeat(3, axis=2), labels=LABELS))
    data = load_task("images", data=path)
    assert (data.height, data.width, data.channels, data.num_classes) == (12, 15, 1, 2)
    data = load_task("cluttered100", data=path, test_fraction=0.3)
    assert data.test.images.shape == (6, 100, 100, 1)


NAMES = "expected images and labels, or train_images and train_labels and optionally the same of validation and test"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            {"images": IMAGES / 255, "labels": LABELS},
            r"images are float64 of shape .*uint8.*; convert them with np.rint\(255 \* images\).astype\(np.uint8\)$",
        ),
        (
            {"images": IMAGES.astype(np.float32), "labels": LABELS},
            r"images are float32 .*expected uint8.*; convert them with np.rint\(images\).astype\(np.uint8\)$",
        ),
        (
            {"images": IMAGES.astype(np.int32), "labels": LABELS},
            r"images are int32 of shape .*expected uint8.*; convert them with images.astype\(np.uint8\)$",
        ),
        (
            {"images": IMAGES > 50, "labels": LABELS},
            r"images are bool .*expected uint8.*; convert them with 255 \* images.astype\(np.uint8\)$",
        ),
        ({"images": IMAGES / 50.0 - 1, "labels": LABELS}, "; their levels must be 0 to 255, not -1 to 4"),
        ({"images": IMAGES * np.nan, "labels": LABELS}, "; their levels must be 0 to 255, not nan to nan"),
        (
            {"images": (IMAGES > 50).astype(np.uint8), "labels": LABELS},
            "own.npz': images hold only 0 and 1, which is black: multiply by 255, so that white is 255$",
        ),
        (
            {"train_images": IMAGES, "train_labels": LABELS, "val_x": (IMAGES > 50).astype(np.uint8), "val_y": LABELS},
            "own.npz': val_x hold only 0 and 1",
        ),
        (
            {"train_images": IMAGES, "train_labels": LABELS, "val_images": IMAGES, "val_y": LABELS, "Valid_x": IMAGES},
            "holds the arrays Valid_x and val_images, which mean the same: keep one$",
        ),
        (
            {"images": IMAGES[0], "labels": LABELS[:4]},
            r"images are uint8 of shape \(4, 5\); expected uint8 ",
        ),
        ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"images are uint8 of shape \(0, 4, 5\)"),
        (
            {"images": np.zeros((20, 3, 8, 8), np.uint8), "labels": LABELS},
            r"shape \(20, 3, 8, 8\).*C at most 4",
        ),
        ({"images": IMAGES, "labels": LABELS + 0.5}, "labels are float64 of shape .*expected integers"),
        ({"images": IMAGES, "labels": LABELS > 0}, "labels are bool of shape .*expected integers"),
        ({"images": IMAGES, "labels": LABELS[:19]}, r"shape \(19,\); expected integers of shape \(20,\)"),
        (
            {"images": IMAGES, "labels": np.eye(2, dtype=int)[LABELS]},
            r"shape \(20, 2\); expected integers of shape \(20,",
        ),
        ({"images": IMAGES, "labels": LABELS - 1}, "train has the label -1"),
        ({"images": IMAGES, "labels": LABELS.astype(np.uint64) + 2**40}, f"train has the label {2**40}"),
        ({"images": IMAGES, "labels": LABELS + 1}, "train has the label 2; with 2 classes in train.* 0..1 with none"),
        ({"images": IMAGES}, f"holds the arrays images: {NAMES}"),
        ({"labels": LABELS}, f"holds the arrays labels: {NAMES}"),
        ({"x": IMAGES, "y": LABELS}, f"holds the arrays x, y: {NAMES}"),
        ({"test_images": IMAGES, "test_labels": LABELS}, f"arrays test_images, test_labels: {NAMES}"),
        ({"train_images": IMAGES, "train_labels": LABELS, "test_images": IMAGES}, NAMES),
        ({"images": IMAGES, "labels": LABELS, "test_images": IMAGES, "test_labels": LABELS}, NAMES),
        (
            {
                "train_images": IMAGES,
                "train_labels": LABELS,
                "test_images": IMAGES,
                "test_labels": LABELS * 2,
            },
            "test has the label 2; with 2 classes in train",
        ),
        (
            {
                "train_images": IMAGES,
                "train_labels": LABELS,
                "test_images": IMAGES[:, 1:],
                "test_labels": LABELS,
            },
            r"differ in size or channels: .*\(3, 5, 1\)",
        ),
        ({"images": IMAGES[:4], "labels": LABELS[:4]}, "class '0'.*has 2 images: at least 3 are needed"),
        ({"images": np.array([{}] * 20), "labels": LABELS}, "cannot be read: .*allow_pickle"),
    ],
)
@pytest.mark.fault("odd photos and arrays", "named")
def test_bad_arrays_are_quoted(tmp_path, arrays, message):
    path = _save(tmp_path, **arrays)
    with pytest.raises(ValueError, match=message) as error:
        load_npz(path)
    assert str(path) in str(error.value) and len(str(error.value)) < 400


def test_bad_files_are_named(tmp_path):
    path = _save(tmp_path, images=IMAGES, labels=LABELS)
    content = path.read_bytes()
    for bad in (content[:300], b"no archive", b"", content[:100] + bytes(50) + content[150:]):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"own\.npz'"):
            load_npz(path)
    np.save(tmp_path / "one.npy", IMAGES)
    (tmp_path / "README.md").write_text("# No images")
    for name in ("one.npy", "README.md"):
        expected = "is not a readable .npz file; data must be a folder with a subfolder for each class, or a .npz file"
        with pytest.raises(ValueError, match=f"{re.escape(name)}' {expected}: "):
            load_own_images(tmp_path / name)
    with pytest.raises(ValueError, match=r"no folder and no file at '.*absent'; data must be a folder"):
        load_own_images(tmp_path / "absent")


def _zip(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_an_archive_of_pictures_is_named_in_a_short_line(tmp_path):
    _fill = {f"cat/{'x' * 9000}{i:05}\n.png": b"no picture" for i in range(300)}
    expected = "pictures.zip' holds no arrays but cat/x.*, cat/x.* and 294 more: extract it; data must be a folder"
    with pytest.raises(ValueError, match=expected) as error:
        load_own_images(_zip(tmp_path / "pictures.zip", _fill))
    assert len(str(error.value)) < 600 and len(str(error.value).splitlines()) == 1
    members = {"images": b"no array", "labels": b"no array", "labels.npy": b"", "x" * 9000 + ".npy": b""}
    with pytest.raises(ValueError, match=r"own.npz' holds the arrays labels, xxx.*\.\.\.: expected images") as error:
        load_own_images(_zip(tmp_path / "own.npz", members))
    assert len(str(error.value)) < 400


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "own.npz")
    with pytest.raises(ValueError, match="own.npz' is not a readable .npz file; .*: it is no regular file$"):
        load_own_images(tmp_path / "own.npz")


def _header(shape, version):
    content = io.BytesIO()
    write = np.lib.format.write_array_header_1_0 if version == 1 else np.lib.format.write_array_header_2_0
    write(content, {"shape": shape, "fortran_order": False, "descr": "|u1"})
    return content.getvalue()


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("shape", [(2**40, 28, 28), (2**62, 2**62), (-1, 4, 5), (20, 4, 6)])
@pytest.mark.fault("hostile archives and .mat files", "named")
def test_an_array_that_claims_more_than_the_file_holds_is_named(tmp_path, shape, version):
    members = {"images.npy": _header(shape, version) + IMAGES.tobytes(), "labels.npy": _header((20,), 1) + bytes(20)}
    with pytest.raises(ValueError, match=r"own.npz' cannot be read: images of shape \(.*\) has \d+ bytes$"):
        load_npz(_zip(tmp_path / "own.npz", members))


def test_arrays_that_do_not_fit_into_memory_are_refused_by_their_headers(tmp_path, monkeypatch):
    path = _save(tmp_path, images=IMAGES, labels=LABELS)
    monkeypatch.setattr(user_files, "physical_memory", lambda: 2 * (IMAGES.nbytes + LABELS.nbytes))
    load_npz(path)
    monkeypatch.setattr(arrays, "_read_sources", None)
    expected = r"own.npz' needs 0\.\d GiB of memory, but this machine has 0\.0 GiB: give fewer or smaller images$"
    with pytest.raises(ValueError, match=expected):
        load_npz(path, resize=2048)
    monkeypatch.setattr(user_files, "physical_memory", lambda: 2 * (IMAGES.nbytes + LABELS.nbytes) - 1)
    with pytest.raises(ValueError, match="of memory, but this machine has"):
        load_npz(path)
    monkeypatch.setattr(user_files, "physical_memory", lambda: None)
    with pytest.raises(TypeError):  # Where the memory is unknown, they are read.
        load_npz(path)


def test_bad_options_are_refused_before_any_array_is_read(tmp_path, monkeypatch):
    path = _save(tmp_path, train_images=IMAGES, train_labels=LABELS, test_images=IMAGES, test_labels=LABELS)

    def read(*_):
        raise AssertionError("an array was read")

    monkeypatch.setattr(arrays, "_read_sources", read)
    with pytest.raises(ValueError, match=r"^validation_fraction 1\.5: must be more than 0, and less than 1 in total$"):
        load_npz(path, validation_fraction=1.5)
    with pytest.raises(AssertionError, match="was read"):
        load_npz(path, test_fraction=1.5)  # The file has its own test split.


def test_file_with_any_damaged_byte_is_named(tmp_path):
    path = _save(tmp_path, images=IMAGES, labels=LABELS)
    content = path.read_bytes()
    for place in range(0, len(content), 3):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            load_npz(path)
        except ValueError as error:
            assert "own.npz" in str(error)


def test_one_class_is_refused(tmp_path):
    np.savez(tmp_path / "one.npz", images=np.zeros((30, 8, 8), np.uint8), labels=np.zeros(30, int))
    with pytest.raises(ValueError, match=r"one.npz' has the one class '0': must have two or more"):
        load_own_images(tmp_path / "one.npz")
