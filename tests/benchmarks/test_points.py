"""The table of points in the plane."""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff
from jdiff.recipes import point_models

pytest.importorskip("optax", reason="needs jdiffusion[train]")
import points  # noqa: E402, which needs optax


def exact_grid(params, x_t, log_snr, label):
    """The posterior mean of the standardized grid of Gaussians, on a path of its own.

    A product of two mixtures, so x and y are denoised by themselves.
    """
    square = jax.nn.sigmoid(log_snr)[:, None, None]  # alpha^2 = 1 - sigma^2
    centres, variance = (jnp.arange(-2.0, 3.0) / 2).reshape(1, 1, 5), (1 / 16) ** 2
    total = square * variance + 1 - square
    gap = x_t[..., None] - jnp.sqrt(square) * centres
    weight = jax.nn.softmax(-0.5 * gap**2 / total)
    pull = jnp.sqrt(square) * variance / total
    return jnp.sum(weight * (centres + pull * gap), -1)


def test_a_model_that_knows_the_density_is_as_good_as_data(
    tmp_path, capsys, monkeypatch
):
    scale = np.full(2, 4, np.float32)
    schedule = jdiff.cosine_schedule(200)
    exact = point_models.PointModel(
        exact_grid, {}, schedule, jdiff.PREDICT_X_0, 25, scale
    )
    monkeypatch.setattr(points, "train", lambda *args: (exact, 1.5))
    out = tmp_path / "table.json"
    argv = ["--densities", "gaussian_grid", "--seeds", "2", "--out", str(out)]
    points.main([*argv, "--num-samples", "1000", "--num-density", "40"])
    printed = capsys.readouterr().out
    assert printed.startswith("| density |") and "| gaussian_grid | 2 | " in printed
    figures = json.loads(out.read_text())
    assert len(figures["distances"]["gaussian_grid"]) == len(figures["nats"]) == 2
    for row in figures["distances"]["gaussian_grid"]:
        assert 0.4 < row["200 steps"] < 2 and 0.4 < row["20 steps"] < 2
    for row in figures["nats"]:
        assert row["missing"] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(("moved", "fraction"), [(0, 1.0), (1, 0.0)])
def test_points_count_on_the_structure_that_was_asked_for(monkeypatch, moved, fraction):

    def other_structures(model, args, seed, num_steps, solver, labels, guidance):
        x, found = jdiff.data.points.moons_and_circles(4000, noise=0.0)
        of_class = [x[found == k] for k in range(4)]
        return np.stack([of_class[(k + moved) % 4][0] for k in labels])

    monkeypatch.setattr(points, "sample", other_structures)
    args = argparse.Namespace(num_samples=40)
    assert set(points.fractions(None, args, 0).values()) == {fraction}
