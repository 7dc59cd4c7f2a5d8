"""The distilling script, as a user runs it."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from cases import COMPILES_FAST, save_still_network
from safetensors.numpy import load_file

import jdiff

pytest.importorskip("orbax.checkpoint", reason="needs jdiffusion[train]")
SCRIPT = Path(__file__).parents[2] / "scripts" / "distill.py"
TINY = ["--paths", "8", "--updates", "8", "--batch-size", "8", "--steps", "4"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A network that predicts v = 0: its flow stands still, so x_0 is x_T, clipped."""
    path = tmp_path_factory.mktemp("weights") / "teacher.safetensors"
    save_still_network(path)
    return path


def command(*argv):
    return [sys.executable, str(SCRIPT), *map(str, argv)]


def run(*argv, check=True):
    return subprocess.run(
        command(*argv), env=COMPILES_FAST, check=check, capture_output=True, text=True
    )


def log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_a_student_learns_to_see_the_end_of_paths(tmp_path, teacher):
    out = tmp_path / "run"
    run("--weights", teacher, *TINY, "--rounds", 12, "--out", out)
    first, *_, last = log(out)
    assert last["one_step"] < 0.9 * first["one_step"]
    student = jdiff.load_model(out / "weights.safetensors")
    assert student.distilled and not student.has_null
    (batch,) = jdiff.generate(jax.random.key(0), student, [0, 1], num_steps=1)
    assert np.isfinite(batch.x_0).all()


def test_a_model_of_latents_is_distilled_in_all_its_styles(tmp_path):
    out = tmp_path / "run"
    options = ["--paths", 1, "--updates", 2, "--steps", 2, "--batch-size", 8]
    run("--weights", "latent", *options, "--rounds", 5, "--out", out)
    student, teacher = jdiff.load_model(out / "weights.safetensors"), "latent"
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
    (batch,) = jdiff.generate(jax.random.key(0), student, [0, 1], 1, style=style)
    assert np.isfinite(batch.x_0).all()


def test_a_run_that_was_killed_goes_on(tmp_path, teacher):
    out = tmp_path / "run"
    process = subprocess.Popen(
        command("--weights", teacher, *TINY, "--minutes", 10, "--out", out),
        env=COMPILES_FAST,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (out / "log.jsonl").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = log(out)[-1]
    goal = before["round"] + 10
    run("--weights", teacher, *TINY, "--rounds", goal, "--out", out, "--resume")
    steps = [line["step"] for line in log(out)]
    assert all(s % 8 == 0 for s in steps) and steps == sorted(set(steps))
    assert steps[-1] > before["step"]
    assert log(out)[-1]["round"] >= goal
    weights = load_file(out / "weights.safetensors")
    assert all(np.isfinite(leaf).all() for leaf in weights.values())


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--minutes", "0"], "minutes must be > 0, got 0"),
        (["--delta", "3"], "delta must be in (0, 2], got 3"),
        (["--steps", "1"], "times must have at least 2 steps, got 1"),
        (["--steps", "101"], "num_steps must be in [1, 100], got 101"),
        (["--guidance", "nan"], "guidance must be a finite number, got nan"),
        (["--resume"], "no run to resume"),
        (["--weights", "nothing.safetensors"], "nothing.safetensors"),
        (["--weights", jdiff.models.SHIPPED["mixture"]], "must be of a network, got"),
    ],
)
def test_bad_input_is_one_sentence_and_no_run(tmp_path, teacher, argv, says):
    out = tmp_path / "run"
    done = run("--weights", teacher, *TINY, *argv, "--out", out, check=False)
    assert done.returncode == 2
    assert says in done.stderr.strip().splitlines()[-1]
    assert not out.exists()
