"""A `digitStruct.mat` that leads into other files, or claims more than it holds, is refused before it is read."""

import io
from collections import Counter

import h5py
import numpy as np
import pytest

from common.data.svhn.digit_struct import read_records
from tests.common.data.svhn.svhn_maker import make_mat, some_records

FIELDS = ("left", "top", "width", "height", "label")


@pytest.fixture
def other(tmp_path):
    """Files that a user would not want to be read."""
    (tmp_path / "secret").write_bytes(b"1.png".ljust(64, b"\0"))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["value"] = np.array([[12.0]])
        file.create_group("digitStruct")
    return tmp_path


def outside_values(file, group, name, folder):
    """The values lie in another file: HDF5's external storage."""
    del group[name]
    group.create_dataset(name, shape=(1, 1), dtype="f8", external=[(str(folder / "secret"), 0, 8)])


def outside_name(file, group, name, folder):
    """The name of a picture lies in another file."""
    letters = file["#refs#"].create_dataset("e", shape=(5, 1), dtype="u1", external=[(str(folder / "secret"), 0, 5)])
    file["digitStruct/name"][0] = letters.ref


def virtual(file, group, name, folder):
    """The values are those of a data set of another file."""
    del group[name]
    layout = h5py.VirtualLayout((1, 1), "f8")
    layout[...] = h5py.VirtualSource(str(folder / "other.h5"), "value", (1, 1))
    group.create_virtual_dataset(name, layout)


def link(file, group, name, folder):
    """The field is a link to a data set of another file."""
    del group[name]
    group[name] = h5py.ExternalLink(str(folder / "other.h5"), "value")


def soft_link(file, group, name, folder):
    """The field is a link by name, which may pass through another file."""
    file["away"] = h5py.ExternalLink(str(folder / "other.h5"), "/")
    del group[name]
    group[name] = h5py.SoftLink("/away/value")


def claim(file, group, name, folder):
    """The field claims more values than fit into memory."""
    del group[name]
    group.create_dataset(name, shape=(2**40,), dtype="f8", chunks=(2**20,))


def linked_root(file, group, name, folder):
    """All records lie in another file."""
    del file["digitStruct"]
    file["digitStruct"] = h5py.ExternalLink(str(folder / "other.h5"), "digitStruct")


def linked_list(file, group, name, folder):
    """The list of names or boxes is a link to another file."""
    del file["digitStruct/name"]
    file["digitStruct/name"] = h5py.ExternalLink(str(folder / "other.h5"), "value")


EVERY_FIELD = [(edit, name) for edit in (outside_values, virtual, link, soft_link, claim) for name in FIELDS]
CASES = [*EVERY_FIELD, (outside_name, ""), (linked_root, ""), (linked_list, "")]


@pytest.mark.parametrize("edit, name", CASES, ids=[f"{edit.__name__}-{name}" for edit, name in CASES])
def test_a_file_that_leads_elsewhere_is_refused(other, record_fault, edit, name):
    content = io.BytesIO(make_mat(some_records(6)))
    with h5py.File(content, "r+") as file:
        edit(file, file["#refs#/b0"], name, other)
    reason = "is a link|lie in another file|claims 1,099,511,627,776 values"
    with pytest.raises(ValueError, match=f"^here is not a digitStruct.mat of SVHN: .*({reason})"):
        read_records(content.getvalue(), "here", Counter())
    record_fault("hostile archives and .mat files", "named")
