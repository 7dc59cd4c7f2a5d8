"""`jdiff train unet`, as a user runs it."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from commands import log_of, losses_of, steps_of, train, write_data
from PIL import Image
from safetensors.numpy import load_file

import jdiff
from jdiff.cli import main

pytest.importorskip("orbax.checkpoint", reason="needs jdiffusion[train]")
# Blocks take most of the time that a network compiles.
TINY = ["--num-channels", "16", "--num-blocks", "0"]
TINY += ["--batch-size", "8", "--num-steps", "100"]
WEIGHTS = "weights.safetensors"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def start(*argv):
    """A process that trains."""
    command = [sys.executable, "-m", "jdiff", "train", "unet", *map(str, argv)]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def wait_for(happened, process):
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data):
    """A run of 40 steps that nothing has interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train("unet", "--data", data, *TINY, "--steps", 40, "--out", out)[0] == 0
    return out


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_bit_for_bit(tmp_path, data, whole):
    halves = tmp_path / "halves"
    command = ["--data", data, *TINY, "--steps", 40, "--save-minutes", 1e-6]
    process = start(*command, "--out", halves)
    wait_for(lambda: steps_of(halves), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    options = ["--resume", "--save-minutes", 10, "--out", halves]
    assert train("unet", *options)[0] == 0
    expected, got = (load_file(out / WEIGHTS) for out in (whole, halves))
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])
    assert [line["step"] for line in log_of(halves)] == [10, 20, 30, 40]
    assert losses_of(halves) == losses_of(whole)


def test_a_run_from_before_there_was_a_choice_goes_on_with_adam(tmp_path, data):
    out = tmp_path / "run"
    command = ["--data", data, *TINY, "--steps", 10, "--optimizer", "adam"]
    assert train("unet", *command, "--out", out)[0] == 0
    path = out / "arguments.json"
    arguments = json.loads(path.read_text())
    assert arguments.pop("optimizer") == "adam"
    path.write_text(json.dumps(arguments))
    assert train("unet", "--resume", "--steps", 20, "--out", out)[0] == 0
    assert [line["step"] for line in log_of(out)] == [10, 20]


def test_ctrl_c_leaves_a_checkpoint_and_everything_else(tmp_path, data):
    out = tmp_path / "run"
    process = start("--data", data, *TINY, "--minutes", 10, "--out", out)
    wait_for(lambda: (out / "log.jsonl").exists() and log_of(out), process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 0
    names = {path.name.split(".")[0] for path in out.iterdir()}
    assert names == {
        *("arguments", "checkpoints", "events", "log", "samples", "weights")
    }
    assert len(steps_of(out)) == 1


@pytest.mark.slow
def test_a_sentence_is_written_with_a_run_on_synthetic_glyphs(tmp_path):
    out, page = tmp_path / "run", tmp_path / "page.png"
    options = ["--data", "glyphs", *TINY, "--steps", 20, "--out", out]
    assert start(*options).wait(300) == 0
    main(
        ["write", "hi", "--weights", str(out), "--steps", "2", "--no-gif"]
        + ["--out", str(page)]
    )
    assert Image.open(page).size[1] > 28


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--data", "emnist/klingon"], "klingon"),
        (["--data", "nothing.npz"], "nothing.npz"),
        (["--data", "emnist/byclass", "--data-dir", "nowhere"], "nowhere"),
        (["--minutes", "0"], "got 0"),
        (["--minutes", "nan"], "minutes must be > 0, got nan"),
        (["--learning-rate", "inf"], "learning_rate must be > 0, got inf"),
        (["--seed", "9" * 20], "seed must be in [0, 4294967295], got 9"),
        (["--num-channels", "1" + "0" * 9], "num_channels must be in"),
        (["--num-blocks", "1" + "0" * 9], "num_blocks must be in"),
        (["--batch-size", "1" + "0" * 9], "batch_size must be in"),
        (["--steps", "1" + "0" * 30], "steps must be in"),
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
    code, _, error = train("unet", "--data", data, *TINY, *argv, "--out", out)
    assert code == 2 and says in error and not out.exists()


def test_sizes_that_4_does_not_divide_are_refused(tmp_path):
    images, path = np.zeros((4, 10, 8), np.uint8), tmp_path / "odd.npz"
    np.savez(path, images=images, labels=np.arange(4), chars="abcd")
    code, _, error = train("unet", "--data", path, "--out", tmp_path / "run")
    assert code == 2 and "10 x 8" in error
    assert os.listdir(tmp_path) == ["odd.npz"]


@pytest.mark.slow
def test_colour_images_and_short_schedules_train(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 8, 12, 3), np.uint8)
    np.savez(tmp_path / "rgb.npz", images=images, labels=np.arange(8) % 2, chars="ab")
    options = [*TINY[:-1], 10, "--steps", 2, "--prediction", "x_0"]
    options += ["--num-blocks", 1]
    out = tmp_path / "run"
    assert start("--data", tmp_path / "rgb.npz", *options, "--out", out).wait(300) == 0
    assert Image.open(out / "samples.png").mode == "RGB"
    model = jdiff.load_model(out)
    assert model.shape == (8, 12, 3) and len(model.schedule.alpha) == 11


def test_a_run_starts_from_the_weights_of_another(tmp_path, data, whole):
    out = tmp_path / "run"
    # The learning rate rises from 0, which is that of the first step.
    options = ["--steps", 1, "--start", whole / WEIGHTS]
    assert train("unet", "--data", data, *TINY, *options, "--out", out)[0] == 0
    before, after = (load_file(folder / WEIGHTS) for folder in (whole, out))
    for name in before:
        np.testing.assert_array_equal(after[name], before[name])
