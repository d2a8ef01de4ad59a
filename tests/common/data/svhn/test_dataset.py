"""SVHN as a data set, from files in its format: records, crops, splits, skipped numbers and errors."""

import functools
import warnings
from collections import Counter

import jax
import numpy as np
import pytest
from PIL import Image

from common.data.dataset import load_task
from common.data.recipes.crops import Crop
from common.data.sampling import sample_batch
from common.data.svhn.dataset import SvhnConfig, crop_number, grown_box, load_part, load_svhn
from common.data.svhn.digit_struct import read_records
from common.data.svhn.files import Part, describe_skipped, find_part
from tests.common.data.svhn.svhn_maker import (
    make_archive,
    make_mat,
    make_part,
    make_parts,
    make_picture,
    make_png,
    some_records,
)

SMALL = SvhnConfig(size=16)


@pytest.fixture
def folder(tmp_path):
    """A folder with train, extra and test of a few numbers."""
    return make_parts(tmp_path, {"train": 12, "extra": 18, "test": 5})


def _read(records, skipped=None):
    return read_records(make_mat(records), "here", Counter() if skipped is None else skipped)


def test_records_of_one_digit_and_of_more_are_read_alike():
    one, three = _read(
        [("1.png", [(7, 3, 4, 10, 20)]), ("2.png", [(1, 1, 2, 3, 4), (10, 5, 2, 3, 4), (9, 9, 2, 3, 5)])]
    )
    assert one.name == "1.png" and one.digits == (7,) and one.boxes.tolist() == [[3, 4, 13, 24]]
    # Label 10 is the digit 0.
    assert three.name == "2.png" and three.digits == (1, 0, 9)
    assert three.boxes.tolist() == [[1, 2, 4, 6], [5, 2, 8, 6], [9, 2, 12, 7]]


@pytest.mark.parametrize("unpacked", [False, True])
def test_pictures_are_read_in_any_order(tmp_path, unpacked):
    records = some_records(4)
    pictures = {name: make_picture(i) for i, (name, _) in enumerate(records)}
    shuffled = {name: pictures[name] for name in ("3.png", "1.png", "4.png", "2.png")}
    make_part(tmp_path, "train", records, shuffled)
    if unpacked:
        import tarfile

        with tarfile.open(tmp_path / "train.tar.gz") as archive:
            archive.extractall(tmp_path, filter="data")
        (tmp_path / "train.tar.gz").unlink()
    part = find_part(tmp_path, "train")
    skipped = Counter()
    read = part.records(skipped)
    assert [record.name for record in read] == [name for name, _ in records]
    for record, picture in part.pictures(read, skipped):
        np.testing.assert_array_equal(np.asarray(picture), pictures.pop(record.name))
    assert not pictures and not skipped


def test_crop_is_the_enlarged_bounding_box():
    # The colours are coordinates: red is the column, green the row.
    x, y = np.meshgrid(np.arange(100), np.arange(80))
    picture = Image.fromarray(np.stack([x, y, 0 * x], axis=-1).astype(np.uint8))
    boxes = np.array([[30, 20, 40, 50], [42, 24, 50, 60]], np.float32)
    box = grown_box(boxes, picture.size, 1.3)
    np.testing.assert_allclose(box, [40 - 13, 40 - 26, 40 + 13, 40 + 26])
    crop = np.asarray(crop_number(picture, box, 52), float)
    # The centre of crop pixel i is at left + (i + 1/2) * 26 / 52; that of picture pixel j is at j + 1/2.
    columns, rows = 27 + (np.arange(52) + 0.5) * 26 / 52 - 0.5, 14 + (np.arange(52) + 0.5) * 52 / 52 - 0.5
    np.testing.assert_allclose(crop[..., 0], np.broadcast_to(columns, (52, 52)), atol=0.51)
    np.testing.assert_allclose(crop[..., 1], np.broadcast_to(rows[:, None], (52, 52)), atol=0.51)


def test_crop_repeats_the_edge_outside_the_picture():
    picture = Image.fromarray(np.arange(5 * 6 * 3, dtype=np.uint8).reshape(5, 6, 3))
    crop = np.asarray(crop_number(picture, (-3.0, -2.0, 9.0, 10.0), 12))
    expected = np.pad(np.asarray(picture), ((2, 5), (3, 3), (0, 0)), mode="edge")
    np.testing.assert_array_equal(crop, expected)


def test_box_is_clipped_to_its_picture():
    assert grown_box(np.array([[-2, 3, 5, 9]], np.float32), (20, 8), 1.0) == (0, 3, 5, 8)
    assert grown_box(np.array([[1, 1, 5, 5], [30, 1, 35, 5]], np.float32), (20, 8), 1.3) is None


def test_every_number_is_in_one_split(folder):
    reports = []
    sources = load_svhn(folder, SMALL, progress=lambda *args: reports.append(args))
    assert {split: len(source.labels) for split, source in sources.items()} == {"train": 27, "validation": 3, "test": 5}
    for images, labels in sources.values():
        assert images.shape[1:] == (16, 16, 3) and images.dtype == np.uint8
        assert labels.shape[1:] == (6,) and labels.dtype == np.int32 and (labels[:, -1] == 10).all()
    counts = {"train records": 12, "extra records": 18, "test records": 5, "train": 27, "validation": 3, "test": 5}
    assert reports == [(name, n, n) for name, n in counts.items()]
    expected = [digits for _, digits in some_records(5, seed=5)]
    for label, digits in zip(sources["test"].labels, expected, strict=True):
        assert label.tolist() == [digit[0] % 10 for digit in digits] + [10] * (6 - len(digits))
    parts = [load_part(find_part(folder, name), SMALL) for name in ("train", "extra")]
    bytes_of = functools.partial(map, lambda image: image.tobytes())
    split = [*bytes_of(sources["train"].images), *bytes_of(sources["validation"].images)]
    assert sorted(split) == sorted([*bytes_of(parts[0].images), *bytes_of(parts[1].images)])
    other = load_svhn(folder, SMALL, seed=1)
    assert (other["validation"].images != sources["validation"].images).any()


def test_validation_is_taken_from_train_and_extra(folder):
    chosen = load_svhn(folder, SMALL, num_validation=2)
    assert len(chosen["validation"].labels) == 2 and len(chosen["train"].labels) == 28


def test_extra_may_be_missing(folder):
    (folder / "extra.tar.gz").unlink()
    with pytest.warns(UserWarning) as warned:
        assert len(load_svhn(folder, SMALL)["train"].labels) == 11
    (warning,) = (str(each.message) for each in warned)
    assert warning == (
        f"{str(folder)!r} holds no extra.tar.gz, so train and validation have 33,402 numbers of SVHN instead of "
        "235,755: download it from http://ufldl.stanford.edu/housenumbers/"
    )


def test_tight_gray_crops_without_an_end_symbol(folder):
    config = SvhnConfig(size=32, growth=1.0, grayscale=True, num_symbols=5)
    images, labels = load_svhn(folder, config)["test"]
    assert images.shape == (5, 32, 32, 1) and labels.shape == (5, 5)
    assert labels[0].tolist()[1:] == [10] * 4
    # The first picture: its box is (4, 6) to (12, 20).
    picture = Image.fromarray(make_picture(0)).resize((32, 32), Image.Resampling.BILINEAR, box=(4, 6, 12, 20))
    assert np.abs(images[0, ..., 0].astype(int) - np.asarray(picture.convert("L"))).max() <= 1


def test_unusable_numbers_are_counted_in_a_warning(tmp_path):
    box = (4, 6, 8, 14)
    records = [
        ("1.png", [(3, *box)]),
        ("2.png", []),
        ("3.png", [(3, *box)] * 6),
        ("4.png", [(3, *box)]),
        ("5.png", [(3, *box)]),
        ("6.png", [(3, 100, 100, 5, 5)]),
        ("7.png", [(11, *box)]),
        ("8.png", [(3, 4, 6, 0, 14)]),
        ("../9.png", [(3, *box)]),
        ("1.png", [(4, *box)]),
        ("11.png", [(1, *box), (2, *box)]),
    ]
    pictures = {f"{i}.png": make_picture(i) for i in (1, 2, 3, 6, 7, 8, 11)}
    members = [(f"train/{name}", make_png(pixels)) for name, pixels in pictures.items()]
    members += [("train/5.png", make_png(make_picture(5))[:60]), ("train/digitStruct.mat", make_mat(records))]
    make_archive(tmp_path / "train.tar.gz", members)
    with pytest.warns(UserWarning) as warned:
        images, labels = load_part(find_part(tmp_path, "train"), SMALL)
    assert labels[:, :2].tolist() == [[3, 10], [1, 2]] and len(images) == 2
    (warning,) = (str(each.message) for each in warned)
    assert "gives 2 numbers" in warning
    for counted in (
        "1 with no digits",
        "1 with more than 5 digits",
        "1 with no picture",
        "1 with an unreadable picture",
        "1 with a box outside its picture",
        "1 with a label that is not a digit",
        "1 with an empty box",
        "1 with an invalid file name",
        "1 with a repeated name",
    ):
        assert f"skipped {counted}" in warning


def test_no_file_is_written_outside_the_archive(tmp_path):
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    members = [(name, b"evil") for name in ("../evil.png", "/tmp/evil-svhn.png", "train/../../evil.png", "evil.png")]
    members += [("train/1.png", make_png(make_picture(0))), ("train/digitStruct.mat", make_mat(some_records(1)))]
    make_archive(inside / "train.tar.gz", members)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(load_part(find_part(inside, "train"), SMALL).labels) == 1
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "train.tar.gz"]


def test_links_in_a_folder_are_not_followed(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(make_png(make_picture(0)))
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "digitStruct.mat").write_bytes(make_mat(some_records(1)))
    (tmp_path / "train" / "1.png").symlink_to(secret)
    with pytest.raises(ValueError, match="holds no usable number; skipped 1 with no picture"):
        load_part(find_part(tmp_path, "train"), SMALL)


def test_read_only_cache_is_an_error_before_anything_is_read(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Part, "records", lambda *args: pytest.fail("the archive is read"))
    with pytest.raises(OSError, match="file/deeper'"):
        load_svhn(folder, SMALL, tmp_path / "file" / "deeper")


@pytest.mark.parametrize("fraction", [0.3, 0.9, 0.99])
def test_truncated_archive_is_an_error(folder, fraction):
    path = folder / "train.tar.gz"
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    with pytest.raises(ValueError, match=r"train\.tar\.gz' is truncated or damaged"):
        load_svhn(folder, SMALL)


def test_archive_truncated_after_the_records_is_an_error(tmp_path):
    # digitStruct.mat comes first, so only the pictures are missing.
    records = some_records(3)
    pictures = [(f"train/{name}", make_png(make_picture(i))) for i, (name, _) in enumerate(records)]
    make_archive(tmp_path / "train.tar.gz", [("train/digitStruct.mat", make_mat(records)), *pictures])
    content = (tmp_path / "train.tar.gz").read_bytes()
    (tmp_path / "train.tar.gz").write_bytes(content[: len(content) - 2000])
    with pytest.raises(ValueError, match="truncated or damaged"):
        load_part(find_part(tmp_path, "train"), SMALL)


def test_crops_are_cached(folder, tmp_path_factory, monkeypatch):
    cache = tmp_path_factory.mktemp("cache")
    first = load_svhn(folder, SMALL, cache)
    assert len(list(cache.glob("svhn-*-16px-*.npz"))) == 3
    monkeypatch.setattr(Part, "pictures", None)
    cached = load_svhn(folder, SMALL, cache)
    for split, source in first.items():
        np.testing.assert_array_equal(cached[split].images, source.images)
        np.testing.assert_array_equal(cached[split].labels, source.labels)
    with pytest.raises(TypeError):  # Other crops are not in the cache.
        load_svhn(folder, SvhnConfig(size=17), cache)


def test_cached_records_serve_crops_of_all_sizes(tmp_path, monkeypatch):
    records = [*some_records(6), ("7.png", []), ("8.png", [(1, 4, 6, 8, 14)] * 6)]
    make_part(tmp_path, "train", records)
    part = find_part(tmp_path, "train")
    with pytest.warns(UserWarning) as first:
        expected = load_part(part, SvhnConfig(size=17), None)
        load_part(part, SMALL, tmp_path / "cache")
    monkeypatch.setattr(Part, "records", None)
    with pytest.warns(UserWarning) as second:
        loaded = load_part(part, SvhnConfig(size=17), tmp_path / "cache")
    for array, other in zip(loaded, expected, strict=True):
        np.testing.assert_array_equal(array, other)
    assert {str(each.message) for each in second} == {str(each.message) for each in first}
    # A changed file is read again.
    make_part(tmp_path, "train", some_records(5))
    with pytest.raises(TypeError):
        load_part(part, SvhnConfig(size=18), tmp_path / "cache")


def test_cached_crops_repeat_the_warning(tmp_path):
    make_part(tmp_path, "train", [("1.png", [(3, 4, 6, 8, 14)]), ("2.png", []), ("3.png", [(1, 4, 6, 8, 14)] * 6)])
    messages = []
    for _ in range(2):
        with pytest.warns(UserWarning) as warned:
            load_part(find_part(tmp_path, "train"), SMALL, tmp_path / "cache")
        messages.append([str(each.message) for each in warned])
    where = str(tmp_path / "train.tar.gz")
    expected = f"{where!r} gives 1 numbers; skipped 1 with more than 5 digits; skipped 1 with no digits"
    assert messages == [[expected], [expected]]
    assert len(list((tmp_path / "cache").glob("svhn-train-16px-*.npz"))) == 1


def _write_archive(folder, members):
    make_archive(folder / "train.tar.gz", [("train/1.png", make_png(make_picture(0))), *members])


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "test.tar.gz").unlink(), r"holds no test\.tar\.gz: download it from http://ufldl"),
        (
            lambda folder: _write_archive(folder, []),
            "digitStruct.mat of .*train.tar.gz' is not a digitStruct.mat",
        ),
        (lambda folder: _write_archive(folder, [("train/digitStruct.mat", b"text")]), "is not a digitStruct.mat"),
        (lambda folder: (folder / "train.tar.gz").write_bytes(b"nothing"), "truncated or damaged"),
        (lambda folder: (folder / "train.tar.gz").write_bytes(b""), "truncated or damaged"),
    ],
)
def test_errors_name_the_file(folder, spoil, message):
    spoil(folder)
    with pytest.raises(ValueError, match=message):
        load_svhn(folder, SMALL)


def test_path_that_is_not_a_folder_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"absent' \(--data\) holds no train.tar.gz: download it"):
        load_svhn(tmp_path / "absent", SMALL)


def test_part_without_valid_records_is_named(tmp_path):
    make_part(tmp_path, "test", [("1.png", [])])
    with pytest.raises(ValueError, match="test.tar.gz' holds no usable number; skipped 1 with no digits"):
        load_part(find_part(tmp_path, "test"), SMALL, tmp_path / "cache")


@pytest.mark.parametrize(
    ("name", "side", "channels", "symbols"),
    [("svhn_numbers", 54, 3, 6), ("svhn_numbers_110", 110, 3, 6), ("svhn_numbers_32", 32, 1, 5)],
)
def test_svhn_is_loaded_as_a_task(folder, tmp_path_factory, name, side, channels, symbols):
    data = load_task(name, data=folder, cache_dir=tmp_path_factory.mktemp("cache"))
    assert (data.height, data.width, data.channels, data.num_targets) == (side, side, channels, symbols)
    assert data.class_names == (*"0123456789", "end") and len(data.test.labels) == 5
    images, labels = sample_batch(jax.random.key(0), data.train, data.recipe, 4)
    assert images.shape == (4, side, side, channels) and labels.shape == (4, symbols)


def test_crops_are_those_of_house_numbers(folder, tmp_path):
    gray = load_task("svhn_numbers", data=folder, resize=27, grayscale=True, cache_dir=tmp_path / "cache")
    assert gray.train.images.shape == (27, 32, 32, 1) and gray.recipe == Crop(27, 27)


def test_missing_data_is_explained(folder):
    with pytest.raises(ValueError, match=r"'svhn_numbers' needs data \(--data\): a folder with train.tar.gz"):
        load_task("svhn_numbers")
    with pytest.raises(ValueError, match=r"^num_images \(1, 2, 3\): only for rendered house numbers"):
        load_task("svhn_numbers", data=folder, num_images=(1, 2, 3))


def test_no_suffix_if_nothing_was_skipped():
    assert describe_skipped(Counter()) == ""
