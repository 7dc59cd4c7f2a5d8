"""`jdiff train unet`, and the likelihoods of what it trains."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases import COMPILES_FAST
from PIL import Image
from safetensors.numpy import load_file

import jdiff

pytest.importorskip("orbax.checkpoint", reason="needs jdiffusion[train]")
SCRIPT = Path(__file__).parents[2] / "scripts" / "train_unet.py"
# Blocks take most of the time that a network compiles.
TINY = ["--num-channels", "16", "--num-blocks", "0"]
TINY += ["--batch-size", "8", "--num-steps", "100"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of two classes, 8 x 8: bright above, bright below."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    images = np.random.default_rng(0).integers(0, 60, (40, 8, 8), np.uint8)
    labels = np.arange(40) % 2
    images[labels == 0, :4] += 190
    images[labels == 1, 4:] += 190
    np.savez(path, images=images, labels=labels, chars=np.array(["a", "b"]))
    return path


def run(*argv, check=True, script=SCRIPT):
    command = [sys.executable, str(script), *map(str, argv)]
    return subprocess.run(
        command, env=COMPILES_FAST, check=check, capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """A run of 40 steps that nothing has interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    run("--data", data, *TINY, "--steps", 40, "--out", out)
    return out


def log(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def saved(out):
    """The steps of whole checkpoints."""
    names = [path.name for path in (out / "checkpoints").glob("*")]
    return [int(name) for name in names if name.isdigit()]


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(tmp_path, data, whole):
    halves = tmp_path / "halves"
    command = ["--data", data, *TINY, "--steps", 40, "--save-minutes", 1e-6]
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), *map(str, command), "--out", str(halves)],
        env=COMPILES_FAST,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not saved(halves):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    run("--resume", "--save-minutes", 10, "--out", halves)
    expected, got = (load_file(out / "weights.safetensors") for out in (whole, halves))
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])
    assert [line["step"] for line in log(halves)] == [10, 20, 30, 40]
    assert [line["loss"] for line in log(halves)] == [
        line["loss"] for line in log(whole)
    ]


def test_ctrl_c_leaves_a_checkpoint_and_everything_else(tmp_path, data):
    out = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), "--data", str(data), *TINY]
        + ["--minutes", "10", "--out", str(out)],
        env=COMPILES_FAST,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (out / "log.jsonl").exists() or not log(out):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 0
    names = {path.name.split(".")[0] for path in out.iterdir()}
    assert names == {
        *("arguments", "checkpoints", "events", "log", "samples", "weights")
    }
    assert len(saved(out)) == 1


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--data", "emnist/klingon"], "klingon"),
        (["--data", "nothing.npz"], "nothing.npz"),
        (["--data", "emnist/byclass", "--data-dir", "nowhere"], "nowhere"),
        (["--minutes", "0"], "got 0"),
        (["--num-channels", "20"], "got 20"),
        (["--label-dropout", "2"], "got 2"),
        (["--schedule", "flow", "--prediction", "eps"], "predict x_0, v or the flow"),
        (["--resume"], "no run to resume"),
        (["--start", "nothing.safetensors"], "nothing.safetensors"),
        (["--start", jdiff.models.SHIPPED["unet"]], "must be weights of"),
    ],
)
def test_bad_input_is_one_sentence_and_no_run(tmp_path, data, argv, says):
    out = tmp_path / "run"
    done = run("--data", data, *TINY, *argv, "--out", out, check=False)
    assert done.returncode == 2 and not out.exists()
    assert says in done.stderr.strip().splitlines()[-1]


def test_sizes_that_4_does_not_divide_are_refused(tmp_path, data):
    """Sizes that 4 does not divide are refused before any work."""
    images = np.zeros((4, 10, 8), np.uint8)
    np.savez(tmp_path / "odd.npz", images=images, labels=np.arange(4), chars="abcd")
    done = run("--data", tmp_path / "odd.npz", "--out", tmp_path / "run", check=False)
    assert done.returncode == 2 and "10 x 8" in done.stderr
    assert os.listdir(tmp_path) == ["odd.npz"]


def test_colour_images_and_short_schedules_train(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 12, 3), np.uint8)
    np.savez(tmp_path / "rgb.npz", images=images, labels=np.arange(8) % 2, chars="ab")
    options = [*TINY[:-1], 10, "--steps", 2, "--prediction", "x_0"]
    options += ["--num-blocks", 1]
    run("--data", tmp_path / "rgb.npz", *options, "--out", tmp_path / "run")
    assert Image.open(tmp_path / "run" / "samples.png").mode == "RGB"
    model = jdiff.load_model(tmp_path / "run" / "weights.safetensors")
    assert model.image_shape == (8, 12, 3) and len(model.schedule.alpha) == 11


def test_a_run_starts_from_the_weights_of_another(tmp_path, data, whole):
    weights, out = "weights.safetensors", tmp_path / "run"
    # The learning rate rises from 0, which is that of the first step.
    options = ["--steps", 1, "--start", whole / weights]
    run("--data", data, *TINY, *options, "--out", out)
    before, after = (load_file(folder / weights) for folder in (whole, out))
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
