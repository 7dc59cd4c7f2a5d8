"""Distances between two sets of feature vectors, samples and reference.

They do not care where features come from. On 28 x 28 characters the judge's
penultimate layer, `read_images(...).features`, is the feature space: Inception's has
never seen one.
"""

import numpy as np

from jdiff.evaluation.bootstrap import (
    Estimate,
    bootstrap_fraction,
    centred_estimate,
    resample_counts,
)
from jdiff.evaluation.neighbours import nearest, square_distances

NUM_RESAMPLES = 200


def frechet_distance(
    samples: np.ndarray, reference: np.ndarray, seed: int = 0
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

    Raises:
        ValueError: too few for a covariance, NaN or infinity, or unequal F.
    """
    samples, reference = check_features(samples, reference)
    for name, x in (("samples", samples), ("reference", reference)):
        if len(x) <= x.shape[1]:
            raise ValueError(
                f"{name} must be more than {x.shape[1]} for a covariance of "
                f"{x.shape[1]} features, got {len(x)}."
            )
    moments = [
        _moments(x, _weights(len(x), seed + i))
        for i, x in enumerate((samples, reference))
    ]
    values = np.array([_frechet(*pair) for pair in zip(*moments, strict=True)])
    return centred_estimate(values[0], values[1:])


def kernel_distance(
    samples: np.ndarray, reference: np.ndarray, seed: int = 0
) -> Estimate:
    """Returns the kernel distance (KID), the Fréchet distance's unbiased sibling.

    E k(x, x') + E k(y, y') - 2 E k(x, y),  k(x, y) = (x . y / F + 1)^3

    The squared maximum mean discrepancy (Binkowski et al. 2018, Eq. 4), over all
    pairs of different images. It sees what the Fréchet distance sees, and third
    moments; its expectation is 0 for equal distributions at any N, so it can be
    negative and figures of different N compare. It is noisier. Unlike torch-fidelity
    it takes all pairs at once, not the mean over random subsets.

    Args:
        samples: float[N, F], N >= 2.
        reference: float[M, F], M >= 2.
        seed: of the bootstrap over both sets, >= 0.

    Raises:
        ValueError: fewer than two, NaN or infinity, or unequal F.
    """
    samples, reference = check_features(samples, reference)
    weights = [_weights(len(x), seed + i) for i, x in enumerate((samples, reference))]
    within = sum(
        _kernel_within(x, w) for x, w in zip((samples, reference), weights, strict=True)
    )
    across = _kernel_sums(samples, reference, *weights)
    draws = within - 2.0 * across / (len(samples) * len(reference))
    return centred_estimate(draws[0], draws[np.isfinite(draws)][1:])


def precision_recall(
    samples: np.ndarray, reference: np.ndarray, seed: int = 0, num_neighbours: int = 3
) -> tuple[Estimate, Estimate]:
    """Returns improved precision and recall (Kynkäänniemi et al. 2019, Eq. 1-2).

    A set's manifold is the union of balls around its vectors, each as wide as the
    distance to its k-th neighbour. Precision is the share of samples inside the
    reference's manifold: low when images look wrong. Recall is the share of the
    reference inside the samples' manifold: low when variety is missing, so it exposes
    the collapse that guidance buys legibility with. Both depend on N, on k and on
    outliers, which widen a manifold; neither sees how often each mode is drawn. Both
    are symmetric: the recall of one set is the precision of the other. The interval
    takes the manifolds as they are.

    Args:
        samples: float[N, F], N > num_neighbours.
        reference: float[M, F], M > num_neighbours.
        seed: of the bootstrap, >= 0.
        num_neighbours: k >= 1.

    Raises:
        ValueError: too few, NaN or infinity, or unequal F.
    """
    samples, reference = check_features(samples, reference)
    for name, x in (("samples", samples), ("reference", reference)):
        if not 1 <= num_neighbours < len(x):
            raise ValueError(
                f"num_neighbours must be in [1, number of {name}), got "
                f"{num_neighbours} with {len(x)}."
            )

    def share_inside(points, centres):
        radii, _ = nearest(centres, centres, num_neighbours + 1)  # the 0-th is itself
        inside = _is_inside(points, centres, radii[:, -1])
        return bootstrap_fraction(inside, np.zeros(len(inside), int), seed)

    return share_inside(samples, reference), share_inside(reference, samples)


def check_features(*sets: np.ndarray) -> list[np.ndarray]:
    """Returns sets of features as float64, or raises a ValueError."""
    widths = [np.shape(x)[1:] for x in sets]
    if any(len(w) != 1 or not w[0] for w in widths) or len(set(widths)) > 1:
        shapes = " and ".join(str(list(np.shape(x))) for x in sets)
        raise ValueError(f"features must be [N, F] and [M, F], got {shapes}.")
    features = [np.asarray(x, np.float64) for x in sets]
    for x in features:
        if len(x) < 2:
            raise ValueError(f"features must be of at least 2 images, got {len(x)}.")
        if not np.isfinite(x).all():
            raise ValueError("features must be finite, got NaN or infinity.")
    return features


def _is_inside(points, centres, radii):
    """Returns bool[N]: whether a point lies in the ball around one of the centres."""
    # Rounding must not push a copy out of a ball without extent.
    squares = np.square(radii) + 1e-12 * np.square(centres).sum(-1)
    blocks = square_distances(points, centres)
    return np.concatenate([(d <= squares).any(-1) for _, d in blocks])


def _weights(num, seed):
    """Returns counts: a row of ones for the set itself, then its resamples."""
    return np.vstack([np.ones(num), resample_counts(num, NUM_RESAMPLES, seed)])


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
    values, vectors = np.linalg.eigh(cov_1)
    root = vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
    # (C_1 C_2)^(1/2) has the trace of the symmetric (root C_2 root)^(1/2).
    product = np.linalg.eigvalsh(root @ cov_2 @ root)
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
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if x.ndim != 2 or x.shape != y.shape or not x.size:
        raise ValueError(
            "x and y must be as many points, both [N, D], "
            f"got {list(x.shape)} and {list(y.shape)}."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("x and y must be finite, got NaN or infinity.")
    if num_projections < 1:
        raise ValueError(f"num_projections must be >= 1, got {num_projections}.")
    axes = _directions(x.shape[1], seed, num_projections)
    return float(np.abs(np.sort(axes @ x.T) - np.sort(axes @ y.T)).mean())


def _directions(size: int, seed: int, num: int) -> np.ndarray:
    """Returns unit vectors, float64[num, size]."""
    rng = np.random.default_rng(seed)
    if size == 2:
        angles = np.pi * (np.arange(num) + rng.uniform()) / num
        return np.stack([np.cos(angles), np.sin(angles)], 1)
    axes = rng.normal(size=(num, size))
    return axes / np.linalg.norm(axes, axis=1, keepdims=True)
