"""Laws of the set of all printable ASCII: EMNIST and the marks that it lacks."""

import gzip
import string

import numpy as np
import pytest

from jdiff import data
from jdiff.data import PRINTABLE_CHARS, DataError

pytest.importorskip("matplotlib")


def idx(values):
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    return gzip.compress(header + values.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """An EMNIST of one image of each class, class k at grey level k."""
    folder = tmp_path_factory.mktemp("emnist")
    labels = np.arange(62)
    images = np.ones((62, 28, 28)) * labels[:, None, None]
    for split in ("train", "test"):
        stem = f"emnist-byclass-{split}"
        (folder / f"{stem}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (folder / f"{stem}-labels-idx1-ubyte.gz").write_bytes(idx(labels))
    return folder


def of(dataset, char):
    return dataset.images[dataset.labels == dataset.classes.index(char)]


def test_every_printable_ascii_character_but_the_space_has_a_class(folder):
    got = data.printable("train", folder, 1)
    assert sorted(got.classes) == [chr(code) for code in range(33, 127)]
    assert got.classes.startswith(data.EMNIST_CHARS)
    assert got.images.shape == (94, 28, 28, 1) and got.images.dtype == np.uint8
    assert got.labels.tolist() == list(range(94)) and got.labels.dtype == np.int32


def test_letters_are_emnist_s_and_marks_are_glyphs(folder):
    got = data.printable("train", folder, 3)
    for k, char in enumerate(data.EMNIST_CHARS):
        assert (of(got, char) == k).all()
    for char in "!~@":
        np.testing.assert_array_equal(of(got, char), data.glyphs(3, 0, char).images)


def test_the_marks_of_the_test_are_other_glyphs(folder):
    train, test = (data.printable(split, folder, 20) for split in ("train", "test"))
    for char in string.punctuation:
        both = np.concatenate([of(train, char), of(test, char)])
        assert len(np.unique(both, axis=0)) == 40


def test_a_command_line_names_the_set(folder):
    got = data.load("ascii", "test", folder)
    assert got.classes == PRINTABLE_CHARS
    counts = np.bincount(got.labels)[62:]
    assert len(set(counts.tolist())) == 1 and counts[0] >= 100


def test_errors_are_those_of_its_two_parts(folder, tmp_path):
    with pytest.raises(DataError, match="train, test, got 'dev'"):
        data.printable("dev", folder)
    with pytest.raises(DataError, match="num_per_char must be at least 1, got 0"):
        data.printable("train", folder, 0)
    with pytest.raises(DataError, match="data_dir must hold emnist/byclass"):
        data.load("ascii", data_dir=tmp_path)


# How the marks look


def holes(image):
    """How many parts of the paper, larger than a pixel, the ink encloses."""
    paper = np.pad(image < 128, 1, constant_values=True)
    place = np.arange(1, paper.size + 1).reshape(paper.shape) * paper
    while True:
        near = [np.roll(place, step, axis) for step in (1, -1) for axis in (0, 1)]
        spread = np.max([place, *near], axis=0) * paper
        if (spread == place).all():
            return (np.unique(place[paper], return_counts=True)[1] > 1).sum() - 1
        place = spread


@pytest.mark.parametrize(
    ("char", "expected"),
    [("@", {1}), ("%", {2, 3}), ("#", {1}), ("&", {1, 2}), ("*", {0}), ('"', {0})],
)
def test_holes_stay_open_whatever_the_pen(char, expected):
    images = data.glyphs(30, 0, char).images[..., 0]
    counted = [holes(image) in expected for image in images]
    assert np.mean(counted) > 0.8


@pytest.mark.parametrize(
    "pair", ["-_", "-~", "-=", "'`", "',", ",.", "/\\", "|/", "()"]
)
def test_marks_that_resemble_each_other_can_be_told_apart(pair):
    known, asked = (data.glyphs(40, seed, pair).images for seed in (0, 1))
    known, asked = (np.float32(a.reshape(80, -1)) for a in (known, asked))
    distance = ((asked[:, None] - known) ** 2).sum(-1)
    right = (distance.argmin(1) >= 40) == (np.arange(80) >= 40)
    assert right.mean() > 0.8


def test_a_full_stop_is_a_round_dot_and_a_dash_is_flat():
    def ratio(char):
        ink = data.glyphs(30, 0, char).images[..., 0] > 127
        return ink.any(1).sum(1) / ink.any(2).sum(1)

    assert np.abs(np.log(ratio("."))).max() < 0.5
    assert np.median(ratio("-")) > 2 and np.median(ratio("_")) > 4
    assert np.median(ratio("|")) < 0.3
