"""From an array to samples like it, in two calls."""

import itertools
import types

import jax
import numpy as np
import pytest

import jdiff

KEY = jax.random.key(0)
RANDOM = np.random.default_rng(0)


@pytest.fixture(scope="module")
def model():
    """A model of two long thin clouds far from 0, with classes."""
    # A clock that shows one of 40 equal parts more at each look.
    clock = types.SimpleNamespace(monotonic=itertools.count(0.0, 60 / 40).__next__)
    labels = RANDOM.choice(["left", "right"], 2000)
    center = np.where(labels == "right", 130.0, 70.0)
    x = np.stack([RANDOM.normal(center, 5.0), RANDOM.normal(-3.0, 0.02, 2000)], 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(jdiff.fit.__globals__, "time", clock)
        return jdiff.fit(x, labels, minutes=1.0)


def test_points_come_back_in_their_own_units(model):
    assert model.classes == ("left", "right") and model.shape == (2,)
    x_0 = jdiff.generate(KEY, model, 1000, num_steps=20).x_0
    np.testing.assert_allclose(x_0.mean(0), [100.0, -3.0], rtol=0.05)
    np.testing.assert_allclose(x_0.std(0), [30.4, 0.02], rtol=0.15)
    # Both clouds and nothing between.
    assert ((abs(x_0[:, 0] - 70) < 20) | (abs(x_0[:, 0] - 130) < 20)).mean() > 0.95


def test_points_follow_their_label(model):
    x_0 = jdiff.generate(KEY, model, [1] * 300, num_steps=20).x_0
    assert (abs(x_0[:, 0] - 130) < 20).mean() > 0.95


@pytest.mark.parametrize(
    ("x", "network"),
    [
        pytest.param(
            RANDOM.normal(50.0, 2.0, (40, 8, 3)), None, marks=pytest.mark.slow
        ),
        (
            RANDOM.integers(0, 256, (12, 8, 8, 3), np.uint8),
            jdiff.networks.make_dit(0, 16, 1, 2),
        ),
        pytest.param(
            RANDOM.uniform(-1, 1, (12, 6, 8, 1)).astype(np.float32),
            None,
            marks=pytest.mark.slow,
        ),
    ],
    ids=["series", "bytes", "images"],
)
def test_series_and_images_are_fitted_without_labels(x, network):
    model = jdiff.fit(x, minutes=1e-4, network=network)
    assert model.classes == () and model.shape == x.shape[1:]
    x_0, path = jdiff.generate(KEY, model, 3, num_steps=2, with_path=True)
    assert x_0.shape == (3, *x.shape[1:]) and path.shape == (3, 3, *x.shape[1:])
    assert np.isfinite(x_0).all()
    if x.ndim == 4:
        assert abs(x_0).max() <= 1.0
    else:
        assert 30 < x_0.mean() < 70


def test_a_network_of_ones_own_is_trained():
    network = jdiff.networks.make_mlp(2, num_features=5, num_layers=1)
    x, labels = RANDOM.normal(size=(64, 3)), np.arange(64) % 2
    model = jdiff.fit(x, labels, minutes=1e-4, network=network)
    assert model.params["mlp/linear"]["w"].shape[1] == 5
    assert jdiff.generate(KEY, model, [0, 1], num_steps=1).x_0.shape == (2, 3)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (np.ones(5), {}, r"x must be \[N, D\]"),
        (np.ones((0, 2)), {}, r"x must be \[N, D\]"),
        (np.full((5, 2), np.nan), {}, "x must be finite"),
        (np.full((5, 4, 4, 1), 255.0), {}, "images within"),
        (np.ones((5, 2)), {"labels": [0, 1]}, "labels must be 5, .* got 2"),
        (np.ones((5, 2)), {"minutes": 0.0}, "minutes must be > 0, got 0"),
    ],
)
def test_what_cannot_be_fitted_is_said_at_once(x, options, message):
    with pytest.raises(ValueError, match=message):
        jdiff.fit(x, **({"minutes": 1.0} | options))


def test_a_constant_coordinate_is_left_alone():
    x = np.stack([np.full(64, 7.0), RANDOM.normal(size=64)], 1)
    x_0 = jdiff.generate(KEY, jdiff.fit(x, minutes=1e-4), 4, num_steps=1).x_0
    assert np.isfinite(x_0).all()
