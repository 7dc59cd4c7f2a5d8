"""Images (EMNIST, MNIST, synthetic glyphs, .npz files, folders, TFDS), and points."""

from pathlib import Path

from jdiff import storage
from jdiff.data import points as points
from jdiff.data import tfds
from jdiff.data.dataset import EMNIST_CHARS as EMNIST_CHARS
from jdiff.data.dataset import DataError as DataError
from jdiff.data.dataset import Dataset as Dataset
from jdiff.data.dataset import check_labels as check_labels
from jdiff.data.dataset import read_npz as read_npz
from jdiff.data.dataset import select as select
from jdiff.data.emnist import emnist as emnist
from jdiff.data.emnist import mnist as mnist
from jdiff.data.folder import open_folder as open_folder
from jdiff.data.glyphs import PRINTABLE_CHARS as PRINTABLE_CHARS
from jdiff.data.glyphs import glyphs as glyphs
from jdiff.data.glyphs import printable as printable
from jdiff.data.glyphs import seed_of
from jdiff.data.pen import HELD_BACK as HELD_BACK
from jdiff.data.pen import PEN_CHARS as PEN_CHARS
from jdiff.data.pen import Pen as Pen
from jdiff.data.pen import holds_strokes as holds_strokes
from jdiff.data.pen import read_pen_npz
from jdiff.data.pen import save_pen as save_pen
from jdiff.data.pen import select_pen as select_pen
from jdiff.data.points import DENSITIES as DENSITIES
from jdiff.data.points import Points as Points
from jdiff.data.points import hide_labels as hide_labels
from jdiff.data.points import read_points
from jdiff.data.points import standardize as standardize
from jdiff.data.stream import Source as Source
from jdiff.data.stream import from_dataset as from_dataset
from jdiff.data.stream import read_all as read_all
from jdiff.data.stream import stream as stream
from jdiff.data.unipen import read_unipen


def load(
    source: str, split: str = "train", data_dir: str | Path | None = None
) -> Dataset:
    """Returns the data set of a name, in memory.

    Args:
        source: "emnist/byclass" (or another name of `emnist`), "mnist", "ascii" (see
            `printable`), "glyphs", the path of an .npz file, or another name of
            `open_source`.
        split: "train" or "test". Test glyphs are other draws of the same fonts; an .npz
            file and a folder have only "train".
        data_dir: see `emnist`; glyphs, .npz files and folders ignore it.

    Raises:
        DataError: unknown source or split, or as the reader of the source.
    """
    if split not in ("train", "test"):
        raise DataError(f"split must be one of train, test, got {split!r}.")
    if source.startswith(("folder:", "tfds:")):
        return read_all(open_source(source, split, data_dir))
    collection, _, name = source.partition("/")
    if source.endswith(".npz"):
        if split != "train":
            raise DataError(f"split must be train for an .npz file, got {split!r}.")
        return read_npz(source)
    if collection == "emnist" and name:
        return emnist(name, split, data_dir)
    if source == "mnist":
        return mnist(split, data_dir)
    if source == "ascii":
        return printable(split, data_dir)
    if source == "glyphs":
        return glyphs(seed=seed_of(split))
    raise DataError(
        "data must be emnist/NAME (such as emnist/byclass), mnist, ascii, glyphs, "
        f"folder:PATH, tfds:NAME or a file that ends in .npz, got {source!r}."
    )


def open_source(
    source: str,
    split: str = "train",
    data_dir: str | Path | None = None,
    skip_broken: bool = False,
) -> Source:
    """Returns the data set of a name, to be read image by image.

    Args:
        source: "folder:PATH" (see `open_folder`), "tfds:NAME" or "tfds:NAME/CONFIG"
            (see `jdiff.data.tfds.open_prepared`); or another name of `load`, which is
            read into memory.
        split: see `load`.
        data_dir: see `load` and `open_prepared`.
        skip_broken: see `open_folder`; for folders alone.

    Raises:
        DataError: as `load`, or skip_broken without a folder.
    """
    kind, _, place = source.partition(":")
    if skip_broken and kind != "folder":
        raise DataError(f"skip_broken must be for a folder:PATH, got {source!r}.")
    if kind == "folder":
        if split != "train":
            raise DataError(f"split must be train for a folder, got {split!r}.")
        return open_folder(place, skip_broken)
    if kind == "tfds":
        return tfds.open_prepared(place, split, data_dir)
    return from_dataset(load(source, split, data_dir))


def load_points(source: str, num_points: int, seed: int = 0) -> tuple[Points, int]:
    """Returns the points of a name, and the number of their classes.

    Args:
        source: a name in `DENSITIES`, or the path of an .npz file of points in the
            plane (see `jdiff.data.points.read_points`).
        num_points: to draw, >= 2; ignored for a file.
        seed: of the draw, >= 0.

    Raises:
        DataError: unknown source, or points that are not in the plane.
        ValueError: see `jdiff.data.points.check_points`.
    """
    density = DENSITIES.get(source)
    if density:
        return density.draw(num_points, seed), density.num_classes
    if not source.endswith(".npz"):
        raise DataError(
            f"data must be one of {', '.join(DENSITIES)} or a file that ends in "
            f".npz, got {source!r}."
        )
    points, num_classes = read_points(source)
    if points.points.shape[1] != 2:
        raise DataError(
            f"{source} must hold points [N, 2], got {list(points.points.shape)}."
        )
    return points, num_classes


def read_pen(path: str | Path) -> Pen:
    """Returns the characters in an .npz file of pen strokes, or in UNIPEN's own files.

    Args:
        path: FILE.npz, see `jdiff.data.pen.read_pen_npz`; or a folder, see
            `jdiff.data.unipen.read_unipen`.

    Raises:
        DataError: there is no such file, or it is of another kind.
    """
    is_folder = storage.expand(path).is_dir()
    return read_unipen(path) if is_folder else read_pen_npz(path)
