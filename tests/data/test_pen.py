"""Files of pen strokes."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from jdiff.data import DataError, holds_strokes, read_pen, save_pen

ARRAYS = {
    "points": np.array([[0, 0], [0, 256], [10, 384], [0, 0], [256, 0]], np.int16),
    "stroke_lengths": np.array([2, 1, 2], np.uint16),
    "num_strokes": np.array([2, 1], np.uint8),
    "chars": np.array([ord("i"), ord("-")], np.uint8),
    "writers": np.array([0, 3], np.uint16),
    "documents": np.array([0, 0], np.uint16),
    "lines": np.array([0, 1], np.uint16),
    "x": np.array([0, 300], np.int32),
    "has_baseline": np.array([True, False]),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "pen.npz"


def test_characters_come_with_their_strokes(path):
    np.savez_compressed(path, **ARRAYS)
    pen = read_pen(path)
    first, second = pen.strokes
    assert [len(stroke) for stroke in first] == [2, 1]
    np.testing.assert_allclose(first[1], [[10 / 256, 1.5]])
    np.testing.assert_allclose(second[0], [[0, 0], [1, 0]])
    assert pen.labels.tolist() == [ord("i") - 33, ord("-") - 33]
    assert pen.lines[0] != pen.lines[1]


def test_what_is_saved_is_read(path, tmp_path):
    np.savez_compressed(path, **ARRAYS)
    pen = read_pen(path)
    save_pen(tmp_path / "again.npz", pen)
    assert holds_strokes(tmp_path / "again.npz")
    again = read_pen(tmp_path / "again.npz")
    for before, after in zip(pen.strokes, again.strokes, strict=True):
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(a, b)
    for a, b in zip(pen[1:], again[1:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_strokes_beyond_the_format_are_not_saved(path, tmp_path):
    np.savez_compressed(path, **ARRAYS)
    pen = read_pen(path)
    far = pen._replace(strokes=[pen.strokes[0], [np.full((1, 2), 200.0)]])
    with pytest.raises(ValueError, match="points must fit int16"):
        save_pen(tmp_path / "far.npz", far)
    assert not (tmp_path / "far.npz").exists()


def test_a_file_of_images_holds_no_strokes(path):
    np.savez(path, images=np.zeros((1, 28, 28), np.uint8), chars=["a"])
    assert not holds_strokes(path)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"points": ARRAYS["points"][:4]}, "5 points, got 4"),
        ({"stroke_lengths": np.array([2, 1], np.uint16)}, "3 stroke_lengths, got 2"),
        ({"stroke_lengths": np.array([2, 0, 3], np.uint16)}, ">= 1, got 0"),
        ({"x": np.array([0], np.int32)}, "must hold 2 x, got 1"),
        ({"x": np.array([0.0, 1.0])}, "x as int32 with 1 axes, got float64"),
        ({"chars": np.array([32, 33], np.uint8)}, r"\[33, 126\], got 32"),
        ({"points": np.zeros((5, 3), np.int16)}, r"\[P, 2\], got \[5, 3\]"),
        ({"writers": np.array([{}, {}])}, "a plain array, got object"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(path, change, message):
    np.savez(path, **ARRAYS | change)
    with pytest.raises(DataError, match=message):
        read_pen(path)


def test_a_missing_array_is_named(path):
    np.savez(path, **{name: a for name, a in ARRAYS.items() if name != "lines"})
    with pytest.raises(DataError, match="without lines"):
        read_pen(path)


def test_a_header_that_promises_terabytes_takes_no_memory(path):
    np.savez(path, **ARRAYS)
    header = io.BytesIO()
    facts = {"descr": "<i2", "fortran_order": False, "shape": (2**40, 2)}
    np.lib.format.write_array_header_1_0(header, facts)
    with zipfile.ZipFile(path) as old:
        members = {name: old.read(name) for name in old.namelist()}
    members["points.npy"] = header.getvalue() + bytes(20)
    with zipfile.ZipFile(path, "w") as new:
        for name, content in members.items():
            new.writestr(name, content)
    with pytest.raises(DataError, match="at most .* bytes unpacked"):
        read_pen(path)


@pytest.mark.parametrize("content", [b"", b"<html>", b"PK\x03\x04 broken"])
def test_what_is_no_npz_is_refused(path, content):
    path.write_bytes(content)
    with pytest.raises(DataError, match="must be an .npz file"):
        read_pen(path)


def test_a_truncated_file_is_refused(path):
    np.savez_compressed(path, **ARRAYS)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError):
        read_pen(path)


def test_a_missing_file_is_refused(path):
    with pytest.raises(DataError, match="no such file"):
        read_pen(path)


REAL = Path(os.environ.get("JDIFF_DATA_DIR", "nowhere")) / "pen" / "pen-train.npz"


@pytest.mark.skipif(not REAL.is_file(), reason="needs the strokes of UNIPEN")
def test_real_strokes_survive_their_coding():
    """Chamfer distance between a character and what its array gives back."""
    from jdiff.handwriting import decode_strokes, encode_strokes, resample

    pen = read_pen(REAL)
    assert len(pen.strokes) == 89_991 and len(set(pen.labels)) == 94
    distances = []
    for strokes in pen.strokes[:: len(pen.strokes) // 200]:
        decoded = decode_strokes(encode_strokes(strokes))
        a, b = (
            np.concatenate([resample(s, 100) for s in c]) for c in (strokes, decoded)
        )
        a, b = a - [a[:, 0].min(), 0], b - [b[:, 0].min(), 0]
        apart = np.hypot(*(a[:, None] - b).transpose(2, 0, 1))
        distances.append((apart.min(0).mean() + apart.min(1).mean()) / 2)
    assert np.median(distances) < 0.02
