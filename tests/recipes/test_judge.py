"""`jdiff train judge`, on synthetic glyphs in place of EMNIST and MNIST."""

import numpy as np
import pytest
from commands import train

import jdiff

pytest.importorskip("optax", reason="needs jdiffusion[train]")


@pytest.fixture
def glyphs(monkeypatch):
    """Data sets that are there at once: every tenth glyph, and its digits."""
    pytest.importorskip("matplotlib", reason="needs jdiffusion[train]")
    images, labels, classes = jdiff.data.glyphs(seed=0)
    some = {"emnist/byclass": slice(None, None, 10), "mnist": labels < 10}

    def load(source, split, data_dir=None):
        rows = some[source]
        return jdiff.data.Dataset(images[rows], labels[rows], classes)

    monkeypatch.setattr(jdiff.data, "load", load)


@pytest.mark.parametrize(
    "architecture", ["patch", pytest.param("plain", marks=pytest.mark.slow)]
)
def test_a_judge_is_trained_and_reads(glyphs, tmp_path, architecture):
    out = tmp_path / "judge.safetensors"
    code, text, _ = train("judge", architecture, "--steps", 2, "--out", out)
    assert code == 0 and text.startswith("EMNIST test, ")
    judge = jdiff.evaluation.load_judge(out)
    read = jdiff.evaluation.read_images(judge, np.zeros((3, 28, 28, 1), np.uint8))
    assert np.isfinite(read.logits).all() and np.isfinite(read.features).all()


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--minutes", "0"], "minutes must be > 0, got 0"),
        (["--out", "judge.png"], "must end in .safetensors"),
    ],
)
def test_bad_input_is_one_sentence_and_no_file(tmp_path, monkeypatch, argv, says):
    monkeypatch.chdir(tmp_path)
    code, _, error = train("judge", "patch", "--out", "j.safetensors", *argv)
    assert code == 2 and says in error and not list(tmp_path.iterdir())
