"""The script of one file that trains on MNIST."""

import gzip
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import jdiff
from jdiff import cli

pytest.importorskip("optax", reason="needs jdiffusion[train]")
SCRIPT = Path(__file__).parents[1] / "scripts" / "train_mnist.py"


@pytest.fixture
def script(monkeypatch):
    """The program, with a network that compiles fast."""
    spec = importlib.util.spec_from_file_location("train_mnist", SCRIPT)
    program = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(program)
    sizes = {"num_channels": 16, "num_blocks": 0, "num_levels": 2}
    monkeypatch.setattr(program, "NETWORK", sizes)
    monkeypatch.setattr(program, "BATCH_SIZE", 4)
    return program


def write_idx(path, values):
    """Writes bytes as MNIST's files hold them."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


@pytest.mark.slow
def test_it_leaves_weights_that_the_command_line_takes(tmp_path, script):
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28))
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    write_idx(tmp_path / "train-labels-idx1-ubyte.gz", np.arange(20) % 10)
    out = tmp_path / "run"
    argv = ["--minutes", "1e-9", "--data-dir", str(tmp_path), "--out", str(out)]
    script.main(argv)
    assert Image.open(out / "samples.png").size == (10 * 30 + 2, 10 * 30 + 2)
    weights = out / "weights.safetensors"
    assert jdiff.load_model(weights).classes == "0123456789"
    drawn = tmp_path / "drawn.npz"
    argv = ["--chars", "7", "--num", "2", "--steps", "2", "--out", str(drawn)]
    cli.main(["sample", "--weights", str(weights), *argv])
    assert np.load(drawn)["images"].shape == (2, 28, 28)


def test_a_time_that_is_no_time_is_refused(script, capsys):
    with pytest.raises(SystemExit):
        script.main(["--minutes", "nan"])
    assert "--minutes must be > 0, got nan" in capsys.readouterr().err
