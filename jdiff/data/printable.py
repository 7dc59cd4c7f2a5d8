"""EMNIST and the marks that it lacks: every printable ASCII character but the space."""

import string
from pathlib import Path

import numpy as np

from jdiff.data.dataset import EMNIST_CHARS, Dataset
from jdiff.data.emnist import emnist
from jdiff.data.glyphs import glyphs

PRINTABLE_CHARS = EMNIST_CHARS + string.punctuation  # 62 and 32, in code order

_NUM_PER_MARK = {"train": 1000, "test": 200}


def printable(
    split: str = "train",
    data_dir: str | Path | None = None,
    num_per_mark: int | None = None,
) -> Dataset:
    """EMNIST by class, then synthetic glyphs of the 32 punctuation marks.

    Args:
        split: "train" or "test". The marks for the test are other glyphs of the same
            fonts.
        data_dir: of EMNIST, see `emnist`.
        num_per_mark: glyphs of each mark, at least 1; by default 1,000 to train with
            and 200 to test with.

    Returns:
        images uint8 [N + 32 num_per_mark, 28, 28, 1], N as in `emnist`, whose labels
        stay; the marks follow, sorted by class. The classes are `PRINTABLE_CHARS`.

    Raises:
        DataError: what `emnist` or `glyphs` raises.
    """
    letters = emnist("byclass", split, data_dir)
    num = _NUM_PER_MARK[split] if num_per_mark is None else num_per_mark
    marks = glyphs(num, seed_of(split), string.punctuation)
    return Dataset(
        np.concatenate([letters.images, marks.images]),
        np.concatenate([letters.labels, marks.labels + len(letters.chars)]),
        PRINTABLE_CHARS,
    )


def seed_of(split: str) -> int:
    """The seed of the glyphs of a split, "train" or "test"."""
    return ("train", "test").index(split)
