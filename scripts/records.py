"""What a run leaves behind: a log, checkpoints, weights and a grid of samples.

Nothing that is not finite is kept: a run that breaks stops, and what it wrote last is
what it had when all was well.
"""

import argparse
import contextlib
import json
import math
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import processes
import scale
from tensorboardX import SummaryWriter

import jdiff

OWN = ("out", "resume", "dry_run", "coordinator", "num_processes", "process_id")
NUM_LEVELS = 8  # of noise, whose losses are logged apart
MEMORY = 0.9  # share of the old mean that ten steps leave


def save_arguments(args) -> None:
    """Writes what `--resume` needs to know; the rest of the command line is its own."""
    if not processes.is_first():
        return
    args.out.mkdir(parents=True, exist_ok=True)
    saved = {name: value for name, value in vars(args).items() if name not in OWN}
    with jdiff.storage.atomic_write(args.out / "arguments.json") as draft:
        draft.write_text(json.dumps(saved, indent=2))


def describe(args: argparse.Namespace, source: jdiff.data.Source) -> dict:
    """Returns what `jdiff.build_model` needs to rebuild the model."""
    names = ("num_channels", "num_blocks", "num_levels")
    names += ("schedule", "num_steps", "prediction")
    facts = {name: getattr(args, name) for name in names}
    # A list, as it will be once it is read from JSON.
    chars = source.classes if isinstance(source.classes, str) else list(source.classes)
    return facts | {"chars": chars, "image_shape": list(source.image_shape)}


def start_weights(path: str, description: dict, params):
    """Returns the weights of a file, if they are of this architecture and data."""
    weights, facts = jdiff.storage.load_weights(path)
    if {"num_levels": 2} | facts != description:  # older files lack it
        raise ValueError(f"{path} must be weights of {description}, got {facts}.")
    jdiff.storage.check_params(weights, params, path)
    return jax.tree.map(jnp.asarray, weights)


def fetch(recent: list[dict], done: int) -> list[dict[str, float]]:
    """Returns the metrics of the last few steps, if all are finite.

    Those of the last one tell the mean losses at levels of noise in all of these steps.
    """
    recent = jax.device_get(recent)
    levels = [metrics.pop("levels") for metrics in recent if "levels" in metrics]
    recent = jax.tree.map(float, recent)
    for step, metrics in enumerate(recent, done - len(recent) + 1):
        if not all(map(math.isfinite, metrics.values())):
            raise ValueError(
                "loss and gradient must be finite, got a loss of {loss} and a gradient "
                "norm of {gradient_norm} at step {step}.".format(**metrics, step=step)
            )
    if levels:
        recent[-1] |= mean_at_levels(np.sum(levels, axis=0))
    return recent


def mean_at_levels(sums: np.ndarray) -> dict[str, float]:
    """Returns mean losses from least noise to most: [sums, numbers], where any are."""
    pairs = enumerate(zip(*sums.tolist(), strict=True), 1)
    return {f"loss_at_noise/{k}": total / num for k, (total, num) in pairs if num}


def smooth(mean: float | None, recent: list[dict[str, float]]) -> float:
    """Returns the running mean of the loss with the last few steps in it."""
    new = math.fsum(metrics["loss"] for metrics in recent) / len(recent)
    return new if mean is None else MEMORY * mean + (1.0 - MEMORY) * new


def report(log, writer, bar, step: int, metrics: dict[str, float]) -> None:
    """Tells log, TensorBoard and terminal how the run is doing."""
    log.write(json.dumps({"step": step} | metrics) + "\n")
    for name, value in metrics.items():
        writer.add_scalar(name, value, step)
    text = "loss {loss:.4f}, {images_per_s:.0f} images/s"
    bar.set_postfix_str(text.format(**metrics))


@contextlib.contextmanager
def open_events(out: Path):
    """Opens the log that TensorBoard reads; of the first process alone."""
    writer = SummaryWriter(str(out), write_to_disk=processes.is_first())
    try:
        yield writer
    finally:
        # On a full disk; the run has ended, and said so.
        with contextlib.suppress(OSError):
            writer.close()


def open_log(out: Path, step: int):
    """Opens the log; lines past the checkpoint that a run resumes from are dropped."""
    path = out / "log.jsonl"
    if not processes.is_first():
        return open(os.devnull, "w")
    lines = path.read_text().splitlines() if path.exists() else []
    whole = [line for line in lines if line.endswith("}")]
    kept = [line for line in whole if json.loads(line)["step"] <= step]
    with jdiff.storage.atomic_write(path) as draft:
        draft.write_text("".join(line + "\n" for line in kept))
    return open(path, "a", buffering=1)


def draw_classes(model: jdiff.models.Model):
    """Returns batches of samples, each class twice; at most 100 classes."""
    labels = [k for k in range(min(len(model.classes), 100)) for _ in range(2)]
    num_steps = min(10, len(model.schedule.alpha) - 1)
    return jdiff.generate(jax.random.key(0), model, labels, num_steps)


def sample_grid(model: jdiff.models.Model) -> np.ndarray:
    """Returns one picture of samples, grey ones dark on white."""
    batches = [jdiff.images.to_uint8(batch.x_0) for batch in draw_classes(model)]
    grid = jdiff.images.tile(np.concatenate(batches))
    return jdiff.images.on_paper(grid) if grid.ndim == 2 else grid


def save(args, description, model, writer, keep, state, facts) -> None:
    """Writes checkpoint, weights and a grid of samples; of a finite state alone."""
    step = int(state.step)
    if not scale.is_finite((state.params, state.ema_params, state.opt_state)):
        raise ValueError(f"weights must be finite, got NaN or infinity at step {step}.")
    keep(step, state, facts | {"description": description})
    params = jax.device_get(scale.place(state.ema_params, state.step.sharding.mesh))
    # By every process on a device of its own, so that none has to wait for another.
    grid = sample_grid(model._replace(params=params))
    if not processes.is_first():
        return
    jdiff.storage.save_weights(args.out / "weights.safetensors", params, description)
    jdiff.images.save_png(args.out / "samples.png", grid)
    writer.add_image("samples", grid, step, dataformats="HWC"[: grid.ndim])
