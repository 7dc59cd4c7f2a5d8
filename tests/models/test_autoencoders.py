"""Diffusion of latents: standardisation, sampling, files, scripts."""

import importlib
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff
from jdiff.cli import main as jdiff_command

SCRIPTS = Path(__file__).parents[2] / "scripts"
KEY = jax.random.key(0)
FACTS = {
    "model": "latent",
    "autoencoder": "mlp",
    "num_latents": 3,
    "widths": [8],
    "image_shape": [8, 8, 1],
    "num_features": 8,
    "num_layers": 2,
    "schedule": "cosine",
    "num_steps": 50,
    "prediction": "v",
    "chars": "ab",
}
TINY = ["--batch-size", "16", "--steps", "2"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Images of two classes, 8 x 8: bright above, bright below."""
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    images = np.random.default_rng(0).integers(0, 60, (60, 8, 8), np.uint8)
    labels = np.arange(60) % 2
    images[labels == 0, :4] += 190
    images[labels == 1, 4:] += 190
    np.savez(path, images=images, labels=labels, chars=np.array(["a", "b"]))
    return path


@pytest.fixture(scope="module")
def load():
    """Imports a script by name; scripts find one another in their own folder."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def trained(load, data, tmp_path_factory):
    """Weights of every kind of autoencoder, and of diffusion on its latents."""
    folder = tmp_path_factory.mktemp("run")
    for kind, widths in (("mlp", ["8"]), ("conv", ["4", "4"]), ("pca", [])):
        vae, out = folder / f"vae_{kind}.safetensors", folder / f"{kind}.safetensors"
        argv = ["--data", str(data), *TINY]
        load("train_vae").main(
            [*argv, "--autoencoder", kind, "--num-latents", "3"]
            + ["--widths", *widths, "--out", str(vae)]
        )
        load("train_latent").main(
            [*argv, "--autoencoder", str(vae), "--num-features", "8"]
            + ["--num-layers", "2", "--out", str(out)]
        )
    return folder


def random_model(**changes):
    """A model with weights that are not trained, but not 0 either."""
    facts = FACTS | changes
    autoencoder = jdiff.models.build_autoencoder(facts)
    network = jdiff.networks.make_residual_mlp(
        2, facts["num_features"], facts["num_layers"]
    )
    params = jdiff.models.init_params(KEY, network, (3,)) | autoencoder.init(KEY)
    leaves, tree = jax.tree.flatten(params)
    keys = jax.random.split(KEY, len(leaves))
    leaves = [
        leaf + 0.3 * jax.random.normal(key, leaf.shape)
        for key, leaf in zip(keys, leaves, strict=True)
    ]
    return jdiff.models.build_model(facts, jax.tree.unflatten(tree, leaves))


def draw(model, labels, **options):
    batches = list(jdiff.generate(KEY, model, labels, num_steps=4, **options))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def test_standardized_latents_have_mean_0_and_deviation_1():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (4097, 8, 8, 1), np.uint8)  # more than one batch
    raw = jdiff.models.make_vae(3, (8, 8, 1), (8,))
    params = raw.init(KEY)
    latents = jdiff.models.aggregate_posterior(
        *jdiff.models.encode_images(raw, params, images)
    )
    mean, variance = jdiff.models.encode_images(
        jdiff.models.standardized(raw), params | {"latents": latents}, images
    )
    z = mean + np.sqrt(variance) * rng.normal(size=(4097, 3))
    np.testing.assert_allclose(z.mean(0), 0.0, atol=0.06)
    np.testing.assert_allclose(z.std(0), 1.0, atol=0.05)


def test_standardizing_changes_numbers_not_images():
    raw = jdiff.models.make_vae(3, (8, 8, 1), (8,))
    autoencoder = jdiff.models.standardized(raw)
    latents = {"mean": jnp.array([1.0, 0.0, -2.0]), "std": jnp.array([0.5, 2.0, 3.0])}
    params = autoencoder.init(KEY) | {"latents": latents}
    image = jax.random.normal(KEY, (8, 8, 1))
    before, after = raw.encode(params, image), autoencoder.encode(params, image)
    np.testing.assert_allclose(
        after.mean * latents["std"] + latents["mean"], before.mean, rtol=1e-5
    )
    np.testing.assert_allclose(
        autoencoder.decode(params, after.mean).mean,
        raw.decode(params, before.mean).mean,
        rtol=1e-4,
        atol=1e-5,
    )


def test_a_constant_latent_is_left_alone():
    latents = jdiff.models.aggregate_posterior(np.ones((5, 2)), np.zeros((5, 2)))
    assert latents["mean"].tolist() == latents["std"].tolist() == [1.0, 1.0]


def test_images_are_the_decoded_end_of_the_path():
    model = random_model()
    sample = draw(model, [0, 1, 2, 0, 1])
    assert sample.x_0.shape == (5, 8, 8, 1)
    assert sample.path.shape == (5, 5, 8, 8, 1)
    np.testing.assert_allclose(sample.path[:, -1], sample.x_0, atol=1e-5)
    assert np.abs(sample.path).max() <= 1.0 and sample.x_0.std() > 0.01


def test_sampling_is_that_of_latents_then_decoded():
    model = random_model()
    facts = model.apply, model.params, model.schedule, model.prediction
    denoise = jdiff.make_denoiser(*facts, 1, clip=None)
    times = jdiff.karras_timesteps(model.schedule, 4)
    solver = jdiff.unipc(model.schedule)
    key = jax.random.fold_in(KEY, 0)
    z = jdiff.sample(key, denoise, solver, times, (3,)).x_0
    expected = model.autoencoder.decode(model.params, z).mean
    sample = draw(model, [1], guidance=1.0)
    np.testing.assert_allclose(sample.x_0[0], expected, atol=1e-4)


def test_an_image_depends_on_its_own_key_and_label_alone():
    model = random_model()
    alone, among = draw(model, [1]), draw(model, [1, 0, 1, 2, 0])
    np.testing.assert_array_equal(alone.x_0[0], among.x_0[0])
    several = draw(model, [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(several.x_0[2], among.x_0[2])
    assert np.abs(among.x_0[2] - among.x_0[0]).max() > 1e-3


def test_without_its_path_a_sample_is_the_same():
    model = random_model()
    bare = draw(model, [0, 1], with_path=False)
    assert bare.path.shape == (2, 0, 8, 8, 1)
    np.testing.assert_allclose(bare.x_0, draw(model, [0, 1]).x_0, atol=1e-5)


@pytest.mark.parametrize("kind", ["mlp", "conv", "pca"])
def test_scripts_train_what_the_command_draws(trained, kind, tmp_path):
    weights, out = trained / f"{kind}.safetensors", tmp_path / "out.npz"
    model = jdiff.load_model(weights)
    assert model.autoencoder.num_latents == 3 and model.classes == "ab"
    argv = ["--weights", str(weights), "--num", "3", "--steps", "3"]
    jdiff_command(["sample", *argv, "--out", str(out)])
    assert np.load(out)["images"].shape == (6, 8, 8)


def test_weights_survive_the_file(tmp_path):
    model = random_model()
    path = tmp_path / "latent.safetensors"
    jdiff.storage.save_weights(path, model.params, FACTS)
    loaded = jdiff.load_model(path)
    assert loaded._replace(params=None, schedule=None) == model._replace(
        params=None, schedule=None
    )
    np.testing.assert_allclose(
        draw(loaded, [0, 1]).x_0, draw(model, [0, 1]).x_0, atol=0.05
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_latents": 4}, "another architecture"),
        ({"widths": [9]}, "another architecture"),
        ({"num_features": 9}, "another architecture"),
        ({"autoencoder": "wavelets"}, "autoencoder that jdiff knows"),
        ({"widths": 8}, "autoencoder that jdiff knows"),
        ({"widths": [8, 8], "autoencoder": "conv", "image_shape": [9, 8, 1]}, "by 4"),
    ],
)
def test_weights_of_another_architecture_are_refused(tmp_path, change, message):
    path = tmp_path / "latent.safetensors"
    jdiff.storage.save_weights(path, random_model().params, FACTS | change)
    with pytest.raises(jdiff.storage.WeightsError, match=message):
        jdiff.load_model(path)


def test_an_autoencoder_alone_is_no_model(trained):
    with pytest.raises(jdiff.storage.WeightsError, match="must describe a network"):
        jdiff.load_model(trained / "vae_mlp.safetensors")


def test_a_run_goes_on_from_its_checkpoint(load, data, tmp_path):
    pytest.importorskip("orbax.checkpoint")
    whole, halves = tmp_path / "whole.safetensors", tmp_path / "halves.safetensors"
    argv = ["--data", str(data), "--widths", "8", "--num-latents", "3"]
    argv += ["--batch-size", "8", "--autoencoder", "mlp"]
    train_vae = load("train_vae")
    # An epoch is 256 steps, so that half a run ends with the first one.
    train_vae.main([*argv, "--steps", "512", "--out", str(whole)])
    args = train_vae.parse_args([*argv, "--steps", "512", "--out", str(halves)])
    stopped = train_vae.save

    class Stop(Exception):
        pass

    def stop(*facts):
        stopped(*facts)
        raise Stop

    train_vae.save, args.save_minutes = stop, 1e-9
    try:
        with pytest.raises(Stop):
            train_vae.run(args)
    finally:
        train_vae.save = stopped
    train_vae.main([*argv, "--steps", "512", "--resume", "--out", str(halves)])
    jax.tree.map(
        np.testing.assert_array_equal, *map(jdiff.storage.load_weights, (whole, halves))
    )


def test_a_run_is_not_overwritten_and_may_be_resumed_when_done(
    load, trained, data, capsys
):
    argv = ["--data", str(data), *TINY, "--num-latents", "3", "--widths", "8"]
    argv += ["--out", str(trained / "vae_mlp.safetensors")]
    with pytest.raises(SystemExit):
        load("train_vae").main(argv)
    assert "holds a run: add --resume" in capsys.readouterr().err
    before = (trained / "vae_mlp.safetensors").read_bytes()
    load("train_vae").main([*argv, "--resume"])
    assert len((trained / "vae_mlp.safetensors").read_bytes()) == len(before)


@pytest.mark.parametrize(
    ("script", "argv", "message"),
    [
        ("train_vae", ["--num-latents", "0"], "num_latents must be > 0, got 0."),
        ("train_vae", ["--widths", "0"], "widths must be >= 1"),
        ("train_vae", ["--beta", "-1"], "beta must be a number >= 0"),
        ("train_vae", ["--out", "no/such.safetensors"], "there is no folder"),
        ("train_vae", ["--out", "vae.txt"], "must end in .safetensors"),
        ("train_vae", ["--data", "nothing"], "data must be emnist/NAME"),
        ("train_vae", ["--resume"], "no checkpoint in"),
        ("train_latent", ["--autoencoder", "none"], "weights must be a file"),
        ("train_latent", ["--minutes", "nan"], "minutes must be > 0, got nan."),
        ("train_latent", ["--seed", "-1"], "seed must be >= 0, got -1."),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(
    load, data, trained, tmp_path, monkeypatch, capsys, script, argv, message
):
    monkeypatch.chdir(tmp_path)
    given = {"--data": str(data), "--out": "out.safetensors"}
    if script == "train_latent":
        given["--autoencoder"] = str(trained / "vae_mlp.safetensors")
    given |= dict(zip(argv[::2], argv[1::2], strict=False))
    flags = [argv[-1]] if len(argv) % 2 else []
    with pytest.raises(SystemExit) as stop:
        load(script).main([part for pair in given.items() for part in pair] + flags)
    assert stop.value.code == 2
    error = capsys.readouterr().err.strip()
    assert message in error and error.startswith(f"{script}.py: error: ")
    assert len(error.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_an_autoencoder_of_other_images_is_refused(load, trained, tmp_path, capsys):
    path = tmp_path / "larger.npz"
    np.savez(path, images=np.zeros((4, 12, 8), np.uint8), labels=np.arange(4) % 2)
    argv = ["--data", str(path), "--out", str(tmp_path / "out.safetensors")]
    with pytest.raises(SystemExit):
        load("train_latent").main(
            [*argv, "--autoencoder", str(trained / "vae_mlp.safetensors")]
        )
    assert "must be of images [12, 8, 1], got [8, 8, 1]" in capsys.readouterr().err


def test_a_residual_network_begins_at_0_and_knows_level_and_label():
    network = jdiff.networks.make_residual_mlp(2, 8, 2)
    params = jdiff.models.init_params(KEY, network, (3,))
    x_t = jax.random.normal(KEY, (4, 3))
    log_snr, label = jnp.array([0.0, 1.0, 0.0, 0.0]), jnp.array([0, 0, 1, 2])
    assert not network.apply(params, x_t, log_snr, label).any()
    model = random_model()
    same = jnp.broadcast_to(x_t[0], (4, 3))
    rows = np.asarray(model.apply(model.params, same, log_snr, label))
    assert len(np.unique(rows.round(5), axis=0)) == 4
    with pytest.raises(ValueError, match="num_layers must be >= 1, got 0"):
        jdiff.models.init_params(KEY, jdiff.networks.make_residual_mlp(2, 8, 0), (3,))


def test_facts_of_a_file_are_json(trained):
    _, facts = jdiff.storage.load_weights(trained / "mlp.safetensors")
    assert json.loads(json.dumps(facts)) == facts and facts["model"] == "latent"
