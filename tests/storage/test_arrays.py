"""The gate of files that anybody may have written: .npz, gzip, and what is no file."""

import gzip
import io
import os
import resource
import struct
import zipfile
import zlib

import numpy as np
import pytest

from jdiff import data, storage
from jdiff.storage import DataError

GOOD = np.arange(6, dtype=np.uint8).reshape(2, 3)


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def with_header(header, body=bytes(20)):
    """An array in NumPy's format whose header is any text."""
    text = header.encode("latin1")
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def write_zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(name, content)


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("compression", [0, 8, 12, 14])
def test_arrays_come_back_as_they_were_saved(tmp_path, order, compression):
    arrays = {"a": np.asarray(GOOD, order=order), "b": np.array(["x", "yz"])}
    arrays |= {"c": np.array(3.5, ">f8"), "d": np.zeros((0, 4), np.int16)}
    members = {f"{name}.npy": npy(array) for name, array in arrays.items()}
    write_zip(tmp_path / "a.npz", members, compression)
    found = storage.read_arrays(tmp_path / "a.npz", [*arrays, "missing"])
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_arrays_that_nobody_asks_for_are_not_read(tmp_path):
    bomb = with_header("{'descr': '|u1', 'fortran_order': False, 'shape': (9,), }")
    write_zip(tmp_path / "a.npz", {"a.npy": npy(GOOD), "bomb.npy": bomb, "b": b"no"})
    assert storage.read_arrays(tmp_path / "a.npz", ["a"])["a"].tolist() == GOOD.tolist()
    with pytest.raises(DataError, match="9 bytes, as its header says"):
        storage.read_arrays(tmp_path / "a.npz", ["bomb"])


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '|u1', 'fortran_order': False, 'shape': (-1, 5), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<U999999999', 'fortran_order': False, 'shape': (9,), }",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (2**70,), }",
        "{'descr': '|O', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (True, 2.5), }",
        "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '|V0', 'fortran_order': False, 'shape': (2,), }",
        "(" * 9000,
        "'" * 999,
        "{" * 99 + "\\\n",
        "",
    ],
)
def test_a_hostile_header_is_refused(tmp_path, header):
    write_zip(tmp_path / "a.npz", {"a.npy": with_header(header)})
    with pytest.raises(DataError, match="a.npz must"):
        storage.read_arrays(tmp_path / "a.npz", ["a"])


def test_zeros_that_fill_the_memory_are_refused(tmp_path):
    """A megabyte of zip that becomes a gigabyte of zeros."""
    header = "{'descr': '|u1', 'fortran_order': False, 'shape': (1073741824,), }"
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as file:
        with file.open("images.npy", "w", force_zip64=True) as member:
            member.write(with_header(header, b""))
            for _ in range(64):
                member.write(bytes(2**24))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="at most 268,435,456 bytes unpacked, got"):
        data.read_npz(tmp_path / "a.npz")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**16  # kB


# Version, flags and method, in the directory and before the member.
KIND = bytes([20, 0, 0, 0, 8, 0])


@pytest.mark.parametrize(
    ("find", "replace"),
    [
        (KIND, bytes([20, 0, 1, 0, 8, 0])),
        (KIND, bytes([20, 0, 0, 0, 99, 0])),
        (KIND, bytes([20, 0, 0, 0, 14, 0])),
        (b"PK\x05\x06", b"PK\x05\x07"),
    ],
    ids=["encrypted", "unknown compression", "LZMA that is none", "no directory"],
)
def test_a_damaged_zip_is_refused(tmp_path, find, replace):
    path = tmp_path / "a.npz"
    write_zip(path, {"a.npy": npy(GOOD)})
    good = path.read_bytes()
    path.write_bytes(good.replace(find, replace))
    assert path.read_bytes() != good
    with pytest.raises(DataError, match="must be an .npz file of plain arrays"):
        storage.read_arrays(path, ["a"])


def test_what_is_no_regular_file_is_not_opened(tmp_path):
    """A named pipe would be waited for, without end."""
    for name in ("a.npz", "gzip.zip", "train-images-idx3-ubyte.gz", "w.safetensors"):
        os.mkfifo(tmp_path / name)
    for name in ("a.npz", "/dev/zero", tmp_path, "missing.npz"):
        with pytest.raises(DataError, match="must be an existing .npz file"):
            storage.read_arrays(tmp_path / name, ["a"])
    for read in (data.emnist, lambda data_dir: data.mnist("train", data_dir)):
        with pytest.raises(DataError, match="data_dir must hold"):
            read(data_dir=tmp_path)
    with pytest.raises(storage.WeightsError, match="weights must be a file"):
        storage.load_weights(tmp_path / "w.safetensors")


def test_gzip_is_read_no_further_than_it_is_asked_for(tmp_path):
    """A megabyte becomes a gigabyte, of which the header of IDX promises none."""
    images = tmp_path / "train-images-idx3-ubyte.gz"
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    head = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 28, 28)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    with images.open("wb") as file:
        file.write(packer.compress(head))
        for _ in range(64):
            file.write(packer.compress(bytes(2**24)))
    labels.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 2, 0, 1])))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match="2 x 28 x 28 values .* got more"):
        data.mnist("train", tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**16
