"""Arrays in files that anybody may have written: the gate of .npz and of gzip.

Only regular files are opened, for others may never end. What a header promises is
checked before memory is asked for. Only what is asked for is read, and nothing is
unpickled. Whatever a library raises on a broken file becomes one error.
"""

import contextlib
import gzip
import math
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jdiff.storage.files import expand

# An array is at most as large as the one or, of a large file, as the other times what
# is stored. Deflate reaches 1,032 to 1 on zeros, and images of ink about 5 to 1.
_MAX_BYTES, _MAX_RATIO = 2**28, 64
_KINDS = "biufU"  # of NumPy: numbers and strings, no objects
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
_GZIP_MAGIC = b"\x1f\x8b"


class DataError(ValueError):
    """A data set is missing, broken, or of another kind than requested."""


@contextlib.contextmanager
def reading(
    path: Any, kind: str, as_error: type[ValueError] = DataError
) -> Iterator[None]:
    """Turns what any library raises on a broken file into one error.

    Args:
        path: of the file, for the message.
        kind: what it must be, for the message: "a whole .gz file".
        as_error: the class of the error; what is of it already keeps its words.
    """
    try:
        yield
    except as_error as error:
        if str(path) in str(error):
            raise
        raise as_error(f"{path}: {error}") from error
    # zipfile, zlib, lzma, tokenize, NumPy, Pillow and TFDS have no common class.
    except Exception as error:
        raise as_error(
            f"{path} must be {kind}, got one that cannot be read "
            f"({type(error).__name__}: {first_line(error)})."
        ) from error


def first_line(error: BaseException) -> str:
    """Returns what an error says, in one line of at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def check_size(num_bytes: int, most: int, where: Any) -> None:
    """Raises DataError if what a header promises is more than there should be."""
    if num_bytes > most:
        raise DataError(
            f"{where} must be at most {most:,} bytes unpacked, got {num_bytes:,}."
        )


def read_arrays(path: str | Path, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Returns those of the named arrays that an .npz file holds; reads no others.

    Raises:
        DataError: there is no such file, or it is not an .npz of plain arrays.
    """
    file = expand(path)
    if not file.is_file():
        raise DataError(f"{path} must be an existing .npz file, got no such file.")
    with (
        reading(path, "an .npz file of plain arrays"),
        zipfile.ZipFile(file) as archive,
    ):
        infos = {info.filename: info for info in archive.infolist()}
        return {
            name: _read_array(archive, infos[f"{name}.npy"], f"{name} in {path}")
            for name in names
            if f"{name}.npy" in infos
        }


def _read_array(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, where: str
) -> np.ndarray:
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version not in _HEADERS:
            raise DataError(f"{where} must be of format 1 or 2, got {version}.")
        shape, is_fortran, dtype = _HEADERS[version](file)
        if dtype.kind not in _KINDS or not dtype.itemsize or min(shape, default=0) < 0:
            raise DataError(f"{where} must be a plain array, got {dtype} {shape}.")
        num_bytes = math.prod(shape) * dtype.itemsize
        most = max(_MAX_BYTES, _MAX_RATIO * info.compress_size)
        check_size(num_bytes, most, where)
        raw = file.read(num_bytes)
        # The check sum is compared at the end.
        if len(raw) != num_bytes or file.read(1):
            raise DataError(
                f"{where} must hold {list(shape)}, {num_bytes:,} bytes, as its header "
                "says, got others."
            )
    return np.frombuffer(raw, dtype).reshape(shape, order="F" if is_fortran else "C")


@contextlib.contextmanager
def open_gzip(path: Any) -> Iterator[gzip.GzipFile]:
    """Returns a context with what a gzipped file holds, to be read as far as needed.

    Args:
        path: a regular file, or one in an archive, `zipfile.Path`.

    Raises:
        DataError: it is not gzipped, or damaged; also while it is read.
    """
    with reading(path, "a whole .gz file"), path.open("rb") as packed:
        head = packed.read(256)
        if not head.startswith(_GZIP_MAGIC):
            raise DataError(f"{path} must be a .gz file, got {describe(head)}.")
        packed.seek(0)
        with gzip.GzipFile(fileobj=packed) as file:
            yield file


def describe(head: bytes) -> str:
    """Returns in words what a file is that should be an archive, by its first bytes."""
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return "what looks like a web page, which is what a failed download leaves"
    return f"a file that starts with {head[:4].hex()}" if head else "an empty file"
