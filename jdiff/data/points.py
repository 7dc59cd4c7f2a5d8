"""Points with labels: what a set of them has to be, and how it is made ready.

`standardize` brings points to unit size, as a diffusion model wants them, and its
scale brings them back bit for bit.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jdiff.data.dataset import DataError, load_arrays


class Points(NamedTuple):
    """Points float32[N, 2] and labels int32[N], 0 where there is but one class."""

    points: np.ndarray
    labels: np.ndarray


def standardize(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (scaled, scale): points of unit size, and scaled * scale == points.

    scale = 2^round(log2(root mean square)), for each axis. Powers of two, and no shift
    of the centre: that is why the way back is exact, bit for bit. The root mean square
    of what is returned lies between 0.7 and 1.42.

    Args:
        points: float32[N, D], not all 0 along an axis.

    Raises:
        ValueError: an axis has no size, or a scale beyond the range of float32.
    """
    size = np.sqrt(np.square(np.asarray(points, np.float64)).mean(0))
    if not np.all((size > 1e-30) & (size < 1e30)):
        raise ValueError(
            f"points must have a size in (1e-30, 1e30) along each axis, got {size}."
        )
    scale = (2.0 ** np.round(np.log2(size))).astype(np.float32)
    return points / scale[None], scale


def check_points(points: np.ndarray, labels: np.ndarray, num_classes: int) -> Points:
    """Returns points and labels as float32 and int32, if they can be trained on.

    Args:
        points: float[N, D], N >= 2, finite.
        labels: int[N] in [0, num_classes]; num_classes marks a point without label.
        num_classes: >= 1.

    Raises:
        ValueError: what is wrong, in a sentence.
    """
    points, labels = np.asarray(points), np.asarray(labels)
    if points.ndim != 2 or points.dtype.kind not in "fiu" or not points.shape[1]:
        raise ValueError(
            f"points must be numbers [N, D], got {points.dtype}{list(points.shape)}."
        )
    if len(points) < 2:
        raise ValueError(f"points must be at least 2, got {len(points)}.")
    with np.errstate(over="ignore"):  # refused below, in words
        bad = ~np.isfinite(points.astype(np.float32)).all(1)
    if bad.any():
        raise ValueError(
            "points must be finite in float32, got NaN or infinity in "
            f"{bad.sum()} of {len(points)}, first in point {bad.argmax()}."
        )
    if labels.shape != (len(points),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"labels must be ints, one for each of {len(points)} points, "
            f"got {labels.dtype}{list(labels.shape)}."
        )
    if labels.min() < 0 or labels.max() > num_classes:
        raise ValueError(
            f"labels must be in [0, {num_classes}], where {num_classes} means none, "
            f"got {labels.min()} .. {labels.max()}."
        )
    return Points(points.astype(np.float32), labels.astype(np.int32))


def read_points(path: str | Path) -> tuple[Points, int]:
    """Returns (points, num_classes) of an .npz file.

    The file holds `points`, numbers [N, D]; if it likes, `labels`, int [N]; and if some
    points have no label, `num_classes`, which is what stands in place of one.

    Raises:
        DataError: there is no such file, it is not an .npz, or holds no points.
        ValueError: see `check_points`.
    """
    arrays = load_arrays(Path(path).expanduser())
    if "points" not in arrays:
        raise DataError(f"{path} must hold points, got {sorted(arrays)}.")
    points = arrays["points"]
    labels = arrays.get("labels", np.zeros(points.shape[:1], np.int32))
    most = int(labels.max(initial=0)) if labels.dtype.kind in "iu" else 0
    num_classes = int(arrays.get("num_classes", most + 1))
    return check_points(points, labels, num_classes), num_classes


def hide_labels(
    labels: np.ndarray, share: float, num_classes: int, seed: int = 0
) -> np.ndarray:
    """Returns labels of which only a share is left, the others the null label.

    Args:
        labels: int[N].
        share: of the points that keep their label, in [0, 1]; round(share N) do.
        num_classes: the null label.
        seed: >= 0.

    Raises:
        ValueError: share is outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share of labels must be in [0, 1], got {share}.")
    order = np.random.default_rng(seed).permutation(len(labels))
    hidden = order[round(share * len(labels)) :]
    labels = labels.copy()
    labels[hidden] = num_classes
    return labels
