"""Prepared sets and downloads by tensorflow-datasets (TFDS), without TensorFlow.

TFDS supplies the addresses and checksums of the files that NIST publishes, which are
thus maintained in one place. Its own EMNIST builder is not used, because it needs
TensorFlow.
"""

import contextlib
import io
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urljoin

import numpy as np

from jdiff import storage
from jdiff.data.dataset import DataError, installed
from jdiff.data.folder import make_source
from jdiff.data.stream import Source, read_all

_MNIST_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_PACKAGES = "tensorflow-datasets and array_record"
_STAGING = "download-"
_ABANDONED_AFTER_S = 24 * 3600


def read_prepared(
    name: str, split: str, data_dir: Path
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns grey images [N, H, W] and labels [N] of a set, None if there is no such.

    As stored: EMNIST is transposed. Args and Raises: as `open_prepared`.
    """
    if _newest_version(data_dir / name) is None:
        return None
    dataset = read_all(open_prepared(name, split, data_dir))
    return dataset.images[..., 0], dataset.labels


def open_prepared(
    name: str, split: str = "train", data_dir: str | Path | None = None
) -> Source:
    """Returns any prepared set of labelled images, in TFDS's order.

    The rules of `jdiff.data.folder` give its images one size and kind.

    Args:
        name: of TFDS, NAME or NAME/CONFIG; the newest version counts.
        split: of TFDS.
        data_dir: of TFDS; by default `JDIFF_DATA_DIR`, else TFDS's own default.

    Raises:
        DataError: the set is missing, broken, not of labelled images, or only
            TensorFlow could read it.
    """
    tfds, version = _import_tfds(), _find_prepared(name, data_dir)
    with _reading(version, split):
        builder = tfds.builder_from_directory(version)
        image, label = builder.info.supervised_keys or ("image", "label")
        features = dict(builder.info.features.items())
        names = getattr(features.get(label), "names", None)
        if not isinstance(features.get(image), tfds.features.Image):
            names = None
        # Bytes, which Pillow decodes as it does the files of a folder.
        raw = {image: tfds.decode.SkipDecoding()}
        records = builder.as_data_source(split, decoders=raw if names else None)
    if not names or not len(records):
        raise DataError(
            f"{version} must hold images with labels of named classes, got "
            f"{len(records)} records of {', '.join(features)}."
        )

    def find(rows: Any) -> tuple[list, np.ndarray]:
        rows = np.arange(len(records))[rows].tolist()
        with _reading(version, split):
            some = records.__getitems__(rows)
        where = (f"{version}, image {row} of {split}" for row in rows)
        files = [io.BytesIO(record[image]) for record in some]
        labels = np.array([record[label] for record in some], np.int32)
        return list(zip(files, where, strict=True)), labels

    return make_source(find, len(records), names)


def _find_prepared(name: str, data_dir: str | Path | None) -> Path:
    """Returns the folder of the newest version of a set."""
    named = data_dir or os.environ.get("JDIFF_DATA_DIR")
    root = storage.expand(named or _import_tfds().core.constants.DATA_DIR)
    version = _newest_version(root / name) if name else None
    if version is None:
        raise DataError(
            f"tfds:{name} must be prepared in {root} as array_record, got none: python "
            f"-c \"import tensorflow_datasets as tfds; tfds.builder('{name}', data_dir="
            f"'{root}', file_format='array_record').download_and_prepare()\" prepares "
            "it, for some sets with TensorFlow's help."
        )
    return version


@contextlib.contextmanager
def _reading(version: Path, split: str) -> Iterator[None]:
    """Turns what TFDS raises on a set into a DataError."""
    kind = f"a whole {split} set as TFDS prepares it"
    with storage.reading(version, kind), installed(_PACKAGES):
        try:
            yield
        except NotImplementedError as error:
            raise DataError(
                f"{version} must be prepared with file_format='array_record', got "
                "another format, which only TensorFlow reads."
            ) from error


def _newest_version(folder: Path) -> Path | None:
    # What TFDS has not finished is called incomplete.XXXXXX_3.1.0.
    versions = [
        path for path in folder.glob("*.*.*") if path.name.replace(".", "").isdecimal()
    ]
    numbers = [[int(number) for number in path.name.split(".")] for path in versions]
    return versions[numbers.index(max(numbers))] if versions else None


def download(name: str, cache: Path) -> None:
    """Downloads the official files of a set into `cache`, whole or not at all.

    They arrive in a temporary folder and are moved once their SHA-256 is the published
    one. A download that fails or is interrupted leaves nothing, and the next call
    starts again. After Ctrl-C Python waits for TFDS's thread until a second Ctrl-C. All
    of EMNIST is one archive.
    """
    tfds = _import_tfds()
    if name == "mnist":
        url = tfds.image_classification.MNIST.URL
        places = {urljoin(url, file): cache / "mnist" / file for file in _MNIST_FILES}
    else:
        url = tfds.image_classification.EMNIST.URL
        places = {url: cache / "emnist" / "gzip.zip"}
    print(f"Downloading {name.split('/')[0]} to {cache}", file=sys.stderr)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(cache)
        with tempfile.TemporaryDirectory(
            prefix=_STAGING, dir=cache, ignore_cleanup_errors=True
        ) as staging:
            _fetch(tfds, places, staging)
    except Exception as error:  # requests, TFDS and the disk have no common class.
        raise DataError(
            f"{url} must be reachable and give the published files, got "
            f"{_reason(error)}; try again, or put "
            f"{', '.join(place.name for place in places.values())} into "
            f"{next(iter(places.values())).parent} by hand."
        ) from error


def _fetch(tfds: ModuleType, places: dict[str, Path], staging: str) -> None:
    import requests

    # TFDS repeats a refused connection for minutes; one plain request fails at once.
    requests.head(next(iter(places)), timeout=30, allow_redirects=True)
    manager = tfds.download.DownloadManager(
        download_dir=staging, force_checksums_validation=True
    )
    # One by one, so that no thread writes any more when one of them fails.
    files = [manager.download(url) for url in places]
    for file, place in zip(files, places.values(), strict=True):
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, place)


def _remove_abandoned(cache: Path) -> None:
    """Removes what a killed process left; younger folders may be in use."""
    for folder in cache.glob(_STAGING + "*"):
        if time.time() - folder.stat().st_mtime > _ABANDONED_AFTER_S:
            shutil.rmtree(folder, ignore_errors=True)


def _import_tfds() -> ModuleType:
    with installed(_PACKAGES):
        import tensorflow_datasets
    return tensorflow_datasets


def _reason(error: Exception) -> str:
    from tensorflow_datasets.core.download.download_manager import (
        NonMatchingChecksumError,
    )

    if isinstance(error, NonMatchingChecksumError):
        return "a file with another checksum: truncated, or changed on the server"
    return f"{type(error).__name__} ({storage.first_line(error)})"
