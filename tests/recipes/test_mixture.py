"""`jdiff train mixture`."""

import jax
import numpy as np
import pytest
from commands import train, write_data

import jdiff


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def test_its_weights_draw_the_classes(tmp_path, data):
    out = tmp_path / "mixture.safetensors"
    numbers = ["--cells", 2, "--latents", 8, "--rank", 4]
    code, text, _ = train("mixture", "--data", data, "--out", out, *numbers)
    assert code == 0 and text.startswith("fitted 40 images in ")
    model = jdiff.closed_form.mixtures.load(out)
    images = jdiff.closed_form.mixtures.generate(jax.random.key(0), model, "ab" * 9)
    above, below = images[:, :4].mean((1, 2, 3)), images[:, 4:].mean((1, 2, 3))
    np.testing.assert_array_equal(above > below, [True, False] * 9)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "m.png"], "must end in .safetensors"),
        (["--latents", "65"], "num_latents must be"),
        (["--data", "nothing.npz"], "nothing.npz"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    tmp_path, monkeypatch, data, arguments, says
):
    monkeypatch.chdir(tmp_path)
    code, _, error = train("mixture", "--data", data, *arguments)
    assert code == 2 and says in error and not list(tmp_path.iterdir())
