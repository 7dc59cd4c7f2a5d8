"""EMNIST and MNIST, from the official files or a set that TFDS has prepared.

They are searched in this order: the `data_dir` argument, `JDIFF_DATA_DIR`, the cache
(`jdiff` in `$XDG_CACHE_HOME` or `~/.cache`), and a download into the cache. A directory
that the user names must hold the set; reading another one instead would hide a mistake.
A broken set is an error wherever it lies. The files are IDX, gzipped, in a folder or
inside a zip.

G. Cohen, S. Afshar, J. Tapson, A. van Schaik. EMNIST: an extension of MNIST to
handwritten letters. 2017.  Y. LeCun, L. Bottou, Y. Bengio, P. Haffner. Gradient-based
learning applied to document recognition. 1998.
"""

import math
import os
import string
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jdiff import storage
from jdiff.data import tfds
from jdiff.data.dataset import EMNIST_CHARS, DataError, Dataset, check_labels

# EMNIST's mapping files, label by label. bymerge and balanced keep only the small
# letters that do not look like their capital; letters gives both, here the capital.
_MERGED = string.digits + string.ascii_uppercase + "abdefghnqrt"
EMNIST_CLASSES = {
    "byclass": EMNIST_CHARS,
    "bymerge": _MERGED,
    "balanced": _MERGED,
    "letters": string.ascii_uppercase,
    "digits": string.digits,
    "mnist": string.digits,
}
_SPLITS = ("train", "test")
_Pair = tuple[np.ndarray, np.ndarray]  # images [N, H, W] and labels [N]
_MAX_BYTES = 2**30  # of a file; all of EMNIST has 0.64


class _Source(NamedTuple):
    """Where a set may lie in a directory, as files, in an archive, or under TFDS."""

    name: str  # as TFDS calls it
    split: str
    folders: tuple[str, ...]
    files: tuple[str, str]  # of the images and of the labels
    archive: str | None = None


def emnist(
    name: str = "byclass", split: str = "train", data_dir: str | Path | None = None
) -> Dataset:
    """Returns EMNIST, images uint8[N, 28, 28, 1], upright, with 0-based labels.

    The files of NIST and of TFDS store each image transposed and number the classes of
    `letters` from 1; both are undone here.

    Args:
        name: "byclass", "bymerge", "balanced", "letters", "digits" or "mnist".
        split: "train" or "test".
        data_dir: a directory with the .gz files, NIST's gzip.zip, or a set that TFDS
            has prepared as array_record.

    Raises:
        DataError: unknown name or split, a missing or broken set, a failed download.
    """
    _check_choice("name", name, tuple(EMNIST_CLASSES))
    _check_choice("split", split, _SPLITS)
    folders = "", "gzip", "emnist", "emnist/gzip"
    files = _files(f"emnist-{name}-{split}")
    source = _Source(f"emnist/{name}", split, folders, files, archive="gzip.zip")
    images, labels = _find(source, data_dir)
    labels = labels.astype(np.int32) - (name == "letters")
    return _dataset(source, images.swapaxes(1, 2), labels, EMNIST_CLASSES[name])


def mnist(split: str = "train", data_dir: str | Path | None = None) -> Dataset:
    """Returns MNIST, images uint8[N, 28, 28, 1], in its original order.

    Args:
        split: "train" or "test".
        data_dir: a directory with the .gz files, or a set that TFDS has prepared as
            array_record.

    Raises:
        DataError: unknown split, a missing or broken set, a failed download.
    """
    _check_choice("split", split, _SPLITS)
    files = _files({"train": "train", "test": "t10k"}[split])
    source = _Source("mnist", split, ("", "mnist"), files)
    return _dataset(source, *_find(source, data_dir), string.digits)


def read_idx(path: Path | zipfile.Path, ndim: int) -> np.ndarray:
    """Returns the array in a gzipped IDX file, on disk or in a zip, uint8, read-only.

    An IDX file is `0 0 8 ndim` (8: unsigned bytes), `ndim` sizes as big-endian uint32,
    then the values, the last axis fastest.
    """
    magic = bytes([0, 0, 8, ndim])
    start = len(magic) + 4 * ndim
    with storage.open_gzip(path) as file:
        head = file.read(start)
        if head[:4] != magic or len(head) < start:
            raise DataError(
                f"{path} must be an IDX file of bytes with {ndim} axes (magic "
                f"{magic.hex()}), got magic {head[:4].hex() or 'nothing'}."
            )
        shape = tuple(int(n) for n in np.frombuffer(head, ">u4", ndim, len(magic)))
        storage.check_size(math.prod(shape), _MAX_BYTES, path)
        raw = file.read(math.prod(shape))
        # The check sum is compared at the end.
        if len(raw) != math.prod(shape) or file.read(1):
            raise DataError(
                f"{path} must hold {' x '.join(map(str, shape))} values as its header "
                f"says, got {'fewer' if len(raw) < math.prod(shape) else 'more'}."
            )
    return np.frombuffer(raw, np.uint8).reshape(shape)


def _check_choice(what: str, got: str, allowed: tuple[str, ...]) -> None:
    if got not in allowed:
        raise DataError(f"{what} must be one of {', '.join(allowed)}, got {got!r}.")


def _files(stem: str) -> tuple[str, str]:
    return f"{stem}-images-idx3-ubyte.gz", f"{stem}-labels-idx1-ubyte.gz"


def _dataset(
    source: _Source, images: np.ndarray, labels: np.ndarray, classes: str
) -> Dataset:
    where = f"{source.name} {source.split}"
    if images.shape[1:] != (28, 28):
        height, width = images.shape[1:]
        raise DataError(f"{where} must hold 28 x 28 images, got {height} x {width}.")
    check_labels(labels, len(images), classes, where)
    # A transposed view would slow down every batch that is drawn from it.
    images = np.ascontiguousarray(images)[..., None]
    return Dataset(images, labels.astype(np.int32), classes)


def _find(source: _Source, data_dir: str | Path | None) -> _Pair:
    if data_dir is not None:
        return _find_in_named(source, storage.expand(data_dir), "data_dir")
    if named := os.environ.get("JDIFF_DATA_DIR"):
        return _find_in_named(source, storage.expand(named), "JDIFF_DATA_DIR")
    cache = storage.user_cache()
    if (found := _look_in(source, cache)) is not None:
        return found
    tfds.download(source.name, cache)
    if (found := _look_in(source, cache)) is None:
        raise DataError(f"the downloaded {source.name} must hold {source.files[0]}.")
    return found


def _find_in_named(source: _Source, root: Path, what: str) -> _Pair:
    if not root.is_dir():
        raise DataError(f"{what} must be an existing directory, got {str(root)!r}.")
    found = _look_in(source, root)
    if found is None:
        archive = f", for {source.archive}" if source.archive else ""
        raise DataError(
            f"{what} must hold {source.name} {source.split}: looked in {root} and its "
            f"folders {', '.join(source.folders[1:])} for "
            f"{' and '.join(source.files)}{archive} and for {source.name}/VERSION as "
            "TFDS prepares it, got none of them."
        )
    return found


def _look_in(source: _Source, root: Path) -> _Pair | None:
    folders = [root / folder for folder in source.folders]
    for folder in folders:
        if (found := _read_pair(source, folder)) is not None:
            return found
    archives = [folder / source.archive for folder in folders if source.archive]
    for archive in archives:
        if archive.is_file():
            return _read_archive(source, archive)
    return tfds.read_prepared(source.name, source.split, root)


def _read_archive(source: _Source, archive: Path) -> _Pair:
    with archive.open("rb") as packed:
        head = packed.read(256)
    got = "a truncated one" if head.startswith(b"PK") else storage.describe(head)
    if not zipfile.is_zipfile(archive):
        raise DataError(f"{archive} must be a whole .zip file, got {got}.")
    with (
        storage.reading(archive, "a whole .zip file"),
        zipfile.ZipFile(archive) as file,
    ):
        top = zipfile.Path(file)
        found = _read_pair(source, top / "gzip") or _read_pair(source, top)
    if found is None:
        raise DataError(
            f"{archive} must hold {source.files[0]}, got an archive without."
        )
    return found


def _read_pair(source: _Source, folder: Path | zipfile.Path) -> _Pair | None:
    images, labels = (folder / file for file in source.files)
    missing = [path for path in (images, labels) if not path.is_file()]
    if len(missing) == 2:
        return None
    if missing:
        raise DataError(f"{folder} must hold images and labels, got no {missing[0]}.")
    return read_idx(images, ndim=3), read_idx(labels, ndim=1)
