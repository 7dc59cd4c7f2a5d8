"""What a run leaves behind: a log, checkpoints, weights and a grid of samples.

Nothing that is not finite is kept: a run that breaks stops, and what it wrote last is
what it had when all was well.
"""

import argparse
import json
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jdiff


def save_arguments(args) -> None:
    """Writes what `--resume` needs to know; the rest of the command line is its own."""
    own = ("out", "resume", "dry_run")
    saved = {name: value for name, value in vars(args).items() if name not in own}
    with jdiff.atomic_write(args.out / "arguments.json") as draft:
        draft.write_text(json.dumps(saved, indent=2))


def describe(args: argparse.Namespace, source: jdiff.data.Source) -> dict:
    """Returns what `jdiff.build_model` needs to rebuild the model."""
    names = ("num_channels", "num_blocks", "schedule", "num_steps", "prediction")
    facts = {name: getattr(args, name) for name in names}
    # A list, as it will be once it is read from JSON.
    chars = source.chars if isinstance(source.chars, str) else list(source.chars)
    return facts | {"chars": chars, "image_shape": list(source.image_shape)}


def start_weights(path: str, description: dict, params):
    """Returns the weights of a file, if they are of this architecture and data."""
    weights, facts = jdiff.load_weights(path)
    if facts != description:
        raise ValueError(f"{path} must be weights of {description}, got {facts}.")
    jdiff.checkpoints.check_params(weights, params, path)
    return jax.tree.map(jnp.asarray, weights)


def fetch(recent: list[dict], done: int) -> list[dict[str, float]]:
    """Returns the metrics of the last few steps, if all are finite."""
    recent = jax.tree.map(float, jax.device_get(recent))
    for step, metrics in enumerate(recent, done - len(recent) + 1):
        if not all(map(math.isfinite, metrics.values())):
            raise ValueError(
                "loss and gradient must be finite, got a loss of {loss} and a gradient "
                "norm of {gradient_norm} at step {step}.".format(**metrics, step=step)
            )
    return recent


def report(log, writer, bar, step: int, metrics: dict[str, float]) -> None:
    """Tells log, TensorBoard and terminal how the run is doing."""
    log.write(json.dumps({"step": step} | metrics) + "\n")
    for name, value in metrics.items():
        writer.add_scalar(name, value, step)
    text = "loss {loss:.4f}, {images_per_s:.0f} images/s"
    bar.set_postfix_str(text.format(**metrics))


def open_log(path: Path, step: int):
    """Opens the log; lines past the checkpoint that a run resumes from are dropped."""
    lines = path.read_text().splitlines() if path.exists() else []
    whole = [line for line in lines if line.endswith("}")]
    kept = [line for line in whole if json.loads(line)["step"] <= step]
    with jdiff.atomic_write(path) as draft:
        draft.write_text("".join(line + "\n" for line in kept))
    return open(path, "a", buffering=1)


def draw_classes(model: jdiff.Model):
    """Returns batches of samples, each class twice; at most 100 classes."""
    labels = [k for k in range(min(len(model.chars), 100)) for _ in range(2)]
    num_steps = min(10, len(model.schedule.alpha) - 1)
    return jdiff.generate(jax.random.key(0), model, labels, num_steps)


def sample_grid(model: jdiff.Model) -> np.ndarray:
    """Returns one picture of samples, grey ones dark on white."""
    batches = [jdiff.to_uint8(batch.x_0) for batch in draw_classes(model)]
    grid = jdiff.tile(np.concatenate(batches))
    return jdiff.on_paper(grid) if grid.ndim == 2 else grid


def save(args, description, model, state, facts, writer) -> None:
    """Writes checkpoint, weights and a grid of samples; of a finite state alone."""
    step = int(state.step)
    numbers = jax.tree.leaves((state.params, state.ema_params, state.opt_state))
    if not all(np.isfinite(leaf).all() for leaf in numbers):
        raise ValueError(f"weights must be finite, got NaN or infinity at step {step}.")
    checkpoints = args.out / "checkpoints"
    jdiff.save_state(checkpoints, step, state, facts)
    jdiff.save_weights(args.out / "weights.safetensors", state.ema_params, description)
    # Weights that lie on many devices would be sampled from on all of them alike.
    grid = sample_grid(model._replace(params=jax.device_get(state.ema_params)))
    jdiff.save_png(args.out / "samples.png", grid)
    writer.add_image("samples", grid, step, dataformats="HWC"[: grid.ndim])
