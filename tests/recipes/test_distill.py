"""`jdiff train distill`."""

import json

import jax
import numpy as np
import pytest
from cases import save_still_network
from commands import log_of, steps_of, train
from safetensors.numpy import load_file

import jdiff
from jdiff import models

pytest.importorskip("orbax.checkpoint", reason="needs jdiffusion[train]")
TINY = ["--paths", "8", "--updates", "8", "--batch-size", "8", "--teacher-steps", "4"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A network that predicts v = 0: its flow stands still, so x_0 is x_T, clipped."""
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    save_still_network(path)
    return path


@pytest.fixture(scope="module")
def stopped(teacher, tmp_path_factory):
    """The folder of a run that SIGTERM has ended amid a round."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    options = ["--weights", teacher, *TINY, "--steps", 70, "--out", out]
    assert train("distill", *options, stop_at=20)[0] == 0
    return out


@pytest.mark.slow
def test_a_student_learns_to_see_the_end_of_paths(stopped):
    assert steps_of(stopped) == [20]
    (facts,) = stopped.glob("checkpoints/20/facts/*metadata*")
    # Four rounds come first, and then one every 8 updates.
    assert json.loads(facts.read_text())["position"] == 6
    assert train("distill", "--resume", "--out", stopped)[0] == 0
    lines = log_of(stopped)
    assert [line["step"] for line in lines] == [10, 20, 30, 40, 50, 60, 70]
    assert lines[-1]["one_step"] < 0.9 * lines[0]["one_step"]
    student = jdiff.load_model(stopped)
    assert student.distilled and not student.has_null
    batch = jdiff.generate(jax.random.key(0), student, [0, 1], num_steps=1)
    assert np.isfinite(batch.x_0).all()
    weights = load_file(stopped / "weights.safetensors")
    assert all(np.isfinite(leaf).all() for leaf in weights.values())


@pytest.mark.slow
def test_a_model_of_latents_is_distilled_in_all_its_styles(tmp_path):
    out = tmp_path / "run"
    options = ["--paths", 1, "--updates", 2, "--teacher-steps", 2, "--batch-size", 8]
    options += ["--steps", 4, "--out", out]
    assert train("distill", "--weights", "latent", *options)[0] == 0
    student, teacher = jdiff.load_model(out), "latent"
    assert student.distilled and student.has_style
    # What makes images of latents is not learned.
    for name in ("decoder/linear", "latents", "style"):
        for leaf, expected in zip(
            jax.tree.leaves(student.params[name]),
            jax.tree.leaves(jdiff.load_model(teacher).params[name]),
            strict=True,
        ):
            np.testing.assert_array_equal(leaf, expected)
    style = np.array([1.0, 0.0, 0.0, np.nan])
    batch = jdiff.generate(jax.random.key(0), student, [0, 1], 1, style=style)
    assert np.isfinite(batch.x_0).all()


@pytest.mark.slow
def test_a_model_of_strokes_keeps_its_teacher(tmp_path):
    out = tmp_path / "run"
    options = ["--paths", 1, "--updates", 2, "--teacher-steps", 2, "--batch-size", 8]
    assert (
        train("distill", "--weights", "pen", *options, "--steps", 4, "--out", out)[0]
        == 0
    )
    both, teacher = models.load_pen(out / "weights.safetensors"), models.load_pen()
    for leaf, expected in zip(
        *map(jax.tree.leaves, (both.params, teacher.params)), strict=True
    ):
        np.testing.assert_array_equal(leaf, expected)
    student, before = map(jax.tree.leaves, (both.few, models.take_network(both.params)))
    moved = [np.abs(a - b).max() for a, b in zip(student, before, strict=True)]
    assert 0 < max(moved) < 0.1
    assert jdiff.write("hi", out, steps=1).strokes


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--minutes", "0"], "minutes must be > 0, got 0"),
        (["--delta", "3"], "delta must be in (0, 2], got 3"),
        (["--teacher-steps", "1"], "times must have at least 2 steps, got 1"),
        (["--teacher-steps", "101"], "num_steps must be in [1, 100], got 101"),
        (["--guidance", "nan"], "guidance must be in [-1000, 1000], got nan"),
        (["--resume"], "no run to resume"),
        (["--weights", "nothing.safetensors"], "nothing.safetensors"),
        (["--weights", jdiff.models.SHIPPED["mixture"]], "must be of a network, got"),
    ],
)
def test_bad_input_is_one_sentence_and_no_run(tmp_path, teacher, argv, says):
    out = tmp_path / "run"
    options = ["--weights", teacher, *TINY, *argv, "--out", out]
    code, _, error = train("distill", *options)
    assert code == 2 and says in error and not out.exists()
