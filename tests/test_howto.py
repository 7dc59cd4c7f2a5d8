"""The programs of docs/howto run, with less training, and its sentences are said."""

import re
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jdiff

TEXT = (Path(__file__).parents[1] / "docs/howto/README.md").read_text()
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SENTENCES = re.findall(r"^\| `(.+?)` \| (.+?) \|$", TEXT, re.MULTILINE)
POINTS = jdiff.Batch(jnp.ones((16, 2)))


def run(mark, **names):
    """The names that the program with a certain word in it leaves behind."""
    (program,) = (code for code in PROGRAMS if mark in code)
    program = re.sub(r"minutes=\d+", "minutes=1e-4", program)
    program = program.replace("512, 8000", "512, 8")
    exec(program.replace("(schedule, 100)", "(schedule, 25)"), names)
    return names


def step(names):
    """Trains one step with the loss of a program; it moves the weights."""
    optimizer = optax.adam(1e-2)
    train_step = jdiff.make_train_step(names["loss_fn"], optimizer, 0.9)
    state = jdiff.init_train_state(jax.random.key(0), names["params"], optimizer)
    after, metrics = jax.jit(train_step)(state, POINTS)
    assert np.isfinite(metrics["loss"]) and metrics["gradient_norm"] > 0
    return after


def denoised(apply, params):
    schedule = jdiff.cosine_schedule(1000)
    denoise = jdiff.make_denoiser(apply, params, schedule, jdiff.PREDICT_V)
    return denoise(jnp.ones(2), 500)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda code: code.split("\n")[3][:30])
def test_a_program_has_at_most_12_lines(program):
    imports = ("import", "from")
    lines = [line for line in program.split("\n") if line.strip()]
    assert len([line for line in lines if not line.startswith(imports)]) <= 12
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    ("mark", "shape"),
    [
        ("model = jdiff.fit(points", (1000, 2)),
        pytest.param("waves", (8, 64, 1), marks=pytest.mark.slow),
        ("edm_weight", (1000, 2)),
        pytest.param("guide_by", (28, 28, 1), marks=pytest.mark.slow),
    ],
)
def test_samples_come_out(mark, shape):
    x_0 = run(mark)["x_0"]
    assert x_0.shape == shape and np.isfinite(x_0).all()


def test_a_letter_is_completed_to_what_is_known():
    names = run("guide_by")
    error = np.abs(names["x_0"] - names["known"])
    assert error[:, :14].mean() < 0.1 < error[:, 14:].mean()


@pytest.mark.slow
def test_digits_and_pictures_are_drawn(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    for k in range(16):
        (tmp_path / "pictures" / "ab"[k % 2]).mkdir(parents=True, exist_ok=True)
        image = np.random.default_rng(k).integers(0, 256, (28, 28, 3), np.uint8)
        Image.fromarray(image).save(tmp_path / "pictures" / "ab"[k % 2] / f"{k}.png")
    names = run("pictures")
    assert names["x_0"].shape == (16, 28, 28, 3) and Path("colour.png").exists()
    assert names["model"].classes == ("0", "1")


def test_a_network_with_dropout_trains_with_keys_and_samples_without():
    names = run("hk.transform\n")
    init = names["network"].init(jax.random.key(0), POINTS.x, jnp.zeros(16))
    params = step(names | {"params": init}).params
    losses = [names["loss_fn"](params, jax.random.key(k), POINTS)[0] for k in (1, 2)]
    assert losses[0] != losses[1]
    apply = names["network"].apply
    x_0 = denoised(lambda params, *x: apply(params, None, *x), params)
    assert x_0.shape == (2,)


def test_a_network_with_state_trains_and_samples():
    names = run("transform_with_state")
    assert denoised(names["draw"], step(names).ema_params).shape == (2,)
    (moments,) = (v for k, v in names["state"].items() if "mean" in k)
    assert np.abs(moments["average"]).max() > 0  # the state was measured


@pytest.mark.parametrize("library", ["flax", "equinox"])
def test_networks_of_other_libraries_train_and_sample(library):
    pytest.importorskip(library)
    names = run(library)
    assert denoised(names["apply"], step(names).params).shape == (2,)


@pytest.mark.parametrize(("code", "sentence"), SENTENCES, ids=lambda text: text[:40])
def test_what_goes_wrong_is_said(code, sentence):
    mlp, key, x = jdiff.networks.make_mlp(10), jax.random.key(0), jnp.ones(2)
    params = jdiff.models.init_params(key, mlp, (2,))
    names = {"jdiff": jdiff, "jnp": jnp, "mlp": mlp, "key": key, "x": x}
    names |= {"params": params, "schedule": jdiff.cosine_schedule(1000)}
    with warnings.catch_warnings(), pytest.raises((ValueError, UserWarning)) as error:
        warnings.simplefilter("error")
        eval(code, names)
    assert str(error.value).startswith(sentence)
