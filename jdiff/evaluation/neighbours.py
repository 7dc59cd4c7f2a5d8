"""Nearest neighbours, and whether samples are copies of training images."""

from typing import NamedTuple

import numpy as np

from jdiff.evaluation.bootstrap import (
    NUM_RESAMPLES,
    Estimate,
    bootstrap_fraction,
    percentile_estimate,
    resample_pair,
)


class Copying(NamedTuple):
    """How near samples lie to training images, beside fresh real images.

    Attributes:
        nearer: chance that a sample is nearer to its nearest training image than a
            real image is to its own; 0.5 for real images.
        closest: fraction of samples that are nearer than all but 1 in 100 real images;
            0.01 for real images.
    """

    nearer: Estimate
    closest: Estimate


def copying(
    sample_distances: np.ndarray,
    real_distances: np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Copying:
    """Returns how near samples lie to training images, beside fresh real images.

    nearer = P(d_sample < d_real) + P(d_sample = d_real) / 2

    The Mann-Whitney statistic of distances to the nearest training image (Meehan et
    al. 2020, Section 3). A model that stores its training images drives both figures
    to 1. It cannot tell a copy from a plain shape: clean strokes lie nearer to some
    training image than real ones with their smudges, so guidance raises `nearer`
    without copying anything; then look at the neighbours themselves.

    Args:
        sample_distances: float[N], from `nearest(samples, training images)`.
        real_distances: float[M], likewise of real images that were not trained on.
        seed: of the bootstrap over both, >= 0.
        num_resamples: of the bootstrap, >= 0; 0 gives intervals without width.

    Raises:
        ValueError: none, another shape, NaN or infinity.
    """
    samples, real = (
        np.asarray(d, np.float64) for d in (sample_distances, real_distances)
    )
    for d in (samples, real):
        if d.ndim != 1 or not d.size:
            raise ValueError(f"distances must be [N], N >= 1, got {list(d.shape)}.")
        if not np.isfinite(d).all():
            raise ValueError("distances must be finite, got NaN or infinity.")
    real = np.sort(real)
    counts, counts_real = resample_pair(samples, real, num_resamples, seed)
    below = np.pad(counts_real.cumsum(-1), [(0, 0), (1, 0)]) / len(real)
    above = 1.0 - 0.5 * sum(
        below[:, np.searchsorted(real, samples, side)] for side in ("left", "right")
    )
    nearer = percentile_estimate((counts * above).mean(-1))
    return Copying(nearer, _below_1_percent(samples, real, seed, num_resamples))


def companions(images: np.ndarray) -> np.ndarray:
    """Returns each image's distance to the nearest other one of its set, float[N]."""
    # Beside an image lies itself, and its copy lies as near.
    return nearest(images, images, 2)[0][:, 1]


def repetition(
    sample_companions: np.ndarray,
    real_companions: np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Returns which fraction of samples repeat another one.

    A sample does if its nearest companion is nearer than that of all but 1 in 100 real
    images; so the fraction is 0.01 for real images, and a generator that knows few
    images drives it to 1. It sees no other lack of variety.

    Args:
        sample_companions: float[N], from `companions`.
        real_companions: float[M], likewise of different real images.
        seed: of the bootstrap, >= 0.
        num_resamples: of the bootstrap, >= 0; 0 gives an interval without width.
    """
    return _below_1_percent(sample_companions, real_companions, seed, num_resamples)


def nearest(
    queries: np.ndarray, points: np.ndarray, num: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Returns Euclidean distances to the nearest points, and which these are.

    Found by |x|^2 + |y|^2 - 2 x . y in blocks, so the memory does not grow with the
    product of the two numbers; the distances of those found are then |x - y|, exactly
    0 for a copy.

    Args:
        queries: float[N, ...], N >= 1.
        points: float[M, ...] of the same trailing shape.
        num: how many neighbours, in [1, M].

    Returns:
        (distances float[N, num], ascending; index int[N, num]).

    Raises:
        ValueError: unequal shapes, none, too few points, NaN or infinity.
    """
    queries, points = as_rows(queries, points)
    if not 1 <= num <= len(points):
        raise ValueError(
            f"num must be in [1, number of points], got {num} with {len(points)}."
        )
    distances, places = [], []
    for rows, squares in square_distances(queries, points):
        if num == 1:
            place = squares.argmin(-1)[:, None]
        else:
            place = np.argpartition(squares, num - 1)[:, :num]
        distance = np.linalg.norm(queries[rows, None] - points[place], axis=-1)
        order = distance.argsort(-1, kind="stable")
        distances.append(np.take_along_axis(distance, order, -1))
        places.append(np.take_along_axis(place, order, -1))
    return np.concatenate(distances), np.concatenate(places)


def square_distances(queries, points):
    """Yields (slice of the queries [N, F], squared distances [n, M]) block by block."""
    norms = np.square(points).sum(-1)
    block = max(1, 2**24 // len(points))
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        x = queries[rows]
        squares = (-2.0 * x) @ points.T
        squares += norms
        squares += np.square(x).sum(-1)[:, None]
        yield rows, np.maximum(squares, 0.0, out=squares)


def as_rows(*sets: np.ndarray, least: int = 1) -> list[np.ndarray]:
    """Returns sets of vectors or images as float[N, F], or raises a ValueError."""
    arrays = [np.asarray(x) for x in sets]
    shapes = [list(x.shape) for x in arrays]
    if any(shape[1:] != shapes[0][1:] for shape in shapes) or any(
        len(shape) < 2 or shape[0] < least or 0 in shape for shape in shapes
    ):
        raise ValueError(
            f"sets must be [N, ...] and [M, ...], N and M >= {least}, "
            f"got {' and '.join(map(str, shapes))}."
        )
    rows = [x.reshape(len(x), -1) for x in arrays]
    # Squares of bytes would wrap around.
    rows = [x if x.dtype.kind == "f" else x.astype(np.float64) for x in rows]
    if not all(np.isfinite(np.vdot(x, x)) for x in rows):
        raise ValueError("sets must be finite, got NaN or infinity.")
    return rows


def _below_1_percent(distances, real_distances, seed, num_resamples):
    """Returns the fraction of distances less than all but 1 in 100 of real ones."""
    hits = distances < np.quantile(real_distances, 0.01)
    # A fraction costs nothing to resample, and many resamples make a smooth bound.
    return bootstrap_fraction(hits, 0, seed, 10 * num_resamples)
