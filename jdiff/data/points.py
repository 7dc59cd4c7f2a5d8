"""Points with labels: densities in the plane, points of a file, and their scale.

A density is a function (num_points, seed) -> `Points`, of independent draws in its own
units. `standardize` scales points to unit size for a diffusion model; its scale inverts
it bit for bit.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jdiff import storage
from jdiff.data.dataset import DataError

NOISE = 0.05  # standard deviation around the curves of moons and circles
ROLL_NOISE = 0.5  # around the swiss roll, whose arms are 2 pi apart
_CENTRES = 2.0 * np.arange(-2, 3)  # of the Gaussians, along either axis
_GRID_STD = 0.25
_MAX_CLASSES = 10_000
# Where moons and circles stand when they are one set: at least 0.7 apart.
_MOONS_AT, _CIRCLES_AT = np.array([-2.25, -0.25]), np.array([1.5, 0.0])


class Points(NamedTuple):
    """Points float32[N, D] and labels int32[N], all 0 if there is one class."""

    points: np.ndarray
    labels: np.ndarray


class Density(NamedTuple):
    """A density: draw(num_points, seed) -> Points, with labels 0 .. num_classes - 1."""

    draw: Callable[..., Points]
    num_classes: int


def standardize(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (scaled, scale): points of unit size, and scaled * scale == points.

    scale = 2^round(log2(root mean square)), for each axis. The scale is a power of two
    and the centre stays, so the inverse is exact, bit for bit. The root mean square of
    scaled points is in [0.7, 1.42].

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
    """Returns points and labels as float32 and int32, after checking them.

    Args:
        points: float[N, D], N >= 2, finite.
        labels: int[N] in [0, num_classes]; num_classes marks a point without label.
        num_classes: >= 1.

    Raises:
        ValueError: an argument is not as above.
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

    The file holds `points`, numbers [N, D], optionally `labels`, int[N], and
    `num_classes`, which is also the label of points without one.

    Raises:
        DataError: there is no such file, it is not an .npz, or holds no points.
        ValueError: see `check_points`.
    """
    arrays = storage.read_arrays(path, ("points", "labels", "num_classes"))
    if "points" not in arrays:
        raise DataError(f"{path} must hold points, got a file without.")
    points = arrays["points"]
    labels = arrays.get("labels", np.zeros(points.shape[:1], np.int32))
    most = int(labels.max(initial=0)) if labels.dtype.kind in "iu" else 0
    number = arrays.get("num_classes", np.array(most + 1))
    if number.dtype.kind not in "iu" or number.shape or not 1 <= number <= _MAX_CLASSES:
        raise DataError(
            f"{path} must hold num_classes in [1, {_MAX_CLASSES}], got {number!r:.80}."
        )
    num_classes = int(number)
    return check_points(points, labels, num_classes), num_classes


def hide_labels(
    labels: np.ndarray, fraction: float, num_classes: int, seed: int = 0
) -> np.ndarray:
    """Returns labels of which a fraction is kept, and the others are the null label.

    Args:
        labels: int[N].
        fraction: of the labels that are kept, in [0, 1]; round(fraction N) of them.
        num_classes: the null label.
        seed: >= 0.

    Raises:
        ValueError: fraction is outside [0, 1].
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"fraction of labels must be in [0, 1], got {fraction}.")
    order = np.random.default_rng(seed).permutation(len(labels))
    hidden = order[round(fraction * len(labels)) :]
    labels = labels.copy()
    labels[hidden] = num_classes
    return labels


def parabola(num_points: int, seed: int = 0) -> Points:
    """Returns points around a parabola: x ~ N(0, 4^2), y ~ N(x^2 / 4, 1).

    Args:
        num_points: N >= 2.
        seed: >= 0.

    Raises:
        ValueError: num_points is below 2.
    """
    rng = _generator(num_points, seed)
    x, y = rng.normal(size=(2, num_points))
    return _points([4.0 * x, 0.25 * (4.0 * x) ** 2 + y], np.zeros(num_points))


def moons(num_points: int, seed: int = 0, noise: float = NOISE) -> Points:
    """Returns two interleaved half circles, those of scikit-learn's `make_moons`.

    (cos u, sin u) and (1 - cos u, 1/2 - sin u) with u ~ U(0, pi), plus noise. Their
    distance is 1/2. The label is the moon, 0 or 1; unlike there it is drawn, so the
    number of points in a moon varies.

    Args:
        num_points: N >= 2.
        seed: >= 0.
        noise: standard deviation along either axis, >= 0.

    Raises:
        ValueError: num_points is below 2 or noise below 0.
    """
    rng = _generator(num_points, seed, noise)
    labels, angle = rng.integers(2, size=num_points), rng.uniform(0, np.pi, num_points)
    return _with_noise(rng, _on_moons(labels, angle), labels, noise)


def circles(num_points: int, seed: int = 0, noise: float = NOISE) -> Points:
    """Returns two rings, radii 1 and 1/2 (`make_circles` with `factor=0.5`).

    The label is the ring; 0 is the outer one.

    Args and Raises: as `moons`.
    """
    rng = _generator(num_points, seed, noise)
    labels, angle = rng.integers(2, size=num_points), _turn(rng, num_points)
    return _with_noise(rng, _on_circles(labels, angle), labels, noise)


def moons_and_circles(num_points: int, seed: int = 0, noise: float = NOISE) -> Points:
    """Returns moons to the left (labels 0, 1) and rings to the right (2, 3).

    All four are equally likely and at least 1/2 apart. `nearest_structure` finds the
    one on which a point lies.

    Args and Raises: as `moons`.
    """
    rng = _generator(num_points, seed, noise)
    labels, angle = rng.integers(4, size=num_points), _turn(rng, num_points)
    left = _on_moons(labels, angle / 2) + _MOONS_AT[:, None]
    right = _on_circles(labels - 2, angle) + _CIRCLES_AT[:, None]
    curve = np.where(labels < 2, left, right)
    return _with_noise(rng, curve, labels, noise)


def checkerboard(num_points: int, seed: int = 0) -> Points:
    """Returns points uniform on the 8 dark cells of a 4 x 4 board, [-2, 2]^2.

    The label is the number of the cell: 2 row + column // 2, from the lower left.

    Args and Raises: as `parabola`.
    """
    rng = _generator(num_points, seed)
    labels = rng.integers(8, size=num_points)
    row = labels // 2
    column = 2 * (labels % 2) + row % 2
    x, y = rng.uniform(size=(2, num_points))
    return _points([column + x - 2, row + y - 2], labels)


def swiss_roll(num_points: int, seed: int = 0, noise: float = ROLL_NOISE) -> Points:
    """Returns a spiral, the side view of scikit-learn's `make_swiss_roll`.

    (t cos t, t sin t) with t ~ U(3 pi / 2, 9 pi / 2), plus noise.

    Args and Raises: as `moons`.
    """
    rng = _generator(num_points, seed, noise)
    t = rng.uniform(1.5 * np.pi, 4.5 * np.pi, num_points)
    curve = t * np.array([np.cos(t), np.sin(t)])
    return _with_noise(rng, curve, np.zeros(num_points), noise)


def gaussian_grid(num_points: int, seed: int = 0) -> Points:
    """Returns draws from 25 equally likely Gaussians on a 5 x 5 grid.

    Centres 2 (i, j) for i, j = -2 .. 2, standard deviation 1/4. The label is the
    number of the Gaussian, 5 (i + 2) + (j + 2).

    Args and Raises: as `parabola`.
    """
    rng = _generator(num_points, seed)
    labels = rng.integers(25, size=num_points)
    centres = _CENTRES[np.array([labels // 5, labels % 5])]
    return _with_noise(rng, centres, labels, _GRID_STD)


def gaussian_grid_log_density(points: np.ndarray) -> np.ndarray:
    """Returns log p of `gaussian_grid` at points, float64[N], in nats.

    The grid is a product: p(x, y) = p(x) p(y), each a mean of 5 Gaussians.

    Args:
        points: float[N, 2].
    """
    gaps = np.asarray(points, np.float64)[..., None] - _CENTRES.reshape(1, 1, -1)
    exponents = -0.5 * np.square(gaps / _GRID_STD)
    sums = np.logaddexp.reduce(exponents, axis=-1).sum(-1)
    return sums - 2.0 * np.log(5.0 * _GRID_STD * np.sqrt(2.0 * np.pi))


def nearest_structure(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the nearest curve of `moons_and_circles` and its distance.

    Distances are to the exact curves. All but one in 10,000 points of the data have
    their own label and a distance of at most 4 NOISE.

    Args:
        points: float[N, 2].

    Returns:
        labels int32[N] in 0 .. 3 and distances float64[N].
    """
    points = np.asarray(points, np.float64)
    left, right = points - _MOONS_AT[None], points - _CIRCLES_AT[None]
    # Half a turn about the middle of the moons maps one to the other.
    turned = np.array([[1.0, 0.5]]) - left
    radius = np.hypot(*right.T)
    distances = np.stack(
        [_to_arc(left), _to_arc(turned), abs(radius - 1.0), abs(radius - 0.5)]
    )
    return distances.argmin(0).astype(np.int32), distances.min(0)


DENSITIES = {
    "parabola": Density(parabola, 1),
    "moons": Density(moons, 2),
    "circles": Density(circles, 2),
    "moons_and_circles": Density(moons_and_circles, 4),
    "checkerboard": Density(checkerboard, 8),
    "swiss_roll": Density(swiss_roll, 1),
    "gaussian_grid": Density(gaussian_grid, 25),
}


def _generator(num_points: int, seed: int, noise: float = 0.0) -> np.random.Generator:
    if num_points < 2:
        raise ValueError(f"num_points must be >= 2, got {num_points}.")
    if not 0.0 <= noise < np.inf:
        raise ValueError(f"noise must be >= 0, got {noise}.")
    return np.random.default_rng(seed)


def _turn(rng: np.random.Generator, num_points: int) -> np.ndarray:
    return rng.uniform(0, 2 * np.pi, num_points)


def _on_moons(labels: np.ndarray, angle: np.ndarray) -> np.ndarray:
    x, y = np.cos(angle), np.sin(angle)
    return np.where(labels == 1, [1.0 - x, 0.5 - y], [x, y])


def _on_circles(labels: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.where(labels == 1, 0.5, 1.0) * [np.cos(angle), np.sin(angle)]


def _to_arc(points: np.ndarray) -> np.ndarray:
    """Returns the distance to the upper half of the unit circle, float64[N]."""
    x, y = points.T
    to_end = np.hypot(abs(x) - 1.0, y)
    return np.where(y >= 0, abs(np.hypot(x, y) - 1.0), to_end)


def _points(places: ArrayLike, labels: np.ndarray) -> Points:
    """Returns places [2, N] as points float32[N, 2], with their labels."""
    return Points(np.transpose(places).astype(np.float32), labels.astype(np.int32))


def _with_noise(
    rng: np.random.Generator, curve: np.ndarray, labels: np.ndarray, noise: float
) -> Points:
    return _points(curve + noise * rng.normal(size=(len(labels), 2)).T, labels)
