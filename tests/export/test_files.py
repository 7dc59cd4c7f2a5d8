"""Exported models against the library: the same numbers, the same page."""

import json

import jax
import numpy as np
import onnxruntime
import pytest

import jdiff
from jdiff import export, losses, models
from jdiff.cli import main
from jdiff.networks import Condition


@pytest.fixture(scope="module")
def pen():
    return models.load_pen()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, pen):
    folder = tmp_path_factory.mktemp("export")
    export.export(folder / "model.onnx", pen)
    return folder


@pytest.fixture(scope="module")
def facts(folder):
    return json.loads((folder / "model.json").read_text())


def session(folder, facts, name):
    return onnxruntime.InferenceSession(folder / facts["files"][name])


def noise(pen, num=40):
    random = np.random.default_rng(0)
    x_t = random.standard_normal((num, 60, 3), np.float32)
    style = random.standard_normal((num, pen.hands.shape[1] + 4), np.float32)
    style[::3] = np.nan
    label = random.integers(0, len(pen.classes) + 1, num, np.int32)
    return x_t, np.linspace(-20, 20, num, dtype=np.float32), label, style


@pytest.mark.parametrize("name", ["network", "few"])
def test_onnx_runtime_computes_the_networks_outputs(folder, facts, pen, name):
    params = {"network": pen.params, "few": pen.few}[name]
    assert (name in facts["files"]) == bool(params)
    if not params:
        pytest.skip("no distilled network in the weights that ship")
    x_t, log_snr, label, style = noise(pen)
    inputs = {"x_t": x_t, "log_snr": log_snr, "label": label, "style": style}
    (output,) = session(folder, facts, name).run(None, inputs)
    expected = pen.apply(params, x_t, log_snr, Condition(label, style))
    np.testing.assert_allclose(output, expected, 1e-5, 1e-5)


def test_onnx_runtime_judges_alike(folder, facts, pen):
    x_0 = noise(pen)[0]
    (logits,) = session(folder, facts, "judge").run(None, {"x_0": x_0})
    np.testing.assert_allclose(logits, pen.judge(pen.params, x_0), 1e-5, 1e-5)


def test_onnx_runtime_computes_the_gradient_of_the_loss(folder, facts, pen):
    x_t, log_snr, label, style = noise(pen)
    target = np.random.default_rng(1).standard_normal(x_t.shape, np.float32)
    inputs = {"x_t": x_t, "log_snr": log_snr, "label": label, "style": style}
    (found,) = session(folder, facts, "grad").run(None, inputs | {"target": target})

    def loss(style):
        output = pen.apply(pen.params, x_t, log_snr, Condition(label, style))
        return jax.vmap(losses.l2_loss)(output, target).sum()

    expected = jax.grad(loss)(style)
    np.testing.assert_allclose(found, expected, 1e-4, 1e-5)
    assert np.abs(found[1]).min() > 0 and not found[0].any()  # NaN: not known


def test_weights_lie_in_one_file_alone(folder, facts):
    sizes = {
        name: (folder / file).stat().st_size for name, file in facts["files"].items()
    }
    assert sizes["grad"] < 0.02 * sizes["network"]


def called(network):
    """A network of ONNX Runtime in the place of one of JAX."""

    def run(x_t, log_snr, label, style):
        shape = x_t.shape
        flat = {
            "x_t": np.reshape(x_t, (-1, *shape[-2:])),
            "log_snr": np.ravel(log_snr),
            "label": np.ravel(label).astype(np.int32),
            "style": np.reshape(style, (-1, style.shape[-1])),
        }
        flat = {name: np.asarray(array) for name, array in flat.items()}
        return network.run(None, flat)[0].reshape(shape)

    def apply(params, x_t, log_snr, condition):
        out = jax.ShapeDtypeStruct(x_t.shape, x_t.dtype)
        inputs = x_t, log_snr, condition.label, condition.style
        return jax.pure_callback(run, out, *inputs, vmap_method="broadcast_all")

    return apply


def test_a_page_is_the_librarys_to_one_grey_level(folder, facts, pen):
    apply = called(session(folder, facts, "network"))
    exported = pen._replace(apply=apply, few=None)
    text = "Hello, World!"
    page = jdiff.write(text, exported).image.astype(int)
    expected = jdiff.write(text, pen._replace(few=None)).image
    assert page.shape == expected.shape
    assert np.abs(page - expected).max() <= 1


def test_files_say_which_hand_a_seed_has(facts, pen):
    hands = np.array(facts["hands"])
    for seed, neatness in ((0, 1.0), (7, 0.75), (999, 0.3), (12, 0.0)):
        a, b, fraction = facts["seeds"][seed]
        first = round((1 - neatness) * facts["last_hand"])
        code = (1 - fraction) * hands[first + a] + fraction * hands[first + b]
        expected = models.draw_hand(pen, seed, neatness).code
        np.testing.assert_allclose(code, expected, 1e-5, 1e-6)


def test_the_tables_are_the_schedules(facts, pen):
    for name in ("alpha", "sigma"):
        table = np.array(facts[name], np.float32)
        np.testing.assert_array_equal(table, getattr(pen.schedule, name))


def test_latents_and_their_decoder(tmp_path):
    model = models.load_model("latent")
    main(["export", "latent", "--out", str(tmp_path / "latent.onnx")])
    facts = json.loads((tmp_path / "latent.json").read_text())
    random = np.random.default_rng(0)
    z = random.standard_normal((5, 40), np.float32)
    label, style = np.arange(5, dtype=np.int32), np.full((5, 4), np.nan, np.float32)
    log_snr = np.linspace(-9, 9, 5, dtype=np.float32)
    inputs = {"x_t": z, "log_snr": log_snr, "label": label, "style": style}
    (output,) = session(tmp_path, facts, "network").run(None, inputs)
    expected = model.apply(model.params, z, log_snr, Condition(label, style))
    np.testing.assert_allclose(output, expected, 1e-5, 1e-5)
    (image,) = session(tmp_path, facts, "decoder").run(None, {"z": z})
    decoded = jax.vmap(lambda z: model.decode(model.params, z))(z)
    np.testing.assert_allclose(image, np.clip(decoded, -1, 1), 1e-5, 1e-5)


def test_files_stay_small(folder):
    sizes = {path.name: path.stat().st_size for path in folder.glob("*.onnx")}
    assert max(sizes.values()) <= 4e6


def test_a_model_of_pixels_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["export", "unet", "--out", str(tmp_path / "unet.onnx")])
    assert "must be of strokes or latents" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_name_must_end_in_onnx(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["export", "pen", "--out", str(tmp_path / "pen.bin")])
    assert "must end in .onnx" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options, sentence",
    [
        (["--site", "nowhere"], "the site must be built by scripts/build_site.py"),
        (["--port", "65536"], r"--port must be in [0, 65535], got 65536."),
    ],
)
def test_serve_says_what_it_misses(options, sentence, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["serve", *options])
    assert sentence in capsys.readouterr().err
