"""The IDX format of MNIST and EMNIST, gzipped, in a folder or inside a zip."""

import gzip
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np

from jdiff.data.dataset import DataError

_GZIP_MAGIC = b"\x1f\x8b"
_DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile)


def read_idx(path: Path | zipfile.Path, ndim: int) -> np.ndarray:
    """The bytes of a gzipped IDX file, in the shape that its header gives.

    An IDX file is `0 0 8 ndim` (8: unsigned bytes), `ndim` sizes as big-endian uint32,
    then the values, the last axis fastest.

    Args:
        path: the file, on disk or in a zip.
        ndim: 3 for images, 1 for labels.

    Returns:
        uint8, `ndim` axes, read-only.

    Raises:
        DataError: truncated, damaged, a web page, or not an IDX file of `ndim` axes.
    """
    raw = _gunzip(path)
    magic = bytes([0, 0, 8, ndim])
    start = len(magic) + 4 * ndim
    if raw[:4] != magic or len(raw) < start:
        raise DataError(
            f"{path} must be an IDX file of bytes with {ndim} axes (magic "
            f"{magic.hex()}), got magic {raw[:4].hex() or 'nothing'}."
        )
    shape = tuple(int(n) for n in np.frombuffer(raw, ">u4", ndim, len(magic)))
    if len(raw) - start != math.prod(shape):
        raise DataError(
            f"{path} must hold {' x '.join(map(str, shape))} values as its header "
            f"says, got {len(raw) - start}."
        )
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _gunzip(path: Path | zipfile.Path) -> bytes:
    try:
        with path.open("rb") as file:
            packed = file.read()
        if packed.startswith(_GZIP_MAGIC):
            return gzip.decompress(packed)
    except _DAMAGED as error:
        raise DataError(
            f"{path} must be a whole .gz file, got a truncated or damaged one "
            f"({error}); fetch it again."
        ) from error
    raise DataError(f"{path} must be a .gz file, got {describe(packed)}.")


def describe(head: bytes) -> str:
    """In words, what a file that should be an archive is, by its first bytes."""
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "what looks like a web page, which is what a failed download leaves"
    return f"a file that starts with {head[:4].hex()}" if head else "an empty file"
