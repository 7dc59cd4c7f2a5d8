"""The distances between sets of features: formulas, closed forms, invariances."""

import jax
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from scipy.spatial.distance import cdist

from jdiff.evaluation import (
    bootstrap_fraction,
    compare_manifolds,
    copying,
    direction_distance,
    distances,
    frechet_distance,
    kernel_distance,
    nearest,
)
from jdiff.evaluation.bootstrap import centred_estimate, resample_counts
from jdiff.evaluation.neighbours import square_distances

SIZES = [(40, 60, 6), (300, 200, 20), (9, 2000, 8)]


def precision_recall(x, y, seed=0, num_neighbours=3):
    return compare_manifolds(x, y, seed, num_neighbours=(num_neighbours, 1))[:2]


def density_coverage(x, y, seed=0, num_neighbours=5):
    return compare_manifolds(x, y, seed, num_neighbours=(1, num_neighbours))[2:]


METRICS = [
    lambda x, y, seed=0: [frechet_distance(x, y, seed)],
    lambda x, y, seed=0: [kernel_distance(x, y, seed)],
    lambda x, y, seed=0: compare_manifolds(x, y, seed),
]
METRIC_IDS = ["frechet", "kernel", "manifolds"]


def random_features(num, width, seed=0, shift=0.0):
    """Features of unequal scales that depend on one another."""
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(99).normal(size=(width, width)) / np.sqrt(width)
    return rng.normal(size=(num, width)) @ mix + rng.exponential(size=width) * shift


def values(estimates):
    return np.array([estimate.value for estimate in estimates])


# Fréchet distance.


def frechet_formula(x, y):
    """Heusel et al. 2017, Eq. 6, with the matrix root that everybody uses."""
    cov_x, cov_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    cross = scipy.linalg.sqrtm(cov_x @ cov_y).real
    between = np.square(x.mean(0) - y.mean(0)).sum()
    return between + np.trace(cov_x + cov_y - 2.0 * cross)


@pytest.mark.parametrize(("num_x", "num_y", "width"), SIZES)
def test_frechet_distance_is_that_of_the_matrix_root(num_x, num_y, width):
    x = random_features(num_x, width, 1)
    y = 1.5 * random_features(num_y, width, 2, shift=0.3)
    result = frechet_distance(x, y).value
    assert result == pytest.approx(frechet_formula(x, y), rel=1e-9)


def test_frechet_distance_of_gaussians_whose_covariances_commute():
    # sum_i (m_i - n_i)^2 + (s_i - t_i)^2 for diagonal covariances s^2 and t^2.
    s, t, mean = np.array([1.0, 2.0, 0.5]), np.array([3.0, 2.0, 1.0]), np.arange(3.0)
    x, y = np.random.default_rng(0).normal(size=(2, 20_000, 3))
    result = frechet_distance(s * x, mean + t * y)
    assert result.value == pytest.approx(5.0 + 4.25, rel=0.03)
    assert result.low < 5.0 + 4.25 < result.high


def test_frechet_distance_of_gaussians_whose_covariances_do_not_commute():
    # In two dimensions tr (A B)^(1/2) = (tr AB + 2 (det AB)^(1/2))^(1/2).
    a, b = np.array([[2.0, 1.0], [1.0, 1.0]]), np.array([[1.0, -0.5], [-0.5, 3.0]])
    assert np.abs(a @ b - b @ a).max() > 1
    cross = np.sqrt(np.trace(a @ b) + 2 * np.sqrt(np.linalg.det(a @ b)))
    rng = np.random.default_rng(1)
    x, y = (rng.multivariate_normal([0, 0], cov, 20_000) for cov in (a, b))
    expected = np.trace(a) + np.trace(b) - 2 * cross
    result = frechet_distance(x, y)
    assert result.value == pytest.approx(expected, rel=0.06)
    assert result.low < expected < result.high


def test_frechet_distance_of_a_shift_is_its_squared_norm():
    x, shift = random_features(50, 5), np.array([1.0, 2.0, 0.0, -2.0, 4.0])
    assert frechet_distance(x, x + shift).value == pytest.approx(25.0, rel=1e-9)


def test_frechet_distance_of_a_stretch():
    # x and c x have the same eigenvectors: (c - 1)^2 tr C, if the mean is 0.
    x = random_features(50, 5)
    x -= x.mean(0)
    expected = 4.0 * np.trace(np.cov(x, rowvar=False))
    assert frechet_distance(x, 3.0 * x).value == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_survives_a_singular_covariance():
    x, y = random_features(50, 5, 1), random_features(60, 5, 2, shift=1.0)
    expected = frechet_distance(x, y).value
    x, y = (np.hstack([z, np.full((len(z), 1), 7.0), z[:, :1]]) for z in (x, y))
    result = frechet_distance(x, y)
    assert np.isfinite(result).all() and result.value > expected
    x[:, -1] = y[:, -1] = 0.0  # now both additions say nothing
    assert frechet_distance(x, y).value == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_keeps_its_digits_far_from_the_origin():
    x, y = random_features(50, 5, 1), random_features(60, 5, 2)
    far = frechet_distance(x + 1e6, y + 1e6).value
    assert far == pytest.approx(frechet_distance(x, y).value, rel=1e-6)


def test_frechet_distance_has_the_bias_that_its_docstring_speaks_of():
    # About F^2 / N for equal distributions, so it falls as 1 / N.
    def mean_distance(num):
        pairs = np.random.default_rng(num).normal(size=(20, 2, num, 8))
        return np.mean([frechet_distance(x, y, 0, 0).value for x, y in pairs])

    assert mean_distance(100) / mean_distance(400) == pytest.approx(4.0, rel=0.25)


# Kernel distance.


def kernel_formula(x, y):
    """polynomial_mmd of torch-fidelity: gamma 1/F, coef0 1, degree 3, unbiased."""

    def kernel(a, b):
        return (np.dot(a, b) / len(a) + 1.0) ** 3

    def within(z):
        num = len(z)
        pairs = [(i, j) for i in range(num) for j in range(num) if i != j]
        return sum(kernel(z[i], z[j]) for i, j in pairs) / (num * (num - 1))

    across = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    return within(x) + within(y) - 2.0 * across


def test_the_distance_of_directions_is_that_of_vectors_of_length_10():
    x, y = random_features(300, 4, 1) + 1, random_features(200, 4, 2)
    units = [10 * v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y)]
    expected = frechet_distance(*units)
    assert direction_distance(x, y) == pytest.approx(expected)


def test_directions_do_not_see_lengths():
    x, y = random_features(300, 4, 1), random_features(200, 4, 2)
    factors = np.random.default_rng(0).uniform(0.1, 10, (300, 1))
    found = [direction_distance(v, y).value for v in (x, factors * x)]
    assert found[0] == pytest.approx(found[1])


def test_features_without_direction_stay_where_they_are():
    x, y = random_features(300, 4, 1), random_features(200, 4, 2)
    x[:100] = 0
    assert np.isfinite(direction_distance(x, y)).all()


@pytest.mark.parametrize(("num_x", "num_y", "width"), [(2, 2, 1), (30, 20, 7)])
def test_kernel_distance_is_the_double_sum(num_x, num_y, width):
    x, y = random_features(num_x, width, 1), random_features(num_y, width, 2, shift=1)
    expected = kernel_formula(x, y)
    assert kernel_distance(x, y).value == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_kernel_distance_of_blocks_is_the_double_sum():
    x, y = random_features(1500, 3, 1), random_features(1100, 3, 2, shift=1)
    kernels = [(a @ b.T / 3 + 1.0) ** 3 for a, b in ((x, x), (y, y), (x, y))]
    within = [(k.sum() - k.trace()) / (len(k) * (len(k) - 1)) for k in kernels[:2]]
    expected = sum(within) - 2 * kernels[2].mean()
    assert kernel_distance(x, y, 0, 0).value == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("num", [5, 40])
def test_kernel_distance_of_equal_distributions_is_zero_on_average(num):
    draws = np.random.default_rng(num).normal(size=(300, 2, num, 4))
    found = np.array([kernel_distance(x, y, 0, 0).value for x, y in draws])
    error = found.std() / np.sqrt(len(found))
    assert abs(found.mean()) < 3 * error
    assert found.min() < -error and found.max() > error


def test_kernel_distance_sees_third_moments_and_frechet_distance_does_not():
    rng = np.random.default_rng(0)
    plain, skewed = rng.normal(size=(1000, 2)), rng.exponential(size=(1000, 2))
    for x in (plain, skewed):
        x -= x.mean(0)
        x /= x.std(0)
    blind, seeing = frechet_distance(plain, skewed), kernel_distance(plain, skewed)
    assert blind.value < 0.02
    assert seeing.low > 0.05


# What both are blind to, and what they are not.


@pytest.mark.parametrize("metric", METRICS, ids=METRIC_IDS)
def test_order_does_not_matter(metric):
    x, y = random_features(50, 5, 1), random_features(40, 5, 2, shift=0.5)
    rng = np.random.default_rng(0)
    shuffled = metric(rng.permutation(x), rng.permutation(y))
    np.testing.assert_allclose(values(shuffled), values(metric(x, y)), rtol=1e-9)


@pytest.mark.parametrize("metric", METRICS, ids=METRIC_IDS)
def test_a_rotation_of_both_sets_does_not_matter(metric):
    x, y = random_features(50, 5, 1), random_features(40, 5, 2, shift=0.5)
    turn = scipy.stats.ortho_group.rvs(5, random_state=0)
    turned = metric(x @ turn, y @ turn)
    np.testing.assert_allclose(values(turned), values(metric(x, y)), rtol=1e-9)


@pytest.mark.parametrize("metric", METRICS[:2], ids=METRIC_IDS[:2])
def test_distances_are_symmetric(metric):
    x, y = random_features(50, 5, 1), random_features(40, 5, 2, shift=0.5)
    np.testing.assert_allclose(values(metric(x, y)), values(metric(y, x)), rtol=1e-9)


def test_scale_is_squared_by_frechet_distance_and_ignored_by_precision_recall():
    x, y = random_features(50, 5, 1), random_features(40, 5, 2, shift=0.5)
    large, plain = (frechet_distance(c * x, c * y).value for c in (10.0, 1.0))
    assert large == pytest.approx(100.0 * plain, rel=1e-9)
    assert precision_recall(10.0 * x, 10.0 * y) == precision_recall(x, y)


def test_a_set_lies_at_no_distance_from_itself():
    x = random_features(60, 8)
    assert frechet_distance(x, x).value == pytest.approx(0.0, abs=1e-9)
    assert values(precision_recall(x, x)).tolist() == [1.0, 1.0]
    # The unbiased estimate of a set and itself, whose pairs of equals are left out of
    # two sums and stand in the third, is below 0.
    assert kernel_distance(x, x).value < 0.0


@pytest.mark.parametrize("metric", METRICS, ids=METRIC_IDS)
def test_float32_features_are_computed_in_float64(metric):
    x, y = random_features(50, 5, 1), random_features(40, 5, 2, shift=0.5)
    x, y = x.astype(np.float32), y.astype(np.float32)
    assert metric(x, y) == metric(x.astype(np.float64), y.astype(np.float64))
    assert metric(jax.numpy.array(x), y) == metric(x, y)


# Precision and recall.


def precision_formula(x, y, k):
    """Kynkäänniemi et al. 2019, Eq. 1: the share of x in the manifold of y."""
    radii = np.sort(cdist(y, y), axis=1)[:, k]  # the 0-th is the distance to itself
    return np.mean([(np.linalg.norm(y - point, axis=1) <= radii).any() for point in x])


@pytest.mark.parametrize(("num_x", "num_y", "width"), SIZES)
@pytest.mark.parametrize("k", [1, 3, 8])
def test_precision_and_recall_are_those_of_the_definition(num_x, num_y, width, k):
    x = random_features(num_x, width, 1)
    y = random_features(num_y, width, 2, shift=0.5)
    found = precision_recall(x, y, num_neighbours=k)
    expected = [precision_formula(x, y, k), precision_formula(y, x, k)]
    assert values(found).tolist() == expected
    assert 0.0 < min(expected) or num_x < 10
    assert max(expected) < 1.0 or num_y > 1000


def test_points_on_the_edge_of_a_ball_are_inside():
    # The balls around 0, 1, ..., 9 have radius 1 for k = 1, so they reach -1 and 10.
    y = np.arange(10.0)[:, None]
    found = precision_recall(np.array([[-1.0], [10.0], [-1.5], [4.25]]), y, 0, 1)
    assert found[0].value == 3 / 4


def test_the_recall_of_one_set_is_the_precision_of_the_other():
    x, y = random_features(80, 6, 1), random_features(50, 6, 2, shift=0.5)
    assert precision_recall(x, y) == precision_recall(y, x)[::-1]


def test_sets_far_apart_have_neither_precision_nor_recall():
    x = random_features(50, 6)
    assert values(precision_recall(x, x + 1e3)).tolist() == [0.0, 0.0]


def test_a_set_of_copies_lies_in_its_own_manifold():
    # Rounding must not push a copy out of a ball without extent.
    x = np.repeat(random_features(20, 6), 5, axis=0)
    assert values(precision_recall(x, x)).tolist() == [1.0, 1.0]
    assert values(precision_recall(x, x[::-1])).tolist() == [1.0, 1.0]


def test_mode_collapse_lowers_recall_and_not_precision():
    # Four modes, as far apart as characters; the samples know one of them.
    rng = np.random.default_rng(0)
    modes = 20.0 * np.eye(4)
    real, other = (np.repeat(modes, 50, 0) + rng.normal(size=(200, 4)) for _ in "ab")
    collapsed = modes[0] + rng.normal(size=(200, 4))
    floor, found = precision_recall(other, real), precision_recall(collapsed, real)
    assert found[0].value > floor[0].value - 0.05
    assert found[1].value < 0.3 < floor[1].value


def test_noise_lowers_precision_and_not_recall():
    rng = np.random.default_rng(0)
    real = rng.normal(size=(300, 4))
    noisy = np.concatenate([rng.normal(size=(150, 4)), 9 * rng.normal(size=(150, 4))])
    precision, recall = precision_recall(noisy, real)
    assert precision.value < 0.65 and recall.value > 0.8


# Density and coverage.


@pytest.mark.parametrize(("num_x", "num_y", "width"), SIZES)
@pytest.mark.parametrize("k", [1, 5, 8])
def test_density_and_coverage_are_those_of_the_definition(num_x, num_y, width, k):
    x = random_features(num_x, width, 1)
    y = random_features(num_y, width, 2, shift=0.5)
    radii = np.sort(cdist(y, y), axis=1)[:, k]
    inside = cdist(x, y) <= radii  # Naeem et al. 2020, Eq. 4-5
    expected = [inside.sum() / (k * num_x), inside.any(0).mean()]
    found = values(density_coverage(x, y, num_neighbours=k))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_density_and_coverage_of_one_distribution_are_what_naeem_et_al_expect():
    # Coverage: 1 - (M - 1) ... (M - k) / ((M + N - 1) ... (M + N - k)).
    k, num = 5, 200
    pairs = np.random.default_rng(0).normal(size=(40, 2, num, 3))
    found = np.mean([values(density_coverage(x, y)) for x, y in pairs], 0)
    left = np.prod([(num - j) / (2 * num - j) for j in range(1, k + 1)])
    assert found[0] == pytest.approx(1.0, abs=0.03)
    assert found[1] == pytest.approx(1 - left, abs=0.01)


def test_an_outlier_raises_precision_and_not_density():
    # One real point far away has a ball as wide as the whole cloud of samples.
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(size=(199, 2)), [[60.0, 0.0]]])
    samples = np.array([30.0, 0.0]) + rng.normal(size=(200, 2))
    precision, _ = precision_recall(samples, real)
    density, coverage = density_coverage(samples, real)
    assert precision.value > 0.95
    assert density.value <= 1 / 5 and coverage.value <= 1 / 200


def test_samples_in_the_middle_are_dense_and_cover_little():
    rng = np.random.default_rng(0)
    real, samples = rng.normal(size=(300, 8)), 0.1 * rng.normal(size=(300, 8))
    density, coverage = density_coverage(samples, real)
    assert density.value > 2 and coverage.value < 0.7


# Nearest neighbours.


@pytest.mark.parametrize("num", [1, 2, 7, 60])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_neighbours_are_those_of_all_distances(num, dtype):
    queries, points = random_features(50, 9, 1), random_features(60, 9, 2)
    found, places = nearest(queries.astype(dtype), points.astype(dtype), num)
    distances = cdist(queries, points)
    assert found.dtype == dtype and found.shape == places.shape == (50, num)
    np.testing.assert_allclose(found, np.sort(distances)[:, :num], rtol=1e-5)
    np.testing.assert_array_equal(places, distances.argsort()[:, :num])


@pytest.mark.parametrize("num", [1, 3])
def test_neighbours_do_not_depend_on_blocks(num):
    # 16.8 million distances fit a block.
    points, queries = np.split(np.random.default_rng(0).random((60_300, 2)), [60_000])
    blocks = list(square_distances(queries, points))
    assert len(blocks) > 1 and sum(len(block) for _, block in blocks) == 300
    whole = nearest(queries, points, num)
    for row in (0, 278, 279, 280, 299):
        one = nearest(queries[row : row + 1], points, num)
        np.testing.assert_array_equal(one[1][0], whole[1][row])
        np.testing.assert_allclose(one[0][0], whole[0][row], rtol=1e-12)


def test_copies_lie_at_distance_0_in_float32():
    # |x|^2 + |y|^2 - 2 x . y alone would leave the root of float32's rounding: 0.01.
    images = np.random.default_rng(0).random((200, 28, 28, 1), np.float32)
    copies = np.random.default_rng(1).permutation(200)
    distances, places = nearest(images[copies], images)
    np.testing.assert_array_equal(distances, 0.0)
    np.testing.assert_array_equal(places[:, 0], copies)


def test_bytes_do_not_wrap_around():
    queries, points = np.random.default_rng(0).integers(0, 256, (2, 40, 28, 28))
    found = nearest(queries.astype(np.uint8), points.astype(np.uint8), 3)
    expected = nearest(queries.astype(float), points.astype(float), 3)
    np.testing.assert_array_equal(found, expected)


# Copying.


def test_copying_is_the_statistic_of_mann_and_whitney():
    rng = np.random.default_rng(0)
    samples, real = rng.exponential(size=70), rng.exponential(size=90) + 0.2
    # U counts the pairs in which the first is larger.
    u = scipy.stats.mannwhitneyu(real, samples).statistic
    assert copying(samples, real).nearer.value == pytest.approx(u / (70 * 90))


def test_ties_count_one_half():
    rng = np.random.default_rng(0)
    samples, real = rng.integers(0, 5, 70), rng.integers(0, 6, 90)
    u = scipy.stats.mannwhitneyu(real, samples).statistic
    assert copying(samples, real).nearer.value == pytest.approx(u / (70 * 90))
    assert copying([1.0, 1.0], [1.0]).nearer == (0.5, 0.5, 0.5)


def test_real_images_are_as_near_as_real_images():
    distances = np.random.default_rng(0).exponential(size=400)
    result = copying(distances, distances)
    assert result.nearer.value == pytest.approx(0.5)
    assert result.closest.value == pytest.approx(0.01)


def test_copies_of_training_images_are_found():
    rng = np.random.default_rng(0)
    train, test = rng.random((300, 30)), rng.random((200, 30))
    real, _ = nearest(test, train)
    for noise in (0.0, 1e-3):
        copies = train[:150] + noise * rng.normal(size=(150, 30))
        found = copying(nearest(copies, train)[0][:, 0], real[:, 0])
        assert found.nearer == (1.0, 1.0, 1.0) and found.closest == (1.0, 1.0, 1.0)
    fresh = copying(nearest(rng.random((200, 30)), train)[0][:, 0], real[:, 0])
    assert fresh.nearer.low < 0.5 < fresh.nearer.high


def test_a_few_copies_raise_the_share_of_the_closest():
    rng = np.random.default_rng(0)
    real, samples = rng.normal(5.0, 1.0, (2, 1000))
    samples[:100] = 0.0
    result = copying(samples, real)
    assert result.closest.value == pytest.approx(0.11, abs=0.015)
    assert result.nearer.value == pytest.approx(0.55, abs=0.03)


@pytest.mark.parametrize("num", [3, 10, 100])
def test_shares_and_their_intervals_stay_between_0_and_1(num):
    rng = np.random.default_rng(num)
    samples, real = rng.normal(size=num), rng.normal(2.5, size=num)
    for pair in ((samples, real), (real, samples), (samples, samples)):
        for share in copying(*pair):
            assert 0.0 <= share.low <= share.value <= share.high <= 1.0


# Intervals.


def test_resamples_draw_as_many_things_as_there_are():
    whole, *counts = resample_counts(30, 4000, seed=0)
    counts = np.array(counts)
    np.testing.assert_array_equal(whole, 1)
    assert counts.shape == (4000, 30) and counts.min() >= 0
    np.testing.assert_array_equal(counts.sum(-1), 30)
    # Multinomial: variance 1 - 1/n, covariance -1/n.
    np.testing.assert_allclose(counts.mean(0), 1.0, atol=5 / np.sqrt(4000))
    assert counts.var() == pytest.approx(1 - 1 / 30, rel=0.03)
    np.testing.assert_array_equal(counts, resample_counts(30, 4000, seed=0)[1:])


def test_the_moments_of_a_resample_are_those_of_the_things_drawn():
    # More rows than a block has.
    x, counts = random_features(1500, 3, shift=2.0), resample_counts(1500, 4, seed=0)
    moments = distances._moments(x, counts)
    for (mean, covariance), count in zip(moments, counts, strict=True):
        drawn = np.repeat(x, count.astype(int), axis=0)
        np.testing.assert_allclose(mean, drawn.mean(0), rtol=1e-9)
        np.testing.assert_allclose(covariance, np.cov(drawn.T), rtol=1e-9, atol=1e-12)


def test_a_centred_estimate_has_the_spread_of_its_draws_around_the_value():
    draws = np.linspace(100.0, 101.0, 1001)
    estimate = centred_estimate(np.append(3.0, draws))
    assert estimate == pytest.approx((3.0, 3.0 - 0.475, 3.0 + 0.475))
    assert centred_estimate(np.append(3.0, draws + 50.0)) == pytest.approx(estimate)


@pytest.mark.parametrize("metric", METRICS, ids=METRIC_IDS)
def test_intervals_contain_the_value_and_depend_on_the_seed_alone(metric):
    x, y = random_features(80, 6, 1), random_features(90, 6, 2, shift=0.5)
    first, again, other = metric(x, y, 3), metric(x, y, 3), metric(x, y, 4)
    assert all(e.low < e.value < e.high for e in first)
    assert first == again and first != other
    assert values(first).tolist() == values(other).tolist()


def test_the_interval_of_the_smallest_sets_is_finite():
    # A resample of two things can be one thing twice, which has no pairs.
    assert np.isfinite(kernel_distance(*np.eye(4).reshape(2, 2, 4))).all()


@pytest.mark.parametrize("metric", METRICS[:2], ids=METRIC_IDS[:2])
@pytest.mark.parametrize(("shift", "ratio"), [(1.0, 1.0), (0.0, 3**0.5)])
def test_intervals_are_as_wide_as_the_spread_of_independent_draws(metric, shift, ratio):
    # At no distance the error is a square; it triples its variance when resampled.
    def draw(seed):
        x, y = np.random.default_rng(seed).normal(size=(2, 100, 4))
        return metric(x, y + shift)[0]

    estimates = np.array([draw(seed) for seed in range(40)])
    spread = np.median(estimates[:, 2] - estimates[:, 1]) / (2 * 1.96)
    found = spread / estimates[:, 0].std(ddof=1)
    assert found == pytest.approx(ratio, rel=0.3)


def test_the_interval_of_copying_covers_the_chance():
    # Of two exponentials the one with rate 3 is smaller with chance 3/4.
    rng = np.random.default_rng(0)
    draws = [(rng.exponential(1, 80), rng.exponential(3, 120)) for _ in range(200)]
    covered = [r.low <= 0.75 <= r.high for r, _ in (copying(*d) for d in draws)]
    assert 0.88 < np.mean(covered) < 0.99


def test_the_interval_of_precision_is_that_of_a_share():
    x, y = random_features(80, 6, 1), random_features(50, 6, 2, shift=0.5)
    precision, _ = precision_recall(x, y, seed=5)
    hits = np.arange(80) < round(80 * precision.value)
    assert precision == bootstrap_fraction(hits, 0, 5, 1000)


def test_an_interval_without_resamples_has_no_width():
    x, y = random_features(50, 5, 1), random_features(40, 5, 2, shift=0.5)
    for function in (frechet_distance, kernel_distance):
        assert len(set(function(x, y, 0, 0))) == 1
    for found, expected in zip(
        compare_manifolds(x, y, 0, 0), compare_manifolds(x, y), strict=True
    ):
        assert found == (expected.value,) * 3


# Bad input.

GOOD = random_features(20, 4)
NAN, INF = GOOD.copy(), GOOD.copy()
NAN[3, 1], INF[3, 1] = np.nan, -np.inf


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (NAN, "sets must be finite, got NaN or infinity"),
        (INF, "sets must be finite, got NaN or infinity"),
        (GOOD[:, :3], r"\[M, ...\].*\[20, 3\]"),
        (GOOD[:, 0], r"\[M, ...\].*\[20\]"),
        (GOOD[None], r"\[M, ...\].*\[1, 20, 4\]"),
        (GOOD[:, :0], r"\[M, ...\].*\[20, 0\]"),
        (GOOD[:1], r"N and M >= 2, got .*\[1, 4\]"),
        (GOOD[:0], r"N and M >= 2, got .*\[0, 4\]"),
    ],
)
@pytest.mark.parametrize("metric", METRICS, ids=METRIC_IDS)
def test_bad_features_are_refused(metric, bad, says):
    for pair in ((bad, GOOD), (GOOD, bad)):
        with pytest.raises(ValueError, match=says):
            metric(*pair)
    if not bad.shape[-1]:
        with pytest.raises(ValueError, match=r"\[20, 0\] and \[20, 0\]"):
            metric(bad, bad)


def test_too_few_for_a_covariance_are_refused():
    assert frechet_distance(GOOD[:5], GOOD).value > 0
    for pair, name in (((GOOD[:4], GOOD), "samples"), ((GOOD, GOOD[:4]), "reference")):
        with pytest.raises(ValueError, match=f"{name} must be more than 4.*got 4"):
            frechet_distance(*pair)


def test_too_few_for_the_neighbours_are_refused():
    assert precision_recall(GOOD[:4], GOOD)[0].value >= 0
    for pair in ((GOOD[:3], GOOD), (GOOD, GOOD[:3])):
        with pytest.raises(ValueError, match="num_neighbours.*got 3 with 3"):
            precision_recall(*pair)
    with pytest.raises(ValueError, match="got 0 with 20"):
        precision_recall(GOOD, GOOD, num_neighbours=0)


@pytest.mark.parametrize(
    ("queries", "points", "num", "says"),
    [
        (GOOD, GOOD, 0, "num must be in .*got 0 with 20"),
        (GOOD, GOOD, 21, "num must be in .*got 21 with 20"),
        (GOOD, GOOD[:0], 1, r"got \[20, 4\] and \[0, 4\]"),
        (GOOD[:0], GOOD, 1, r"got \[0, 4\] and \[20, 4\]"),
        (GOOD, GOOD[:, :2], 1, r"got \[20, 4\] and \[20, 2\]"),
        (NAN, GOOD, 1, "finite"),
        (GOOD, INF, 1, "finite"),
    ],
)
def test_what_has_no_neighbours_is_refused(queries, points, num, says):
    with pytest.raises(ValueError, match=says):
        nearest(queries, points, num)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ([], r"\[N\], N >= 1, got \[0\]"),
        ([[1.0]], r"got \[1, 1\]"),
        ([1.0, np.nan], "NaN"),
        ([1.0, np.inf], "infinity"),
    ],
)
def test_bad_distances_are_refused(bad, says):
    for pair in ((bad, [1.0]), ([1.0], bad)):
        with pytest.raises(ValueError, match=says):
            copying(*pair)
