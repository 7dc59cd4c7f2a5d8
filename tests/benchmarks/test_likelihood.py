"""The likelihoods of images, as their benchmark computes them."""

import json

import likelihood
import numpy as np
import pytest
from cases import save_still_network

import jdiff


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


@pytest.fixture(scope="module")
def fresh_weights(tmp_path_factory):
    """A network that predicts v = 0: to it data are noise, its flow stands still."""
    path = tmp_path_factory.mktemp("weights") / "fresh.safetensors"
    save_still_network(path)
    return path


@pytest.mark.slow
def test_likelihoods_are_printed_and_written(tmp_path, capsys, data, fresh_weights):
    out = tmp_path / "bits.json"
    argv = ["--data", data, "--model", fresh_weights, "--out", out]
    likelihood.main([*map(str, argv), "--num", "3", "--bound-steps", "5"])
    bits = json.loads(out.read_text())["bits"][str(data)]
    total = sum(bits[t]["bits"] for t in ("prior", "diffusion", "reconstruction"))
    assert bits["bound"]["bits"] == pytest.approx(total, rel=1e-5)
    # Its likelihood is that of N(0, 1), whose density is below 1/2 everywhere.
    assert bits["flow"]["bits"] > np.log2(2.0 / jdiff.likelihood.PIXEL)
    row = capsys.readouterr().out.splitlines()[-1]
    assert f"{bits['Gaussian']['bits']:.3f} ± " in row


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--num", "1"], "--num must be >= 2"),
        (["--steps", "5"], "--steps must be even and >= 4, got 5."),
        (["--num", "21"], "--num must be at most 20"),
        (["--model", "unet"], "images of .28, 28, 1."),
        (["--out", "bits.png"], "must end in .json"),
    ],
)
def test_bad_input_gives_no_likelihood(data, fresh_weights, argv, says):
    options = ["--data", str(data), "--model", str(fresh_weights), "--num", "2"]
    with pytest.raises(ValueError, match=says):
        likelihood.main([*options, *argv])
