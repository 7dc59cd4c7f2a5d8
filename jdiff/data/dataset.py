"""Labelled images: the type of all data sets, its error, and .npz files."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jdiff import storage
from jdiff.storage import DataError

EMNIST_CHARS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Dataset(NamedTuple):
    """Labelled images, in most sets of characters.

    Attributes:
        images: uint8[N, H, W, C], upright; 0 is paper and 255 is ink.
        labels: int32[N]; image i is of `classes[labels[i]]`.
        classes: a string of one character per class, or a tuple of names.
    """

    images: np.ndarray
    labels: np.ndarray
    classes: str | tuple[str, ...]


@contextlib.contextmanager
def installed(what: str) -> Iterator[None]:
    """Turns a missing module into a DataError that names the extra with it."""
    try:
        yield
    except ImportError as error:
        raise DataError(
            f"{what} must be installed, got {error}: pip install 'jdiffusion[train]'."
        ) from error


def select(dataset: Dataset, rows: np.ndarray | slice) -> Dataset:
    """Returns some of the images; rows are int[n], bool[N] or a slice."""
    return dataset._replace(images=dataset.images[rows], labels=dataset.labels[rows])


def join_names(names: Iterable[str]) -> str | tuple[str, ...]:
    """Returns names as classes: a string if every name is one character."""
    names = tuple(names)
    return "".join(names) if all(len(name) == 1 for name in names) else names


def check_labels(
    labels: np.ndarray, num_images: int, classes: Sequence[str], where: str
) -> None:
    """Raises DataError, naming a file, unless each image has the label of a class."""
    if num_images == 0:
        raise DataError(f"{where} must hold at least one image, got none.")
    if len(labels) != num_images:
        raise DataError(
            f"{where} must hold one label per image, got {num_images} images and "
            f"{len(labels)} labels."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= len(classes):
        raise DataError(
            f"{where} must hold labels of {len(classes)} classes (0-based: 0 to "
            f"{len(classes) - 1}), got {low} to {high}."
        )


def read_npz(path: str | Path) -> Dataset:
    """Returns the data set in an .npz file, such as one that `jdiff sample` wrote.

    The file holds `images` and either

    - `labels`, int [N], with optional `chars`, one character per class (without it the
      labels count along 0-9, A-Z, a-z), or
    - `chars` alone, one character per image; the classes are then the sorted
      characters that occur.

    Args:
        path: an .npz file with `images` uint8 [N, H, W] or [N, H, W, C], upright.

    Raises:
        DataError: no such file, not an .npz, or an array missing, of another type or
            shape. Pickled objects are never loaded.
    """
    arrays = storage.read_arrays(path, ("images", "labels", "chars"))
    # NumPy takes any number for a character, and fails where it is used.
    with storage.reading(path, "an .npz file of images"):
        return _dataset(arrays, path)


def _dataset(arrays: dict[str, np.ndarray], path: str | Path) -> Dataset:
    images = arrays.get("images", np.zeros(0))
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        got = f"{images.dtype} {list(images.shape)}" if "images" in arrays else "none"
        raise DataError(
            f"{path} must hold images as uint8 [N, H, W] or [N, H, W, C], got {got}."
        )
    if "labels" in arrays:
        labels, chars = _labels_of_classes(arrays, path)
    elif "chars" in arrays:
        names = _characters(arrays["chars"], path)
        distinct, labels = np.unique(names, return_inverse=True)
        chars = "".join(distinct)
    else:
        raise DataError(f"{path} must hold labels or chars, got {sorted(arrays)}.")
    check_labels(labels, len(images), chars, str(path))
    if images.ndim == 3:
        images = images[..., None]
    return Dataset(images, labels.astype(np.int32), chars)


def _labels_of_classes(
    arrays: dict[str, np.ndarray], path: str | Path
) -> tuple[np.ndarray, str]:
    labels = arrays["labels"]
    if labels.dtype.kind not in "iu" or labels.ndim != 1:
        raise DataError(
            f"{path} must hold labels as integers [N], got {labels.dtype} "
            f"{list(labels.shape)}."
        )
    if "chars" not in arrays:
        return labels, EMNIST_CHARS[: int(labels.max(initial=0)) + 1]
    names = arrays["chars"]
    chars = str(names) if names.ndim == 0 else "".join(_characters(names, path))
    if names.dtype.kind != "U" or len(set(chars)) != len(chars):
        raise DataError(
            f"{path} must hold chars as distinct characters, one per class, got "
            f"{chars[:80]!r}."
        )
    return labels, chars


def _characters(names: np.ndarray, path: str | Path) -> np.ndarray:
    single = names.dtype.kind == "U" and names.ndim == 1
    if not single or not (np.char.str_len(names) == 1).all():
        raise DataError(
            f"{path} must hold chars as [N] strings of one character, got "
            f"{names.dtype} {list(names.shape)}."
        )
    return names
