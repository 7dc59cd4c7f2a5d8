"""`jdiff train points`, and the pictures of what it learns."""

import argparse
import importlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import train
from PIL import Image

import jdiff
from jdiff.recipes import point_models

pytest.importorskip("matplotlib", reason="needs jdiffusion[train]")
SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = ["--num-features", "8", "--epochs", "2", "--batch-size", "16"]
TINY += ["--num-points", "100", "--num-samples", "50", "--steps", "4"]


@pytest.fixture(scope="module")
def load():
    """Imports a script by name; scripts find one another in their own folder."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "moons.safetensors"
    assert train("points", *TINY, "--data", "moons", "--out", out)[0] == 0
    return out


def fails(main, argv, capsys):
    """The one sentence with which a command refuses its arguments."""
    with pytest.raises(SystemExit) as stop:
        main([str(arg) for arg in argv])
    assert stop.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_it_writes_weights_and_a_picture_beside_them(trained):
    assert {path.name for path in trained.parent.iterdir()} == {
        "moons.safetensors",
        "moons.png",
    }
    picture = np.asarray(Image.open(trained.with_suffix(".png")).convert("L"))
    assert picture.std() > 10


def test_one_checkpoint_is_drawn_in_many_ways(load, trained, tmp_path):
    pictures = []
    for field in ("score", "flow"):
        out, gif = tmp_path / f"{field}.png", tmp_path / f"{field}.gif"
        options = ["--field", field, "--guidance", "2", "--clip", "2", "--steps", "3"]
        options += ["--num-samples", "40", "--out", str(out), "--gif", str(gif)]
        load("draw_toy").main([str(trained), *options])
        pictures.append(out.read_bytes())
        # Noise, and where each of the steps leads.
        assert Image.open(gif).n_frames == 4
    assert pictures[0] != pictures[1]


def test_what_is_loaded_is_what_was_saved(trained):
    model, facts = point_models.load_model(trained)
    assert facts["data"] == "moons" and model.num_classes == 2
    labels, times = np.arange(6) % 2, jdiff.timesteps(model.schedule, 4)
    draw = point_models.draw(model, labels, jdiff.ddim, times, 1.0, seed=0)
    assert draw.shape == (6, 5, 2) and np.isfinite(draw).all()
    # A point depends on its own key and label alone.
    again = point_models.draw(model, labels[::-1], jdiff.ddim, times, 1.0, seed=0)
    np.testing.assert_array_equal(draw[:, 0], again[:, 0])
    assert (draw[:, -1] != again[:, -1]).any(1).all()


def test_guidance_is_0_without_label_1_with_label_and_a_line_beyond(trained):
    model, _ = point_models.load_model(trained)
    x_t = np.array([0.3, -0.2], np.float32)
    free, there, beyond = (
        point_models.make_denoise(model, 1, scale)(x_t, 100)
        for scale in (0.0, 1.0, 3.0)
    )
    other = point_models.make_denoise(model, 0, 0.0)(x_t, 100)
    np.testing.assert_array_equal(free, other)
    np.testing.assert_allclose(beyond, free + 3 * (there - free), rtol=1e-5)


def test_the_first_part_of_the_tutorial_runs_on_points_of_a_file(tmp_path):
    data, out = tmp_path / "p.npz", tmp_path / "part1.safetensors"
    np.savez(data, points=np.random.default_rng(0).normal(size=(30, 2)))
    options = "--predict x_0 --level raw --loss huber --weight snr_difference"
    options += " --schedule linear --solver ddpm --labelled 0 --guidance 0"
    options += " --seconds 0.01"
    argv = [*TINY, *options.split(), "--data", data, "--out", out]
    assert train("points", *argv)[0] == 0
    _, facts = jdiff.storage.load_weights(out)
    assert facts["predict"] == "x_0" and facts["level"] == "raw"
    assert facts["num_classes"] == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--data", "suns"], "data must be one of parabola"),
        (["--num-points", "1"], "num_points must be >= 2, got 1."),
        (["--steps", "201"], "steps must be in [1, 200], the T of the schedule, got"),
        (["--num-steps", "10", "--steps", "11"], "steps must be in [1, 10], the T"),
        (["--labelled", "1.5"], "fraction of labels must be in [0, 1], got 1.5."),
        (["--labelled", "0"], "guidance must be 0 without labels, got 1.0."),
        (["--guidance", "2", "--label-dropout", "0"], "label_dropout must be > 0"),
        (["--label-dropout", "2"], "label_dropout must be in [0, 1], got 2.0."),
        (["--schedule", "flow", "--predict", "eps"], "predict x_0, v or the flow"),
        (["--schedule", "linear", "--beta-end", "2"], "beta_T must be in (0, 1)"),
        (["--learning-rate", "nan"], "learning_rate must be > 0, got nan."),
        (["--batch-size", "0"], "batch_size must be >= 1, got 0."),
        (["--num-layers", "0"], "num_layers must be >= 1, got 0."),
        (["--clip", "-1"], "clip must be > 0, got -1.0."),
        (["--seed", "-1"], "seed must be >= 0 and guidance a number, got -1"),
        (["--gif", "nowhere/m.gif"], "there is no folder nowhere"),
        (["--gif", "m.png"], "must end in .gif"),
        (["--predict", "noise"], "invalid choice: 'noise'"),
    ],
)
def test_bad_input_is_one_sentence_and_no_file(tmp_path, argv, says):
    out = tmp_path / "m.safetensors"
    code, _, error = train("points", *TINY, "--out", out, *argv)
    assert code == 2 and says in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"points": np.full((9, 2), np.nan)}, "points must be finite"),
        ({"points": np.ones((1, 2))}, "points must be at least 2, got 1."),
        ({"points": np.ones((9, 3))}, "must hold points [N, 2], got [9, 3]."),
        (
            {"points": np.ones((9, 2)), "labels": np.full(9, 5), "num_classes": 3},
            "labels must be in [0, 3], where 3 means none, got 5 .. 5.",
        ),
    ],
)
def test_bad_points_are_one_sentence(tmp_path, arrays, says):
    data = tmp_path / "bad.npz"
    np.savez(data, **arrays)
    argv = [*TINY, "--data", data, "--out", tmp_path / "m.safetensors"]
    code, _, error = train("points", *argv)
    assert code == 2 and says in error
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"]


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["nothing.safetensors"], "weights must be a file"),
        (
            [jdiff.models.SHIPPED["unet"]],
            "must be those of `jdiff train points`",
        ),
        (["{}", "--steps", "300"], "steps must be in [1, 200]"),
        (["{}", "--out", "picture.jpg"], "must end in .png"),
    ],
)
def test_weights_that_cannot_be_drawn_are_named(load, trained, capsys, argv, says):
    argv = [str(arg).format(trained) for arg in argv]
    assert says in fails(load("draw_toy").main, argv, capsys)


def exact_grid(params, x_t, log_snr, label):
    """The posterior mean of the standardized grid of Gaussians, on a path of its own.

    A product of two mixtures, so x and y are denoised by themselves.
    """
    square = jax.nn.sigmoid(log_snr)[:, None, None]  # alpha^2 = 1 - sigma^2
    centres, variance = (jnp.arange(-2.0, 3.0) / 2).reshape(1, 1, 5), (1 / 16) ** 2
    total = square * variance + 1 - square
    gap = x_t[..., None] - jnp.sqrt(square) * centres
    share = jax.nn.softmax(-0.5 * gap**2 / total)
    pull = jnp.sqrt(square) * variance / total
    return jnp.sum(share * (centres + pull * gap), -1)


def test_a_model_that_knows_the_density_is_as_good_as_data(
    load, tmp_path, capsys, monkeypatch
):
    compare_toy = load("compare_toy")
    scale = np.full(2, 4, np.float32)
    schedule = jdiff.cosine_schedule(200)
    exact = point_models.PointModel(
        exact_grid, {}, schedule, jdiff.PREDICT_X_0, 25, scale
    )
    monkeypatch.setattr(compare_toy, "train", lambda *args: (exact, 1.5))
    out = tmp_path / "table.json"
    argv = ["--densities", "gaussian_grid", "--seeds", "2", "--out", str(out)]
    compare_toy.main([*argv, "--num-samples", "1000", "--num-density", "40"])
    printed = capsys.readouterr().out
    assert printed.startswith("| density |") and "| gaussian_grid | 2 | " in printed
    figures = json.loads(out.read_text())
    assert len(figures["distances"]["gaussian_grid"]) == len(figures["nats"]) == 2
    for row in figures["distances"]["gaussian_grid"]:
        assert 0.4 < row["200 steps"] < 2 and 0.4 < row["20 steps"] < 2
    for row in figures["nats"]:
        assert row["missing"] == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize(("moved", "share"), [(0, 1.0), (1, 0.0)])
def test_points_count_on_the_structure_that_was_asked_for(
    load, monkeypatch, moved, share
):
    compare_toy = load("compare_toy")

    def other_structures(model, args, seed, num_steps, solver, labels, guidance):
        points, found = jdiff.data.points.moons_and_circles(4000, noise=0.0)
        of_class = [points[found == k] for k in range(4)]
        return np.stack([of_class[(k + moved) % 4][0] for k in labels])

    monkeypatch.setattr(compare_toy, "sample", other_structures)
    args = argparse.Namespace(num_samples=40)
    assert set(compare_toy.shares(None, args, 0).values()) == {share}
