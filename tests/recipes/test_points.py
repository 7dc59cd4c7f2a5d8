"""`jdiff train points`, and the pictures of what it learns."""

import numpy as np
import pytest
from commands import train
from PIL import Image

import jdiff
from jdiff.recipes import point_models

pytest.importorskip("matplotlib", reason="needs jdiffusion[train]")
TINY = ["--num-features", "8", "--epochs", "2", "--batch-size", "16"]
TINY += ["--num-points", "100", "--num-samples", "50", "--steps", "4"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "moons.safetensors"
    assert train("points", *TINY, "--data", "moons", "--out", out)[0] == 0
    return out


def test_it_writes_weights_and_a_picture_beside_them(trained):
    assert {path.name for path in trained.parent.iterdir()} == {
        "moons.safetensors",
        "moons.png",
    }
    picture = np.asarray(Image.open(trained.with_suffix(".png")).convert("L"))
    assert picture.std() > 10


def test_one_checkpoint_is_drawn_in_many_ways(trained, tmp_path):
    pictures = []
    for field in ("score", "flow"):
        out, gif = tmp_path / f"{field}.png", tmp_path / f"{field}.gif"
        options = ["--field", field, "--guidance", "2", "--clip", "2", "--steps", "3"]
        options += ["--num-samples", "40", "--out", str(out), "--gif", str(gif)]
        assert train("points", "--draw", trained, *options)[0] == 0
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


@pytest.mark.slow
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
        (["--seed", "-1"], "seed must be in [0, 4294967295], got -1"),
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
            "must be of the model 'points'",
        ),
        (["{}", "--steps", "300"], "steps must be in [1, 200]"),
        (["{}", "--out", "picture.jpg"], "must end in .png"),
        (["{}", "--epochs", "3", "--loss=l2"], "pictures alone, got epochs, loss."),
    ],
)
def test_weights_that_cannot_be_drawn_are_named(trained, argv, says):
    argv = [str(arg).format(trained) for arg in argv]
    code, _, error = train("points", "--draw", *argv)
    assert code == 2 and says in error
