"""Areas: images and points in files and folders."""

import contextlib
import functools
import gzip
import io
import os
import shutil
import struct
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image
from spoil import (
    CHARS,
    check,
    images_of,
    npz,
    spoil_gzip,
    spoil_image,
    spoil_npy,
    spoil_zip,
    zipped,
)

from jdiff import data


def try_npz(folder: Path):
    """Data sets and points in .npz files."""
    labels = np.arange(6) % 3
    images = [
        npz(images=images_of(6, 8), labels=labels, chars=CHARS),
        npz(images=images_of(3, 8), chars=np.array(list(CHARS))),
        npz(images=images_of(3, 8), labels=labels[:3], extra=np.zeros(10**6)),
    ]
    points = [npz(points=np.ones((5, 2)), labels=np.arange(5), num_classes=5)]
    path = folder / "a.npz"

    def attempt(random: Random) -> None:
        kind = random.choice([images, points])
        path.write_bytes(spoil_zip(random, random.choice(kind), spoil_npy))
        if kind is points:
            found, num_classes = data.load_points(str(path), 10)
            check(len(found.points) == len(found.labels) and num_classes >= 1)
            return
        images_, labels_, classes = data.load(str(path))
        check(images_.dtype == np.uint8 and images_.ndim == 4)
        check(0 <= labels_.min() <= labels_.max() < len(classes))

    return attempt


def idx_files(stem: str) -> dict[str, bytes]:
    """Returns images and labels of three digits, by their official names."""
    return {
        f"{stem}-images-idx3-ubyte.gz": idx(images_of(3)),
        f"{stem}-labels-idx1-ubyte.gz": idx(np.arange(3, dtype=np.uint8)),
    }


def idx(array: np.ndarray) -> bytes:
    """Returns a gzipped IDX file."""
    header = struct.pack(f">I{array.ndim}I", 0x800 + array.ndim, *array.shape)
    return gzip.compress(header + array.tobytes(), 1)


def try_idx(folder: Path):
    """MNIST and EMNIST as gzipped IDX files."""
    files = idx_files("t10k") | idx_files("emnist-digits-test")
    emnist = functools.partial(data.emnist, "digits")

    def attempt(random: Random) -> None:
        for name, content in files.items():
            (folder / name).write_bytes(content)
        name = random.choice(sorted(files))
        path = folder / name
        path.write_bytes(spoil_gzip(random, files[name]))
        if random.random() < 0.05:
            path.unlink()
            os.mkfifo(path)
        try:
            found = (emnist if "digits" in name else data.mnist)("test", folder)
        finally:
            path.unlink()
        check_digits(found)

    return attempt


def try_zip(folder: Path):
    """EMNIST as NIST packs it: gzipped IDX files in a zip archive."""
    files = {f"gzip/{k}": v for k, v in idx_files("emnist-digits-test").items()}
    good = zipped(files)

    def attempt(random: Random) -> None:
        (folder / "gzip.zip").write_bytes(spoil_zip(random, good, spoil_gzip))
        check_digits(data.emnist("digits", "test", folder))

    return attempt


def check_digits(found: data.Dataset) -> None:
    """Raises Wrong unless a data set is of digits, 28 x 28."""
    check(found.images.shape == (len(found.labels), 28, 28, 1))
    check(0 <= found.labels.min() <= found.labels.max() <= 9)


def pictures(mode: str) -> list[tuple[str, bytes]]:
    """Returns image files, each with its suffix."""
    found = []
    for suffix, kind in [("jpg", "jpeg"), ("tif", "tiff")] + [
        (kind, kind) for kind in ("png", "gif", "webp", "bmp")
    ]:
        file = io.BytesIO()
        with contextlib.suppress(OSError):  # not every format has palettes
            Image.fromarray(images_of(1, 16)[0]).convert(mode).save(file, kind)
            found.append((suffix, file.getvalue()))
    return found


def try_folder(folder: Path):
    """Folders of image files."""
    root, modes = folder / "set", ["L", "RGB", "P"]
    files = {mode: pictures(mode) for mode in modes}

    def attempt(random: Random) -> None:
        shutil.rmtree(root, ignore_errors=True)
        mode = random.choice(modes)
        for k, label in enumerate("ab"):
            (root / label).mkdir(parents=True)
            for j in range(2):
                own = random.choice(modes) if random.random() < 0.1 else mode
                suffix, content = random.choice(files[own])
                if random.random() < 0.4 or j == k:
                    content = spoil_image(random, content)
                (root / label / f"{j}.{suffix}").write_bytes(content)
        put_strange(random, root)
        skip_broken = random.random() < 0.5
        with contextlib.redirect_stderr(io.StringIO()):
            source = data.open_source(f"folder:{root}", skip_broken=skip_broken)
            images, labels = source.read(slice(None))
        check(images.shape[1:] == source.image_shape and images.dtype == np.uint8)
        check(0 <= labels.min() <= labels.max() < len(source.classes))

    return attempt


def put_strange(random: Random, root: Path) -> None:
    """Puts, now and then, what is no file into a folder of images."""
    strange = root / random.choice("abc") / "z.png"
    match random.randrange(12):
        case 0 if strange.parent.is_dir():
            os.mkfifo(strange)
        case 1:
            strange.mkdir(parents=True)
        case 2 if strange.parent.is_dir():
            strange.symlink_to(strange)
        case 3 if strange.parent.is_dir():
            strange.symlink_to("/dev/zero")
