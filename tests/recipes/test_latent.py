"""`jdiff train autoencoder` and `jdiff train latent`, which draws its latents."""

import shutil

import jax
import numpy as np
import pytest
from commands import contents, log_of, losses_of, steps_of, train, write_data

import jdiff
from jdiff.cli import main

pytest.importorskip("orbax.checkpoint", reason="needs jdiffusion[train]")
TINY = ["--batch-size", "16", "--steps", "2"]
WIDTHS = {"mlp": [8], "conv": [4, 4], "pca": []}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


def train_both(folder, data, kind):
    """Leaves runs of a kind of autoencoder, and of diffusion on its latents."""
    vae, options = folder / f"vae_{kind}", ["--data", data, *TINY]
    sizes = ["--autoencoder", kind, "--num-latents", 3, "--widths", *WIDTHS[kind]]
    assert train("autoencoder", *options, *sizes, "--out", vae)[0] == 0
    sizes = ["--autoencoder", vae, "--num-features", 8, "--num-layers", 2]
    assert train("latent", *options, *sizes, "--out", folder / kind)[0] == 0


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """Both runs with perceptrons."""
    folder = tmp_path_factory.mktemp("run")
    train_both(folder, data, "mlp")
    return folder


def test_a_run_is_weights_that_the_command_draws_with(trained, tmp_path):
    assert_draws(trained / "mlp", tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["conv", "pca"])
def test_so_is_a_run_of_any_other_autoencoder(data, tmp_path, kind):
    train_both(tmp_path, data, kind)
    assert_draws(tmp_path / kind, tmp_path)


def assert_draws(run, tmp_path):
    out = tmp_path / "out.npz"
    model = jdiff.load_model(run)
    assert model.latent_shape == (3,) and model.classes == "ab"
    assert model.has_style and (model.guidance, model.guidance_last) == (2.0, 900)
    argv = ["--weights", str(run), "--num", "3", "--steps", "3"]
    main(["sample", *argv, "--out", str(out)])
    assert np.load(out)["images"].shape == (6, 8, 8)


def test_a_run_leaves_weights_checkpoints_a_log_and_samples(trained):
    names = {"arguments", "checkpoints", "events", "log", "weights"}
    found = {path.name.split(".")[0] for path in (trained / "vae_mlp").iterdir()}
    assert found == names
    found = {path.name.split(".")[0] for path in (trained / "mlp").iterdir()}
    assert found == names | {"samples"}
    # Epochs of 256 steps.
    assert [line["step"] for line in log_of(trained / "mlp")] == [256]


def test_an_autoencoder_alone_is_no_model(trained):
    with pytest.raises(jdiff.storage.WeightsError, match="that describe a network"):
        jdiff.load_model(trained / "vae_mlp")


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["autoencoder", "latent"])
def test_a_run_goes_on_bit_for_bit(trained, data, tmp_path, recipe):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    argv = [recipe, "--data", data, "--batch-size", 8, "--steps", 512]
    argv += ["--widths", 8] if recipe == "autoencoder" else []
    argv += ["--autoencoder", trained / "vae_mlp"] if recipe == "latent" else []
    # An epoch is 256 steps, so that half a run ends with the first one.
    assert train(*argv, "--out", whole)[0] == 0
    assert train(*argv, "--out", halves, stop_at=256)[0] == 0
    assert steps_of(halves) == [256]
    assert train(recipe, "--resume", "--out", halves)[0] == 0
    assert losses_of(halves) == losses_of(whole) and len(losses_of(whole)) == 2
    load = jdiff.storage.load_weights
    jax.tree.map(np.testing.assert_array_equal, load(halves), load(whole))


def test_a_run_is_not_overwritten_and_may_be_resumed_when_done(trained, data):
    out = trained / "vae_mlp"
    code, _, error = train("autoencoder", "--data", data, *TINY, "--out", out)
    assert code == 2 and "holds a run: add --resume" in error
    before = jdiff.storage.load_weights(out / "weights.safetensors")
    assert train("autoencoder", "--resume", "--out", out)[0] == 0
    # Not the bytes: safetensors writes its metadata in any order.
    after = jdiff.storage.load_weights(out / "weights.safetensors")
    jax.tree.map(np.testing.assert_array_equal, after, before)


@pytest.mark.parametrize(
    ("recipe", "argv", "says"),
    [
        ("autoencoder", ["--num-latents", "0"], "num_latents must be > 0, got 0."),
        ("autoencoder", ["--widths", "0"], "widths must be >= 1"),
        ("autoencoder", ["--beta", "-1"], "beta must be a number >= 0"),
        ("autoencoder", ["--out", "vae.safetensors"], "out must be a folder"),
        ("autoencoder", ["--data", "nothing"], "data must be emnist/NAME"),
        ("autoencoder", ["--resume"], "no run to resume in"),
        ("latent", ["--autoencoder", "none"], "weights must be a file"),
        ("latent", ["--minutes", "nan"], "minutes must be > 0, got nan."),
        ("latent", ["--seed", "-1"], "seed must be in [0, 4294967295], got -1."),
        ("latent", ["--style-dropout", "2"], "style_dropout must be in [0, 1], got 2"),
    ],
)
def test_what_is_wrong_is_one_sentence_and_no_run(
    data, trained, tmp_path, monkeypatch, recipe, argv, says
):
    monkeypatch.chdir(tmp_path)
    given = ["--data", data, "--out", "out"]
    if recipe == "latent":
        given += ["--autoencoder", trained / "vae_mlp"]
    code, _, error = train(recipe, *given, *argv)
    assert code == 2 and says in error and error.startswith("jdiff train: error: ")
    assert not list(tmp_path.iterdir())


def test_an_autoencoder_of_other_images_is_refused(trained, tmp_path):
    path, out = tmp_path / "larger.npz", tmp_path / "out"
    np.savez(path, images=np.zeros((4, 12, 8), np.uint8), labels=np.arange(4) % 2)
    vae = ["--autoencoder", trained / "vae_mlp"]
    code, _, error = train("latent", "--data", path, *vae, "--out", out)
    assert code == 2 and not out.exists()
    assert "must be of images [12, 8, 1], got [8, 8, 1]" in error


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--steps", "-5"], "steps must be > 0, got -5"),
        (["--minutes", "0"], "minutes must be > 0, got 0"),
        (["--minutes", "nan"], "minutes must be > 0, got nan"),
        (["--num-latents", "4"], "num_latents of a run that goes on must be what it"),
        (["--seed=7"], "seed of a run that goes on must be what it began with, 0"),
        (["--step", "5"], "unrecognized arguments: --step 5"),
    ],
)
def test_what_is_wrong_with_resuming_is_one_sentence(trained, tmp_path, argv, says):
    out = tmp_path / "run"
    shutil.copytree(trained / "vae_mlp", out)
    before = contents(out)
    code, _, error = train("autoencoder", "--resume", *argv, "--out", out)
    assert code == 2 and says in error and contents(out) == before


def test_what_a_run_began_with_may_be_said_again(trained, data, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(trained / "vae_mlp", out)
    argv = ["--data", data, *TINY, "--num-latents", 3, "--widths", 8]
    assert train("autoencoder", "--resume", *argv, "--out", out)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("[1, 2]", "must hold arguments in JSON"),
        ('{"steps": 2', "must hold arguments in JSON"),
        ("[" * 100_000, "must hold arguments in JSON"),
        ('{"batch_size": "many"}', "argument --batch-size: invalid int value: 'many'"),
        ('{"batch_size": -1}', "batch_size must be > 0, got -1"),
        ('{"batch_size": 1e99}', "argument --batch-size: invalid int value: '1e+99'"),
        ('{"learning_rate": NaN}', "learning_rate must be > 0, got nan"),
        ('{"autoencoder": "rnn"}', "argument --autoencoder: invalid choice: 'rnn'"),
        ('{"widths": [8, {}]}', "argument --widths: invalid int value: '{}'"),
        ('{"seed": 1e999}', "argument --seed: invalid int value: 'inf'"),
    ],
)
def test_damaged_arguments_of_a_run_are_one_sentence(
    trained, tmp_path, arguments, says
):
    out = tmp_path / "run"
    shutil.copytree(trained / "vae_mlp", out)
    (out / "arguments.json").write_text(arguments)
    code, _, error = train("autoencoder", "--resume", "--out", out)
    assert code == 2 and says in error
