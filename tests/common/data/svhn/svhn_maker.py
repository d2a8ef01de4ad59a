"""Writes files in the format of SVHN: digitStruct.mat as MATLAB 7.3 writes it, PNGs, gzipped archives."""

import io
import tarfile

import h5py
import numpy as np
from PIL import Image

FIELDS = ("height", "label", "left", "top", "width")


def make_mat(records):
    """Return the bytes of digitStruct.mat for records of ``(name, [(label, left, top, width, height), ...])``."""
    content = io.BytesIO()
    # MATLAB writes a header of 512 bytes before the HDF5 file.
    with h5py.File(content, "w", userblock_size=512) as file:
        refs = file.create_group("#refs#")
        struct = file.create_group("digitStruct")
        names, boxes = [], []
        for i, (name, digits) in enumerate(records):
            letters = np.array([[ord(letter)] for letter in name], np.uint16)
            names.append(refs.create_dataset(f"n{i}", data=letters).ref)
            group = refs.create_group(f"b{i}")
            boxes.append(group.ref)
            for field, column in zip(FIELDS, (4, 0, 1, 2, 3), strict=True):
                values = [np.array([[float(digit[column])]]) for digit in digits]
                if len(values) == 1:
                    group.create_dataset(field, data=values[0])
                elif values:
                    each = [refs.create_dataset(f"v{i}{field}{j}", data=value).ref for j, value in enumerate(values)]
                    group.create_dataset(field, data=np.array(each)[:, None], dtype=h5py.ref_dtype)
                else:  # MATLAB stores an empty array as its shape.
                    group.create_dataset(field, data=np.zeros(2, np.uint64)).attrs["MATLAB_empty"] = np.uint8(1)
        struct.create_dataset("name", data=np.array(names)[:, None], dtype=h5py.ref_dtype)
        struct.create_dataset("bbox", data=np.array(boxes)[:, None], dtype=h5py.ref_dtype)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512, b" ")
    return header + content.getvalue()[512:]


def make_picture(seed, width=40, height=30):
    """Return a picture of noise, uint8 `[height, width, 3]`."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_png(pixels):
    """Return the bytes of a PNG file."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "PNG")
    return content.getvalue()


def make_archive(path, members):
    """Write a gzipped archive of ``(name, bytes)``."""
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def make_part(folder, name, records, pictures=None, records_first=False):
    """Write NAME.tar.gz with its pictures (noise by default) and its records, and return the pictures."""
    pictures = {record: make_picture(i) for i, (record, _) in enumerate(records)} if pictures is None else pictures
    members = [(f"{name}/{picture}", make_png(pixels)) for picture, pixels in pictures.items()]
    members.insert(0 if records_first else len(members), (f"{name}/digitStruct.mat", make_mat(records)))
    members.append((f"{name}/see_bboxes.m", b"% shows the boxes"))
    make_archive(folder / f"{name}.tar.gz", members)
    return pictures


def some_records(count, seed=0):
    """Return records of one to three digits in pictures of 40x30 pixels."""
    rng = np.random.default_rng(seed)
    records = []
    for i in range(count):
        digits = [(int(rng.integers(1, 11)), 4 + 9 * j, 6 + j, 8, 14) for j in range(1 + i % 3)]
        records.append((f"{i + 1}.png", digits))
    return records


def make_parts(folder, counts):
    """Write a part with some records for each ``name: count``, and return the folder."""
    for name, count in counts.items():
        make_part(folder, name, some_records(count, seed=count))
    return folder
