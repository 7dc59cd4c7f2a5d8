"""Images of characters: EMNIST, MNIST, a synthetic set drawn from fonts, .npz files."""

from pathlib import Path

from jdiff.data.dataset import EMNIST_CHARS, DataError, Dataset, read_npz
from jdiff.data.emnist import emnist, mnist
from jdiff.data.glyphs import glyphs

__all__ = [
    "EMNIST_CHARS",
    "DataError",
    "Dataset",
    "emnist",
    "glyphs",
    "load",
    "mnist",
    "read_npz",
]


def load(
    source: str, split: str = "train", data_dir: str | Path | None = None
) -> Dataset:
    """The data set that a command line names.

    Args:
        source: "emnist/byclass" (or another name that `emnist` knows), "mnist",
            "glyphs", or the path of an .npz file.
        split: "train" or "test". The test glyphs are other glyphs of the same fonts; an
            .npz file has only "train".
        data_dir: see `emnist`; without meaning for glyphs and .npz files.

    Raises:
        DataError: unknown source or split, or what the reader of the source raises.
    """
    if split not in ("train", "test"):
        raise DataError(f"split must be one of train, test, got {split!r}.")
    collection, _, name = source.partition("/")
    if source.endswith(".npz"):
        if split != "train":
            raise DataError(f"split must be train for an .npz file, got {split!r}.")
        return read_npz(source)
    if collection == "emnist" and name:
        return emnist(name, split, data_dir)
    if source == "mnist":
        return mnist(split, data_dir)
    if source == "glyphs":
        return glyphs(seed=0 if split == "train" else 1)
    raise DataError(
        "data must be emnist/NAME (such as emnist/byclass), mnist, glyphs or a file "
        f"that ends in .npz, got {source!r}."
    )
