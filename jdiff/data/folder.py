"""Image files: a folder with a subfolder for each label.

Three rules give all images of a set one size and kind. Images of another size than the
first, in the order of labels and names, are resized to it (Lanczos, antialiased; the
aspect is not kept). A height or width that is not divisible by 4, which the UNet cannot
halve twice, is padded symmetrically with 0, which is paper. Palettes, transparency and
CMYK become RGB; grey and coloured images in one set are an error.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jdiff import storage
from jdiff.data.dataset import DataError, check_labels, join_names
from jdiff.data.stream import Source

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
MAX_CHECKED = 100_000  # files whose headers are read before any work

_GREY = {"1", "L", "LA", "La"}
_COLOUR = {"RGB", "RGBA", "RGBX", "RGBa", "P", "PA", "CMYK", "YCbCr"}
_WORDS = {1: "grey", 3: "coloured"}
_CHUNK = 10_000
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
_MAX_PIXELS = 2**26  # of a file
_MAX_SIDE = 1024  # of a set, as in the gate of weights
_reading = partial(storage.reading, kind="a whole image file")


def open_folder(folder: str | Path, skip_broken: bool = False) -> Source:
    """Returns the images directly in each subfolder, which is named after their label.

    Names that begin with a dot and files without an image suffix (`SUFFIXES`) are
    ignored. The headers of at most `MAX_CHECKED` files, evenly spread, are checked
    first; other broken files raise an error when they are read.

    Args:
        folder: holds a subfolder for each label.
        skip_broken: whether to leave out files that cannot be read. It decodes every
            file once and prints to stderr how many are broken.

    Raises:
        DataError: no folder, no subfolder, a subfolder without images, an image that is
            broken or neither 8-bit grey nor coloured, or both kinds in one set.
    """
    root = storage.expand(folder)
    if not str(folder) or not root.is_dir():
        raise DataError(f"folder:PATH must be an existing folder, got {str(folder)!r}.")
    names, files, labels = _list(root)
    checked = files if skip_broken else files[:: 1 + (len(files) - 1) // MAX_CHECKED]
    found = list(_survey(checked, skip_broken))
    broken = [k for k, kind in enumerate(found) if isinstance(kind, DataError)]
    if broken and not skip_broken:
        raise found[broken[0]]
    if len(broken) == len(files):
        raise DataError(f"{root} must hold images, got {len(files)} broken files.")
    if broken:
        print(f"Skipped {len(broken)} broken files of {len(files)}.", file=sys.stderr)
        files, labels = (np.delete(array, broken) for array in (files, labels))
    _check_kinds(root, checked, found)
    return make_source(
        lambda rows: ([(path, path) for path in files[rows]], labels[rows]),
        len(files),
        names,
    )


def make_source(
    find: Callable[[Any], tuple[list, np.ndarray]],
    num_images: int,
    names: Sequence[str],
) -> Source:
    """Returns image files as a source, by the rules of this module.

    `find` maps rows to n pairs of a file and its name in messages, and to labels
    int32[n]. The first image is read at once.
    """
    ((file, where),), _ = find(slice(1))
    first = decode(file, where)
    channels = len(first.getbands())
    if max(first.size) > _MAX_SIDE:
        raise DataError(
            f"{where} must be at most {_MAX_SIDE} pixels wide and high, got "
            f"{first.size}: networks here are for small images."
        )

    def read(rows: Any) -> tuple[np.ndarray, np.ndarray]:
        files, labels = find(rows)
        check_labels(labels, len(files), names, f"{files[0][1]} and what follows it")
        images = [
            fit(decode(file, where, channels), first.size) for file, where in files
        ]
        return np.stack(images), labels

    shape = fit(first, first.size).shape
    return Source(read, num_images, shape, join_names(names))


def decode(file: Any, where: str, channels: int | None = None) -> Any:
    """Returns an image file, called `where`, as a Pillow image L or RGB, upright.

    It may have to be of 1 channel, grey, or of 3, coloured.
    """
    from PIL import Image, ImageOps

    with _reading(where), Image.open(file, formats=_FORMATS) as image:
        found = _num_channels(image, where)
        if channels is not None and found != channels:
            raise DataError(
                f"{where} must be {_WORDS[channels]} as the images before it, "
                f"got a {_WORDS[found]} one."
            )
        upright = ImageOps.exif_transpose(image)
        return upright.convert("L" if found == 1 else "RGB")


def fit(image: Any, size: tuple[int, int]) -> np.ndarray:
    """Returns a Pillow image resized to (width, height) and padded, uint8[H, W, C]."""
    from PIL import Image

    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(image).reshape(size[1], size[0], -1)
    borders = [(-n % 4 // 2, -n % 4 - -n % 4 // 2) for n in pixels.shape[:2]]
    return np.pad(pixels, [*borders, (0, 0)])


def _list(root: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Returns the labels' names, the paths of all images, and their labels."""
    inside = sorted(path for path in root.iterdir() if not path.name.startswith("."))
    folders = [path for path in inside if path.is_dir()]
    if not folders:
        got = "files right in it" if inside else "an empty one"
        raise DataError(f"{root} must hold a subfolder for each label, got {got}.")
    files, labels = [], []
    for label, folder in enumerate(folders):
        found = sorted(str(path) for path in folder.iterdir() if _is_image(path))
        if not found:
            raise DataError(f"{folder} must hold images of its label, got none.")
        files += found
        labels += [label] * len(found)
    # Objects, because NumPy pads its strings to the longest.
    paths = np.array(files, object)
    return [folder.name for folder in folders], paths, np.array(labels, np.int32)


def _is_image(path: Path) -> bool:
    is_named = path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    return is_named and path.is_file()


def _survey(files: np.ndarray, whole: bool) -> Iterator[Any]:
    """Yields the number of channels of each file, or the DataError that it gives."""
    import tqdm

    look = partial(_look, whole=whole)
    bar = tqdm.tqdm(total=len(files), desc="Checking images", delay=1.0)
    with ThreadPoolExecutor() as pool, bar:
        for start in range(0, len(files), _CHUNK):
            for kind in pool.map(look, files[start : start + _CHUNK]):
                yield kind
                bar.update()


def _look(path: str, whole: bool) -> int | DataError:
    from PIL import Image

    try:
        with _reading(path), Image.open(path, formats=_FORMATS) as image:
            channels = _num_channels(image, path)
            image.load() if whole else image.verify()
            return channels
    except DataError as error:
        return error


def _num_channels(image: Any, where: str) -> int:
    """Returns 1 or 3, before the pixels are read."""
    if math.prod(image.size) > _MAX_PIXELS:
        raise DataError(
            f"{where} must have at most {_MAX_PIXELS:,} pixels, got {image.size}."
        )
    if image.mode in _GREY or image.mode in _COLOUR:
        return 1 if image.mode in _GREY else 3
    raise DataError(
        f"{where} must be an image of 8 bits, grey or coloured, got Pillow's mode "
        f"{image.mode}."
    )


def _check_kinds(root: Path, files: np.ndarray, found: list[Any]) -> None:
    first = {kind: file for file, kind in reversed([*zip(files, found, strict=True)])}
    if 1 in first and 3 in first:
        raise DataError(
            f"{root} must hold grey images or coloured ones, got grey {first[1]} and "
            f"coloured {first[3]}."
        )
