"""Pen strokes: characters as volunteers wrote them on tablets.

The file is an extract of UNIPEN (Guyon et al. 1994): points, strokes, characters, and
where each character stands on its line.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdiff import storage
from jdiff.data.dataset import DataError

UNITS = 256  # of the file, in a height of an x
PEN_CHARS = "".join(map(chr, range(33, 127)))
# Writers of the extract from whom `jdiff train pen` learns nothing. Drawn by chance
# among the 71 who wrote at most 1,000 characters, 62 kinds or more, 52 of them twice.
HELD_BACK: tuple[int, ...] = (0, 1, 2, 3, 8, 12, 20, 28, 51, 60, 62, 85, 87, 93, 94, 95)
HELD_BACK += (105, 109, 122, 125, 127, 128, 129, 130, 131, 133, 196, 201, 207, 209)


class Pen(NamedTuple):
    """Characters in the order in which they were written.

    Attributes:
        strokes: of each character, arrays float32[n, 2], n >= 1: x from its left edge,
            y up from the baseline, in heights of the writer's x.
        labels: int32[N], indices into PEN_CHARS.
        writers: int32[N], from 0.
        lines: int32[N]; characters with the same number stand on one line.
        x: left edge on the line, float32[N], in heights of the writer's x.
        has_baseline: bool[N]; where not, y = 0 is the lowest point of the character.
    """

    strokes: list[list[np.ndarray]]
    labels: np.ndarray
    writers: np.ndarray
    lines: np.ndarray
    x: np.ndarray
    has_baseline: np.ndarray


_ARRAYS: dict[str, tuple[np.dtype, int]] = {
    "points": (np.dtype("int16"), 2),
    "stroke_lengths": (np.dtype("uint16"), 1),
    "num_strokes": (np.dtype("uint8"), 1),
    "chars": (np.dtype("uint8"), 1),
    "writers": (np.dtype("uint16"), 1),
    "documents": (np.dtype("uint16"), 1),
    "lines": (np.dtype("uint16"), 1),
    "x": (np.dtype("int32"), 1),
    "has_baseline": (np.dtype("bool"), 1),
}


def read_pen_npz(path: str | Path) -> Pen:
    """Returns the characters in an .npz file of pen strokes.

    The file holds points int16 [P, 2] (256 units are the height of an x),
    stroke_lengths uint16 [S], num_strokes uint8 [N], chars uint8 [N] (ASCII), writers,
    documents and lines uint16 [N], x int32 [N] and has_baseline bool [N].

    Args:
        path: the file.

    Raises:
        DataError: no such file, or not one of pen strokes. Pickles are never loaded,
            and no number in the file is believed before it fits the file's size.
    """
    arrays = _read_arrays(path)
    _check(arrays, path)
    points = arrays["points"].astype(np.float32) / UNITS
    strokes = np.split(points, np.cumsum(arrays["stroke_lengths"], dtype=np.int64)[:-1])
    ends = np.cumsum(arrays["num_strokes"], dtype=np.int64)
    starts = ends - arrays["num_strokes"]
    pairs = np.stack([arrays["documents"], arrays["lines"]], 1)
    _, lines = np.unique(pairs, axis=0, return_inverse=True)
    return Pen(
        [strokes[a:b] for a, b in zip(starts, ends, strict=True)],
        arrays["chars"].astype(np.int32) - ord(PEN_CHARS[0]),
        arrays["writers"].astype(np.int32),
        lines.ravel().astype(np.int32),
        arrays["x"].astype(np.float32) / UNITS,
        arrays["has_baseline"],
    )


def select_pen(pen: Pen, keep: np.ndarray) -> Pen:
    """Returns some of the characters; keep is bool[N]."""
    rows = np.flatnonzero(keep)
    arrays = (array[rows] for array in pen[1:])
    return Pen([pen.strokes[row] for row in rows], *arrays)


def holds_strokes(path: str | Path) -> bool:
    """Returns whether an .npz file holds pen strokes rather than images.

    Raises:
        DataError: it cannot be read.
    """
    return "stroke_lengths" in storage.read_arrays(path, ["stroke_lengths"])


def save_pen(path: str | Path, pen: Pen) -> None:
    """Writes characters as an .npz file that `read_pen_npz` reads, whole or not at all.

    Coordinates are rounded to 1 / 256 of the height of an x; all lines are of one
    document.

    Args:
        path: a name that ends in .npz, in a folder that exists.
        pen: at most 65,536 writers and lines, within 127 heights of an x.

    Raises:
        ValueError: an argument is not as described.
    """
    path = storage.check_output(path, ".npz")
    strokes = [stroke for strokes in pen.strokes for stroke in strokes]
    arrays = {
        "points": np.rint(UNITS * np.concatenate(strokes)),
        "stroke_lengths": [len(stroke) for stroke in strokes],
        "num_strokes": [len(strokes) for strokes in pen.strokes],
        "chars": pen.labels + ord(PEN_CHARS[0]),
        "writers": pen.writers,
        "documents": np.zeros_like(pen.lines),
        "lines": pen.lines,
        "x": np.rint(UNITS * pen.x),
        "has_baseline": pen.has_baseline,
    }
    typed: dict[str, Any] = {}
    for name, (dtype, _) in _ARRAYS.items():
        typed[name] = np.asarray(arrays[name]).astype(dtype)
        if (typed[name] != arrays[name]).any():
            raise ValueError(f"{name} must fit {dtype}, got numbers beyond that.")
    with storage.atomic_write(path) as draft:
        np.savez_compressed(draft, **typed)


def _read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    arrays = storage.read_arrays(path, _ARRAYS)
    missing = sorted(_ARRAYS.keys() - arrays.keys())
    if missing:
        raise DataError(
            f"{path} must hold pen strokes, got a file without {', '.join(missing)}."
        )
    for name, (dtype, ndim) in _ARRAYS.items():
        found = arrays[name]
        if found.dtype != dtype or found.ndim != ndim:
            raise DataError(
                f"{path} must hold {name} as {dtype} with {ndim} axes, got "
                f"{found.dtype} {list(found.shape)}."
            )
    return arrays


def _check(arrays: dict[str, np.ndarray], path: str | Path) -> None:
    """Raises DataError unless the arrays fit together."""
    num = len(arrays["chars"])
    if not num:
        raise DataError(f"{path} must hold characters, got none.")
    parts = {"stroke_lengths": "num_strokes", "points": "stroke_lengths"}
    wanted = {name: num for name in _ARRAYS if name not in parts}
    for name, counts in parts.items():
        wanted[name] = int(arrays[counts].sum(dtype=np.int64))
        if not arrays[counts].all():
            raise DataError(f"{path} must hold {counts} >= 1, got 0.")
    for name, length in wanted.items():
        if len(arrays[name]) != length:
            raise DataError(
                f"{path} must hold {length} {name}, got {len(arrays[name])}."
            )
    shape = list(arrays["points"].shape)
    if shape[1] != 2:
        raise DataError(f"{path} must hold points [P, 2], got {shape}.")
    chars = arrays["chars"]
    if not ord(PEN_CHARS[0]) <= chars.min() <= chars.max() <= ord(PEN_CHARS[-1]):
        raise DataError(
            f"{path} must hold chars in [33, 126], got {chars.min()} to {chars.max()}."
        )
