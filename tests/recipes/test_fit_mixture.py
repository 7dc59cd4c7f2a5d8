"""The script that fits models of linear parts, as a user runs it."""

import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jdiff

SCRIPT = Path(__file__).parents[2] / "scripts" / "fit_linear.py"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of two classes, 8 x 8: bright above, bright below."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    images = np.random.default_rng(0).integers(0, 60, (80, 8, 8), np.uint8)
    labels = np.arange(80) % 2
    images[labels == 0, :4] += 190
    images[labels == 1, 4:] += 190
    np.savez(path, images=images, labels=labels, chars=np.array(["a", "b"]))
    return path


def run(*argv):
    command = [sys.executable, str(SCRIPT), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True)


def test_its_weights_draw_the_classes(tmp_path, data):
    out = tmp_path / "mixture.safetensors"
    numbers = ["--cells", 2, "--latents", 8, "--rank", 4]
    done = run("--data", data, "--out", out, *numbers)
    assert done.returncode == 0, done.stderr
    model = jdiff.closed_form.mixtures.load(out)
    images = jdiff.closed_form.mixtures.generate(jax.random.key(0), model, "ab" * 9)
    above, below = images[:, :4].mean((1, 2, 3)), images[:, 4:].mean((1, 2, 3))
    np.testing.assert_array_equal(above > below, [True, False] * 9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give --out"),
        (["--out", "m.png"], "must end in .safetensors"),
        (["--out", "m.safetensors", "--latents", "65"], "num_latents must be"),
        (["--out", "m.safetensors", "--compare"], "writes no weights"),
        (["--compare"], "split must be train"),
        (["--compare", "--num", "10"], "--num must be >= 1000"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(tmp_path, data, arguments, message):
    arguments = [tmp_path / a if a.startswith("m.") else a for a in arguments]
    done = run("--data", data, *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
