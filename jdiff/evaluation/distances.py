"""Distances between two sets of feature vectors, samples and reference.

They do not care where features come from. On 28 x 28 characters the judge's
penultimate layer, `read_images(...).features`, is the feature space: Inception's has
never seen one.
"""

from typing import NamedTuple

import numpy as np

from jdiff.evaluation.bootstrap import (
    NUM_RESAMPLES,
    Estimate,
    bootstrap_fraction,
    centred_estimate,
    percentile_estimate,
    resample_counts,
    resample_pair,
)
from jdiff.evaluation.neighbours import as_rows, nearest, square_distances

# Of precision and recall, and of density and coverage: what their papers recommend.
NUM_NEIGHBOURS = (3, 5)


def frechet_distance(
    samples: np.ndarray,
    reference: np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Returns the Fréchet distance between two sets of features.

    |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^(1/2))

    The squared Wasserstein-2 distance of the Gaussians with the same means and
    covariances (Heusel et al. 2017, Eq. 6; Dowson & Landau 1982). It sees missing
    classes, blur and distortion in one number. It cannot say which, it is blind
    beyond the second moments, and it is biased upwards by about F^2 / N: compare it
    at equal N only.

    Args:
        samples: float[N, F], N > F.
        reference: float[M, F], M > F.
        seed: of the bootstrap over both sets, >= 0.
        num_resamples: of the bootstrap, >= 0; 0 gives an interval without width.

    Raises:
        ValueError: too few for a covariance, NaN or infinity, or unequal F.
    """
    samples, reference = _as_features(samples, reference)
    for name, x in (("samples", samples), ("reference", reference)):
        if len(x) <= x.shape[1]:
            raise ValueError(
                f"{name} must be more than {x.shape[1]} for a covariance of "
                f"{x.shape[1]} features, got {len(x)}."
            )
    counts = resample_pair(samples, reference, num_resamples, seed)
    moments = _moments(samples, counts[0]), _moments(reference, counts[1])
    pairs = zip(*moments, strict=True)
    return centred_estimate(np.array([_frechet(*pair) for pair in pairs]))


def direction_distance(
    samples: np.ndarray,
    reference: np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Returns the Fréchet distance between the directions of two sets of features.

    The Fréchet distance of 10 x / |x|, so in hundredths of their squared length.

    A classifier's features are the longer the surer it is, and one that does not
    normalise images has shorter ones for faint ink and for speckle. Judges disagree on
    lengths, so by the Fréchet distance they rank models in different orders, and agree
    by directions. It does not see what changes the length alone.

    Args and Raises: as `frechet_distance`.
    """
    pair = _as_features(samples, reference)
    lengths = [np.linalg.norm(x, axis=1, keepdims=True) for x in pair]
    # Features of a blank image may be 0: they have no direction, and stay.
    first, second = (
        10 * x / np.where(n > 0, n, 1) for x, n in zip(pair, lengths, strict=True)
    )
    return frechet_distance(first, second, seed, num_resamples)


def kernel_distance(
    samples: np.ndarray,
    reference: np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Returns the kernel distance (KID), the Fréchet distance's unbiased sibling.

    E k(x, x') + E k(y, y') - 2 E k(x, y),  k(x, y) = (x . y / F + 1)^3

    The squared maximum mean discrepancy (Binkowski et al. 2018, Eq. 4), over all
    pairs of different images. It sees what the Fréchet distance sees, and third
    moments; its expectation is 0 for equal distributions at any N, so it can be
    negative and figures of different N compare. It is noisier. Unlike torch-fidelity
    it takes all pairs at once, not the mean over random subsets.

    Args and Raises: as `frechet_distance`, but N and M are >= 2.
    """
    samples, reference = _as_features(samples, reference)
    w, v = resample_pair(samples, reference, num_resamples, seed)
    within = _kernel_within(samples, w) + _kernel_within(reference, v)
    across = _kernel_sums(samples, reference, w, v) / (len(samples) * len(reference))
    draws = within - 2.0 * across
    return centred_estimate(draws[np.isfinite(draws)])


class Manifolds(NamedTuple):
    """How far the manifolds of two sets of features overlap."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def compare_manifolds(
    samples: np.ndarray,
    reference: np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
    num_neighbours: tuple[int, int] = NUM_NEIGHBOURS,
) -> Manifolds:
    """Returns precision, recall, density and coverage of samples.

    Around each vector lies a ball as wide as the distance to its k-th neighbour in its
    own set; k is 3 for the first two figures and 5 for the others, as in their papers.

    Precision is the fraction of samples in any ball of the reference, recall that of
    the reference in any ball of the samples (Kynkäänniemi et al. 2019, Eq. 1-2).
    Precision is low when images look wrong, recall when variety is missing. Both depend
    on outliers, whose balls are wide; each is the other with the sets exchanged.

    Density is the mean number of balls of the reference around a sample, divided by k;
    coverage is the fraction of the reference's balls that hold a sample (Naeem et al.
    2020, Eq. 4-5). For density the ball of an outlier is one among many, and coverage
    is not raised by samples that lie far out. Both are about 1 for real images; density
    is more for samples in the middle of the reference, where many balls overlap.

    None sees how often each mode is drawn, and all depend on N: compare at equal N. The
    intervals take the balls as they are.

    Args and Raises: as `frechet_distance`, but N and M are > k; num_neighbours are
    k >= 1 of the first two figures, and of the others.
    """
    sets = samples, reference = _as_features(samples, reference)
    squares, squares_reference = (_square_radii(x, num_neighbours) for x in sets)
    found = np.zeros(len(samples), bool)
    num_balls = np.zeros(len(samples))
    recalled, covered = np.zeros((2, len(reference)), bool)
    for rows, d in square_distances(samples, reference):
        found[rows] = (d <= squares_reference[:, 0]).any(1)
        num_balls[rows] = (d <= squares_reference[:, 1]).sum(1)
        recalled |= (d <= squares[rows, :1]).any(0)
        covered |= (d <= squares_reference[:, 1]).any(0)
    counts = resample_counts(len(samples), num_resamples, seed)
    densities = num_balls / num_neighbours[1]
    # A fraction costs nothing to resample, and many resamples make a smooth bound.
    precision, recall, coverage = (
        bootstrap_fraction(hits, 0, seed, 10 * num_resamples)
        for hits in (found, recalled, covered)
    )
    density = percentile_estimate(counts @ densities / len(densities))
    return Manifolds(precision, recall, density, coverage)


def _square_radii(features: np.ndarray, num_neighbours: tuple[int, int]) -> np.ndarray:
    """Returns squared distances to the k-th neighbour in a set, float64[N, 2]."""
    for k in num_neighbours:
        if not 1 <= k < len(features):
            raise ValueError(
                f"num_neighbours must be in [1, number of features), got {k} with "
                f"{len(features)}."
            )
    distances, _ = nearest(features, features, max(num_neighbours) + 1)
    radii = distances[:, num_neighbours]  # the 0-th neighbour of a vector is itself
    # Rounding must not push a copy out of a ball without extent.
    return np.square(radii) + 1e-12 * np.square(features).sum(-1)[:, None]


def _as_features(*sets: np.ndarray) -> list[np.ndarray]:
    return [x.astype(np.float64) for x in as_rows(*sets, least=2)]


def _moments(x, weights):
    """Returns (mean [F], covariance [F, F]) for each row of weights.

    Sums of outer products for all rows at once: one matrix product, in blocks.
    """
    num, width = x.shape
    centre = x.mean(0)
    x = x - centre  # else the differences of large squares lose digits
    upper = np.triu_indices(width)
    sums = np.zeros((len(weights), len(upper[0])))
    for start in range(0, num, 1024):
        rows = slice(start, start + 1024)
        sums += weights[:, rows] @ (x[rows][:, upper[0]] * x[rows][:, upper[1]])
    squares = np.empty((len(weights), width, width))
    squares[:, *upper] = squares[:, *upper[::-1]] = sums
    means = weights @ x / num
    outer = means[:, :, None] * means[:, None, :]
    covariances = (squares - num * outer) / (num - 1)
    return list(zip(means + centre, covariances, strict=True))


def _frechet(moments_1, moments_2):
    (mean_1, cov_1), (mean_2, cov_2) = moments_1, moments_2
    # (C_1 C_2)^(1/2) has the trace of (L' C_2 L)^(1/2) with C_1 = L L'. A feature that
    # never varies must not make C_1 singular.
    jitter = 1e-12 * np.trace(cov_1) * np.eye(len(cov_1))
    root = np.linalg.cholesky(cov_1 + jitter) if jitter.any() else jitter
    product = np.linalg.eigvalsh(root.T @ cov_2 @ root)
    cross = np.sqrt(np.maximum(product, 0.0)).sum()
    return np.square(mean_1 - mean_2).sum() + np.trace(cov_1 + cov_2) - 2.0 * cross


def _kernel_sums(x, y, weights_x, weights_y):
    """Returns sum_ij w_i v_j k(x_i, y_j) for each row w, v of the weights."""
    total = np.zeros(len(weights_x))
    for start in range(0, len(x), 1024):
        rows = slice(start, start + 1024)
        kernel = (x[rows] @ y.T / x.shape[1] + 1.0) ** 3
        total += np.sum((weights_x[:, rows] @ kernel) * weights_y, -1)
    return total


def _kernel_within(x, weights):
    """Returns the mean of k over pairs of different things, for each row of weights.

    A thing that a resample drew twice makes no pair with itself; NaN where a resample
    drew one thing alone.
    """
    squares = np.square(weights)
    itself = squares @ (np.square(x).sum(-1) / x.shape[1] + 1.0) ** 3
    num_pairs = np.square(weights.sum(-1)) - squares.sum(-1)
    num_pairs[num_pairs == 0.0] = np.nan
    return (_kernel_sums(x, x, weights, weights) - itself) / num_pairs


def sliced_wasserstein(
    x: np.ndarray, y: np.ndarray, seed: int = 0, num_projections: int = 128
) -> float:
    """Returns the sliced Wasserstein-1 distance of two sets (Bonneel et al. 2015).

    mean over w of W_1(w . x, w . y),  W_1(a, b) = mean_i |a_(i) - b_(i)|  (sorted)

    Bonneel et al. take order 2 (their Sec. 3); this is order 1. Between two sets of
    one density, the floor to compare with, order 1 falls as N^(-1/2) whatever the
    density, while across gaps order 2 falls as N^(-1/4): there it sees chance numbers
    of points on either side, and little else. In units of the points.

    In 2 dimensions the directions are spread evenly over half a turn, from an angle
    that the seed draws; in others they are drawn.

    Args:
        x: float[N, D].
        y: float[N, D], as many.
        seed: of the directions, >= 0.
        num_projections: number of directions, >= 1.

    Raises:
        ValueError: the sets are not of one shape [N, D], or not finite.
    """
    x, y = (rows.astype(np.float64) for rows in as_rows(x, y))
    if len(x) != len(y):
        raise ValueError(f"x and y must be as many points, got {len(x)} and {len(y)}.")
    if num_projections < 1:
        raise ValueError(f"num_projections must be >= 1, got {num_projections}.")
    rng = np.random.default_rng(seed)
    if x.shape[1] == 2:
        angles = np.pi * (np.arange(num_projections) + rng.uniform()) / num_projections
        axes = np.stack([np.cos(angles), np.sin(angles)], 1)
    else:
        axes = rng.normal(size=(num_projections, x.shape[1]))
        axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return float(np.abs(np.sort(axes @ x.T) - np.sort(axes @ y.T)).mean())
