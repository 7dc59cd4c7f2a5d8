"""Laws of the densities in the plane, of the judge, and of what makes points ready."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial import cKDTree
from sklearn.datasets import make_circles, make_moons

import jdiff
from jdiff import data
from jdiff.data import hide_labels, load_points, standardize
from jdiff.data.points import check_points, read_points

N = 20_000
names = pytest.mark.parametrize("name", data.points.DENSITIES)


def spread(probability, num=N):
    """Standard deviation of a share of num independent points."""
    return math.sqrt(probability * (1 - probability) / num)


def far_from(points, curve):
    """Distance of each point to the nearest point of a finely sampled curve."""
    return cKDTree(curve).query(points)[0]


@names
def test_points_and_labels_are_what_training_wants(name):
    draw, num_classes = data.points.DENSITIES[name]
    points, labels = draw(N, seed=3)
    assert points.shape == (N, 2) and points.dtype == np.float32
    assert labels.shape == (N,) and labels.dtype == np.int32
    checked = check_points(points, labels, num_classes)
    np.testing.assert_array_equal(checked.points, points)
    shares = np.bincount(labels, minlength=num_classes) / N
    assert len(shares) == num_classes
    assert np.abs(shares - 1 / num_classes).max() <= 5 * spread(1 / num_classes)


@names
def test_a_seed_is_a_data_set(name):
    draw = data.points.DENSITIES[name].draw
    np.testing.assert_array_equal(draw(50, 1).points, draw(50, 1).points)
    assert (draw(50, 1).points != draw(50, 2).points).any()


@names
@pytest.mark.parametrize("num_points", [-1, 0, 1])
def test_one_point_is_no_data_set(name, num_points):
    with pytest.raises(ValueError, match=f"num_points must be >= 2, got {num_points}"):
        data.points.DENSITIES[name].draw(num_points)


@pytest.mark.parametrize("noise", [-0.1, math.inf, math.nan])
@pytest.mark.parametrize("name", ["moons", "circles", "swiss_roll"])
def test_noise_below_zero_is_refused(name, noise):
    with pytest.raises(ValueError, match="noise must be >= 0, got"):
        data.points.DENSITIES[name].draw(10, noise=noise)


def test_parabola_has_the_moments_and_the_regression_it_says():
    x, y = data.points.parabola(N, seed=1).points.T.astype(np.float64)
    assert stats.kstest(x / 4, "norm").pvalue > 1e-3
    assert stats.kstest(y - 0.25 * x**2, "norm").pvalue > 1e-3
    # E y = 0.25 E x^2 = 4, Var y = 1 + 0.25^2 Var x^2 = 1 + 2 * 0.25^2 * 4^4 = 33.
    assert y.mean() == pytest.approx(4, abs=5 * math.sqrt(33 / N))
    slope, at_0 = np.polyfit(x**2, y, 1)
    assert slope == pytest.approx(0.25, abs=5 / math.sqrt(N * 2 * 4**4))
    assert at_0 == pytest.approx(0, abs=5 * math.sqrt(1.5 / N))


@pytest.mark.parametrize(
    ("draw", "theirs"),
    [
        (data.points.moons, make_moons(4001)),
        (data.points.circles, make_circles(4001, factor=0.5)),
    ],
)
def test_without_noise_curves_are_those_of_scikit_learn(draw, theirs):
    curve, labels = theirs
    ours = draw(2000, noise=0.0)
    for label in (0, 1):
        mine = ours.points[ours.labels == label]
        assert far_from(mine, curve[labels == label]).max() < 2e-3
        assert far_from(curve[labels == label], mine).max() < 0.1


@pytest.mark.parametrize("name", ["moons", "circles", "moons_and_circles"])
def test_noise_is_gaussian_of_the_size_that_is_said(name):
    draw = data.points.DENSITIES[name].draw
    clean, noisy = draw(N, 5, noise=0.0), draw(N, 5)
    eps = (noisy.points - clean.points).astype(np.float64) / data.points.NOISE
    assert stats.kstest(eps.ravel(), "norm").pvalue > 1e-3
    np.testing.assert_array_equal(noisy.labels, clean.labels)


def test_swiss_roll_is_an_archimedean_spiral_of_a_turn_and_a_half():
    points = data.points.swiss_roll(N, noise=0.0).points.astype(np.float64)
    radius = np.hypot(*points.T)
    angle = np.arctan2(points[:, 1], points[:, 0])
    turns = (radius - angle) / (2 * np.pi)  # radius is the angle, up to whole turns
    np.testing.assert_allclose(turns, np.round(turns), atol=1e-5)
    assert stats.kstest(radius, stats.uniform(1.5 * np.pi, 3 * np.pi).cdf).pvalue > 1e-3


def test_checkerboard_is_uniform_on_dark_cells():
    points, labels = data.points.checkerboard(N)
    column, row = np.floor(points).astype(int).T + 2
    assert ((column + row) % 2 == 0).all() and (column // 2 + 2 * row == labels).all()
    assert set(column) == set(row) == {0, 1, 2, 3}
    within = np.mod(points.astype(np.float64), 1)
    assert stats.kstest(within.ravel(), "uniform").pvalue > 1e-3


# The judge.


def test_every_point_of_the_data_lies_on_its_own_structure():
    points, labels = data.points.moons_and_circles(100_000)
    found, distance = data.points.nearest_structure(points)
    assert (found == labels).all()
    # The distance is at most |eps|, of a chi distribution with 2 degrees of freedom.
    assert (distance > 4 * data.points.NOISE).mean() <= math.exp(-8)


def test_without_noise_points_lie_on_the_curves():
    points, labels = data.points.moons_and_circles(1000, noise=0.0)
    found, distance = data.points.nearest_structure(points)
    assert (found == labels).all() and distance.max() < 1e-6


def test_distance_is_that_to_the_nearest_of_many_points_of_the_curves():
    curve, labels = data.points.moons_and_circles(40_000, noise=0.0)
    places = np.random.default_rng(0).uniform(-4, 4, (300, 2))
    to_each = np.stack([far_from(places, curve[labels == k]) for k in range(4)])
    found, distance = data.points.nearest_structure(places)
    np.testing.assert_allclose(distance, to_each.min(0), atol=5e-3)
    first, second, *_ = np.sort(to_each, axis=0)
    sure = second - first > 0.01
    assert sure.mean() > 0.9
    np.testing.assert_array_equal(found[sure], to_each.argmin(0)[sure])


def test_structures_are_eight_deviations_apart():
    curve, labels = data.points.moons_and_circles(4000, noise=0.0)
    for k in range(4):
        gap = far_from(curve[labels == k], curve[labels != k]).min()
        assert gap > 8 * data.points.NOISE


# The grid of Gaussians.


def test_density_of_the_grid_integrates_to_1():
    ticks = np.linspace(-6, 6, 801)
    places = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    mass = (
        np.exp(data.points.gaussian_grid_log_density(places)).sum()
        * (ticks[1] - ticks[0]) ** 2
    )
    assert mass == pytest.approx(1, abs=1e-6)


def test_density_of_the_grid_is_that_of_its_points():
    points = data.points.gaussian_grid(N).points
    edges = np.linspace(-4.75, 4.75, 20)  # a bin around each row of centres
    counts, *_ = np.histogram2d(*points.T, bins=(edges, edges))
    fine = np.linspace(-4.75, 4.75, 19 * 40 + 1)
    middle = (fine[1:] + fine[:-1]) / 2
    places = np.stack(np.meshgrid(middle, middle, indexing="ij"), -1)
    density = np.exp(data.points.gaussian_grid_log_density(places.reshape(-1, 2)))
    mass = density.reshape(19, 40, 19, 40).sum((1, 3)) * (fine[1] - fine[0]) ** 2
    likely = N * mass > 5
    chi = ((counts - N * mass) ** 2 / (N * mass))[likely].sum()
    assert stats.chi2(likely.sum()).sf(chi) > 1e-3


def test_density_of_the_grid_is_a_mean_of_normals():
    places = np.random.default_rng(0).normal(scale=4, size=(50, 2))
    centres = [(2.0 * i, 2.0 * j) for i in range(-2, 3) for j in range(-2, 3)]
    normals = [stats.multivariate_normal(c, 0.0625).logpdf(places) for c in centres]
    expected = np.logaddexp.reduce(normals, axis=0) - math.log(25)
    got = data.points.gaussian_grid_log_density(places)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


# What makes points ready.

coordinates = st.floats(-1e6, 1e6, width=32).filter(lambda x: x == 0 or abs(x) > 1e-20)
shapes = st.tuples(st.integers(2, 9), st.integers(1, 3))
clouds = arrays(np.float32, shapes, elements=coordinates)


@given(clouds.filter(lambda x: np.abs(x).max(0).min() > 0))
def test_standardizing_inverts_bit_for_bit(points):
    scaled, scale = standardize(points)
    np.testing.assert_array_equal(scaled * scale, points)
    assert scaled.dtype == np.float32
    size = np.sqrt(np.square(scaled.astype(np.float64)).mean(0))
    assert (size > 0.7).all() and (size < 1.42).all()


@names
def test_every_density_standardizes_bit_for_bit(name):
    points = data.points.DENSITIES[name].draw(1000).points
    scaled, scale = standardize(points)
    np.testing.assert_array_equal(scaled * scale, points)


def test_points_without_size_cannot_be_scaled():
    with pytest.raises(ValueError, match="points must have a size in"):
        standardize(np.array([[1.0, 0.0], [2.0, 0.0]], np.float32))


GOOD, LABELS = np.zeros((3, 2)), np.zeros(3, int)


@pytest.mark.parametrize(
    ("points", "labels", "says"),
    [
        (GOOD[:1], LABELS[:1], "points must be at least 2, got 1."),
        (GOOD[:, 0], LABELS, "points must be numbers .N, D., got float64.3."),
        (GOOD.astype(str), LABELS, "points must be numbers"),
        (np.where(np.eye(3, 2), np.nan, 0), LABELS, "NaN or infinity in 2 of 3, first"),
        (GOOD + 1e39, LABELS, "finite in float32"),
        (GOOD, LABELS[:2], "one for each of 3 points, got int64.2."),
        (GOOD, LABELS / 2, "labels must be ints"),
        (GOOD, LABELS - 1, r"labels must be in \[0, 2\], .* got -1 .. -1."),
        (GOOD, LABELS + 3, r"labels must be in \[0, 2\], .* got 3 .. 3."),
    ],
)
def test_points_that_cannot_be_trained_on_are_refused(points, labels, says):
    with pytest.raises(ValueError, match=says):
        check_points(points, labels, 2)


def test_the_null_label_marks_a_point_without_label():
    assert check_points(GOOD, LABELS + 2, 2).labels.tolist() == [2, 2, 2]


@given(st.floats(0, 1), st.integers(2, 50))
def test_hiding_labels_leaves_the_fraction_that_was_asked_for(fraction, num):
    labels = np.arange(num) % 5
    left = hide_labels(labels, fraction, 5)
    assert (left != 5).sum() == round(fraction * num)
    np.testing.assert_array_equal(left[left != 5], labels[left != 5])
    np.testing.assert_array_equal(labels, np.arange(num) % 5)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, math.nan])
def test_a_fraction_outside_its_range_is_named(fraction):
    with pytest.raises(ValueError, match=r"fraction of labels must be in \[0, 1\]"):
        hide_labels(LABELS, fraction, 2)


def test_points_of_a_file_come_back(tmp_path):
    path = tmp_path / "points.npz"
    drawn = data.points.moons(20)
    np.savez(path, points=drawn.points, labels=drawn.labels)
    read, num_classes = load_points(str(path), 5)
    np.testing.assert_array_equal(read.points, drawn.points)
    np.testing.assert_array_equal(read.labels, drawn.labels)
    assert num_classes == 2
    np.savez(path, points=drawn.points, labels=drawn.labels, num_classes=1)
    assert read_points(path)[1] == 1  # where 1 is no label
    np.savez(path, points=drawn.points)
    read, num_classes = read_points(path)
    assert num_classes == 1 and not read.labels.any()


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"x": GOOD}, "must hold points, got a file without"),
        ({"points": np.zeros((3, 3))}, r"must hold points \[N, 2\], got \[3, 3\]"),
        ({"points": np.full((3, 2), np.nan)}, "points must be finite"),
        ({"points": GOOD, "labels": LABELS - 1}, "labels must be in"),
        ({"points": GOOD, "labels": LABELS + 7, "num_classes": 3}, "labels must be in"),
    ],
)
def test_a_file_without_good_points_is_refused(tmp_path, arrays, says):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=says):
        load_points(str(tmp_path / "bad.npz"), 5)


def test_an_unknown_density_is_named():
    with pytest.raises(jdiff.data.DataError, match="got 'suns'"):
        load_points("suns", 5)
