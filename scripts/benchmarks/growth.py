"""Measures how time and memory of the UNet grow with the work.

    python scripts/benchmarks/growth.py --out growth.json     # and growth.png

One step of training and one call of the network, against the images in a batch, the
channels, the size of an image; and sampling against its steps. Time is the best of a
few runs, memory what the compiled program needs beside its arguments, both per image.
"""

import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from command import check_json, make_parser, run, save_json
from matplotlib.figure import Figure

import jdiff

AXES = {
    "batch_size": [1, 4, 16, 64, 256, 1024, 4096],
    "num_channels": [32, 64, 128, 256],
    "image_size": [28, 32, 64, 128],
}
STEPS = [1, 10, 100, 1000]
BASE = {"batch_size": 32, "num_channels": 64, "image_size": 28}
NUM_CLASSES = 62
MAX_BYTES = 8e9  # what needs more is left out, and said


def programs(batch_size: int, num_channels: int, image_size: int) -> dict:
    """Returns {name: (compiled program, its arguments)} of one size of the work."""
    network = jdiff.networks.make_unet(NUM_CLASSES, num_channels, 1)
    shape = (image_size, image_size, 1)
    params = jdiff.models.init_params(jax.random.key(0), network, shape)
    schedule = jdiff.cosine_schedule(1000)
    loss_fn = jdiff.make_diffusion_loss(
        network.apply, schedule, jdiff.PREDICT_V, NUM_CLASSES, 0.1
    )
    optimizer = optax.adam(1e-3)
    train_step = jdiff.make_train_step(loss_fn, optimizer, 0.999)
    state = jdiff.init_train_state(jax.random.key(0), params, optimizer)
    label = jnp.zeros(batch_size, jnp.int32)
    image = jnp.zeros((batch_size, *shape))
    work = {
        "training": (train_step, (state, jdiff.Batch(image, label))),
        "denoising": (network.apply, (params, image, jnp.zeros(batch_size), label)),
    }
    return {
        name: (jax.jit(function).lower(*inputs).compile(), inputs)
        for name, (function, inputs) in work.items()
    }


def seconds_of(call, num_runs: int = 3) -> float:
    """Returns the least seconds of some calls; the first does not count."""
    times = []
    for _ in range(num_runs + 1):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return min(times[1:])


def measure(axis: str, value: int) -> dict:
    """Returns {work: {"ms", "mb"}} per image where one size differs from the base."""
    sizes = BASE | {axis: value}
    row = {}
    for name, (compiled, inputs) in programs(**sizes).items():
        num_bytes = compiled.memory_analysis().temp_size_in_bytes
        row[name] = {"ms": None, "mb": num_bytes / sizes["batch_size"] / 1e6}
        if num_bytes < MAX_BYTES:
            seconds = seconds_of(lambda: jax.block_until_ready(compiled(*inputs)))  # noqa: B023
            row[name]["ms"] = 1e3 * seconds / sizes["batch_size"]
    return row


def measure_steps(num_steps: int) -> dict:
    """Returns {"sampling": {"ms"}} per image of the shipped UNet in some steps."""
    model, labels = jdiff.load_model("unet"), np.arange(16)

    def call():
        jdiff.generate(jax.random.key(0), model, labels, num_steps, guidance=1.0)

    seconds = seconds_of(call, num_runs=1)
    return {"sampling": {"ms": 1e3 * seconds / len(labels), "mb": None}}


def draw_curves(panel, rows: dict, unit: str) -> None:
    """Draws one figure of each work; what was not measured is left out."""
    for work in next(iter(rows.values())):
        points = [(int(k), row[work][unit]) for k, row in rows.items()]
        x, y = zip(*[(x, np.nan if y is None else y) for x, y in points], strict=True)
        panel.plot(x, y, "o-", label=work)
    panel.set(xscale="log", yscale="log")
    panel.set_xticks([int(k) for k in rows], list(rows))
    panel.minorticks_off()
    panel.grid(alpha=0.3)


def draw(path: Path, figures: dict) -> None:
    """Writes the plot: time above, memory below."""
    figure = Figure(figsize=(12, 5), layout="constrained")
    panels = figure.subplots(2, len(figures), sharey="row")
    for column, (axis, rows) in zip(panels.T, figures.items(), strict=True):
        draw_curves(column[0], rows, "ms")
        draw_curves(column[1], rows, "mb")
        column[0].legend(fontsize=8)
        column[1].set(xlabel=axis.replace("_", " "))
    panels[0, -1].set(xlabel="num steps")
    panels[1, -1].set_axis_off()  # the path of an image is all that steps add
    panels[0, 0].set(ylabel="ms an image")
    panels[1, 0].set(ylabel="MB an image")
    with jdiff.storage.atomic_write(path) as draft:
        figure.savefig(draft, format="png", dpi=120)


def main(argv=None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="F.json, with F.png")
    parser.add_argument("--quick", action="store_true", help="the smallest two of each")
    args = parser.parse_args(argv)
    check_json(args.out)
    number = 2 if args.quick else None
    figures: dict[str, dict] = {}
    for axis, values in (AXES | {"num_steps": STEPS}).items():
        figures[axis] = {}
        for value in values[:number]:
            row = measure_steps(value) if axis == "num_steps" else measure(axis, value)
            figures[axis][str(value)] = row
            for work, cell in row.items():
                said = ", ".join(f"{x:.2f} {unit}" for unit, x in cell.items() if x)
                print(f"{axis} {value}: {work} {said}", flush=True)
    save_json(args.out, figures)
    draw(args.out.with_suffix(".png"), figures)


if __name__ == "__main__":
    run(main)
