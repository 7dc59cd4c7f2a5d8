"""What a run tells: its arguments, a log in JSON, events for TensorBoard, a bar."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import jax
import numpy as np

from jdiff import storage
from jdiff.runs import processes

ARGUMENTS = "arguments.json"
MEMORY = 0.9  # share of the old mean that ten steps leave


class Log(NamedTuple):
    """Where metrics go: lines of JSON, and a tensorboardX `SummaryWriter`."""

    lines: TextIO
    events: Any


def save_arguments(out: Path, arguments: dict[str, Any]) -> None:
    """Writes the arguments that `read_arguments` returns to a run that goes on."""
    # Who came later would find a run in the folder where the first has just begun it.
    processes.meet()
    if not processes.is_first():
        return
    out.mkdir(parents=True, exist_ok=True)
    with storage.atomic_write(out / ARGUMENTS) as draft:
        draft.write_text(json.dumps(arguments, indent=2))


def read_arguments(out: Path) -> dict[str, Any]:
    """Returns the arguments of the run in a folder."""
    if not (out / ARGUMENTS).is_file():
        raise ValueError(f"no run to resume in {out}.")
    arguments = _from_json((out / ARGUMENTS).read_bytes())
    if not isinstance(arguments, dict):
        raise ValueError(f"{out / ARGUMENTS} must hold arguments in JSON, got others.")
    return arguments


@contextlib.contextmanager
def open_log(out: Path, step: int) -> Iterator[Log]:
    """Opens log.jsonl and TensorBoard's events in a folder; of the first process alone.

    Lines past the checkpoint that a run resumes from, at `step`, are dropped.
    """
    from tensorboardX import SummaryWriter  # here, because help texts need none

    with _open_lines(out / "log.jsonl", step) as lines:
        events = SummaryWriter(str(out), write_to_disk=processes.is_first())
        try:
            yield Log(lines, events)
        finally:
            # On a full disk; the run has ended, and said so.
            with contextlib.suppress(OSError):
                events.close()


def _open_lines(path: Path, step: int) -> TextIO:
    if not processes.is_first():
        return open(os.devnull, "w")
    lines = path.read_text(errors="replace").splitlines() if path.is_file() else []
    kept = [line for line in lines if _step_of(line) <= step]
    with storage.atomic_write(path) as draft:
        draft.write_text("".join(line + "\n" for line in kept))
    return open(path, "a", buffering=1)


def _step_of(line: str) -> float:
    """Returns the step of a line of a log, infinite for half a line."""
    found = _from_json(line)
    step = found.get("step") if isinstance(found, dict) else None
    return step if isinstance(step, int | float) else math.inf


def _from_json(text: str | bytes) -> Any:
    """Returns what JSON says, None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def report(log: Log, step: int, metrics: dict[str, float]) -> None:
    """Writes the metrics of a step to the log and for TensorBoard."""
    log.lines.write(json.dumps({"step": step} | metrics) + "\n")
    for name, value in metrics.items():
        log.events.add_scalar(name, value, step)


def fetch(recent: list[dict[str, jax.Array]], done: int) -> list[dict[str, float]]:
    """Returns the metrics of the last steps, up to `done`, if all are finite.

    They are of a step, or [num_steps] of several. Those of the last one tell the mean
    losses at levels of noise in all of these steps.
    """
    fetched = jax.device_get(recent)
    levels = [
        metrics.pop("noise_levels") for metrics in fetched if "noise_levels" in metrics
    ]
    steps = [
        dict(zip(metrics, map(float, row), strict=True))
        for metrics in fetched
        for row in zip(*map(np.atleast_1d, metrics.values()), strict=True)
    ]
    for step, metrics in enumerate(steps, done - len(steps) + 1):
        if not all(map(math.isfinite, metrics.values())):
            raise ValueError(
                "loss and gradient must be finite, got a loss of {loss} and a gradient "
                "norm of {gradient_norm} at step {step}.".format(**metrics, step=step)
            )
    if levels:
        steps[-1] |= _mean_at_levels(np.sum(levels, axis=0))
    return steps


def _mean_at_levels(sums: np.ndarray) -> dict[str, float]:
    """Returns mean losses from least noise to most: [sums, numbers], where any are."""
    pairs = enumerate(zip(*sums.tolist(), strict=True), 1)
    return {f"loss_at_noise/{k}": total / num for k, (total, num) in pairs if num}


def smooth(mean: float | None, recent: list[dict[str, float]]) -> float:
    """Returns the running mean of the loss with the last few steps in it."""
    new = math.fsum(metrics["loss"] for metrics in recent) / len(recent)
    return new if mean is None else MEMORY * mean + (1.0 - MEMORY) * new
