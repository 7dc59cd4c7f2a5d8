"""Areas: weights, and checkpoints."""

import functools
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import jax
import numpy as np
import optax
from spoil import CHARS, check, images_of, spoil, spoil_json_bytes, spoil_weights

import jdiff
from jdiff import closed_form, data, models, networks, storage

DIFFUSION = {"schedule": "cosine", "num_steps": 20, "prediction": "v"}
IMAGES = DIFFUSION | {"chars": CHARS, "image_shape": [8, 8, 1]}
UNET = IMAGES | {"num_channels": 16, "num_blocks": 1}
LATENT = IMAGES | {"autoencoder": "mlp", "num_latents": 3, "widths": [4]}
LATENT |= {"num_features": 8, "num_layers": 1, "guidance": 2.0}
PEN = DIFFUSION | {"model": "pen", "classes": data.PEN_CHARS, "guidance": 2.0}
PEN |= {"num_features": 8, "num_layers": 1, "num_conditions": 8, "judge_features": 8}


def filled(shapes: Any) -> Any:
    """Returns weights of these shapes, none of them 0."""
    rng = np.random.default_rng(0)
    fill = lambda leaf: (0.1 + 0.1 * rng.random(leaf.shape)).astype(np.float32)  # noqa: E731
    return jax.tree.map(fill, shapes)


def make_params() -> dict[str, tuple[Any, dict]]:
    """Returns weights and description of each kind of model that is trained."""
    key = jax.random.key(0)

    def shapes_of(network, image_shape):
        init = lambda key: models.init_params(key, network, image_shape)  # noqa: E731
        return jax.eval_shape(init, key)

    unet = shapes_of(networks.make_unet(len(CHARS), 16, 1), (8, 8, 1))
    latent = shapes_of(networks.make_residual_mlp(len(CHARS), 8, 1), (3,))
    latent |= jax.eval_shape(models.build_autoencoder(LATENT).init, key)
    pen = jax.eval_shape(
        functools.partial(models.init_pen, description=PEN, num_codes=4), key
    )
    pen |= {"hands": {"codes": np.zeros((3, 4))}}
    pen |= {"spacing": {"sides": np.zeros((len(data.PEN_CHARS), 2))}}
    return {
        "unet": (filled(unet), UNET),
        "latent": (filled(latent), LATENT),
        "distilled": (filled(latent), LATENT | {"distilled": True}),
        "pen": (filled(pen), PEN),
    }


def save_models(folder: Path) -> dict[str, Path]:
    """Writes tiny weights of every kind; returns their files by the kind."""
    found = {}
    for name, (params, description) in make_params().items():
        found[name] = folder / f"{name}.safetensors"
        storage.save_weights(found[name], params, description)
    images, labels = images_of(30, 8)[..., None], np.array(list(CHARS * 10))
    found["mixture"] = folder / "mixture.safetensors"
    fitted = closed_form.mixtures.fit(images, labels, 2, 4, 2, 10.0, 0)
    closed_form.mixtures.save(found["mixture"], fitted)
    return found


def check_same(found: Any, expected: Any) -> None:
    """Raises Wrong unless weights are what was saved."""
    check(all(jax.tree.leaves(jax.tree.map(np.array_equal, found, expected))))


def try_weights(folder: Path):
    """Weights of every kind, read by what reads them."""
    files = save_models(folder)
    contents = {name: path.read_bytes() for name, path in files.items()}
    originals = {name: storage.load_weights(path) for name, path in files.items()}
    path = folder / "spoiled.safetensors"

    def attempt(random: Random) -> None:
        name = random.choice(sorted(files))
        path.write_bytes(spoil_weights(random, contents[name]))
        load = models.load_pen if name == "pen" else models.load_model
        model = load(path)
        params, description = storage.load_weights(path)
        check_same(params, originals[name][0])
        if description != originals[name][1]:  # it may say another thing that fits
            ask(model)

    return attempt


def ask(model: models.Model | models.PenModel) -> None:
    """Has a model check all that is needed to sample; draws nothing."""
    key, labels = jax.random.key(0), range(len(CHARS))
    if isinstance(model, models.PenModel):
        hand = models.draw_hand(model, 0)
        models.generate_strokes(key, model, labels, hand, 1)
    else:
        labels = range(len(model.classes))
        models.generate_batches(key, model, labels, 1)


def try_checkpoints(folder: Path):
    """Checkpoints, read as weights and as a state to go on from.

    There are two, and one of them alone in half of the attempts.
    """
    params, description = make_params()["latent"]
    state = jdiff.init_train_state(jax.random.key(0), params, optax.sgd(0.1))
    good, spoiled = folder / "good", folder / "spoiled"
    for step in (1, 2):
        metadata = {"description": description, "seconds": 1.0, "loss": 1.0}
        storage.save_checkpoint(good, step, state, metadata)

    def attempt(random: Random) -> None:
        shutil.rmtree(spoiled, ignore_errors=True)
        for step in random.choice([(1, 2), (2,)]):
            shutil.copytree(good / str(step), spoiled / str(step))
        inside = sorted(path for path in spoiled.rglob("*") if path.is_file())
        for path in random.sample(inside, random.randint(1, 3)):
            spoil_file(random, path)
        if random.random() < 0.5:
            check_same(storage.load_ema_weights(spoiled)[0], params)
        else:
            found, _ = storage.restore_checkpoint(spoiled, state)
            check_same(found.params, params)
            check_same(found.ema_params, params)

    return attempt


def spoil_file(random: Random, path: Path) -> None:
    """Spoils a file: removes it, puts something else there, or changes its content."""
    content = path.read_bytes()
    path.unlink()
    match random.randrange(8):
        case 0:
            pass
        case 1:
            path.mkdir()
        case 2:
            os.mkfifo(path)
        case 3:
            path.write_bytes(spoil_json_bytes(random, content))
        case _:
            path.write_bytes(spoil(random, content))
