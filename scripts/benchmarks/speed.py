"""Measures how fast jdiff is, beside other libraries where they are installed.

    pip install '.[train,test,peers]'
    python scripts/benchmarks/speed.py --out speed.json      # and speed.png

The shipped UNet is trained and sampled in jdiff and in an equal network in PyTorch
(same layers, same weights, checked): eager with channels_last, and by torch.compile;
on a GPU if both see one, `--dtype bfloat16` by automatic casts in PyTorch. `--preset`
takes another UNet, untrained and without PyTorch's.
Then the linear model beside scikit-learn, and points in the plane beside two loops in
PyTorch. Contenders take turns, so that other load on the machine falls on all alike;
figures are medians of items/s, and their ratios. Compilation is counted apart. The
product of matrices is the machine's peak; GFLOP/s are those of plain convolutions. Last
come the import and `jdiff write`, in new processes.
`--quick` does it all in small, and no figure of it means anything.
"""

import argparse
import importlib.util
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import linear
import numpy as np
import optax
from command import check_json, check_positive, header, make_parser, run, save_json
from matplotlib.figure import Figure

import jdiff
from jdiff.recipes import unet

TEXT = "Hello World 2026"
NUM_IMAGES = 10_000  # that linear models are fitted to
CALLS = 4  # of a contender, in a round


class Contest(NamedTuple):
    """Calls that do equal work and wait for it: {name: call}, jdiff first.

    A call handles num_items, and takes so many FLOPs, if that is known.
    """

    calls: dict
    items: str
    num_items: int
    flops: float = math.nan


def measure(contest: Contest, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Returns items/s of contenders that take turns, and what each needed at first."""
    first, rates = {}, {name: [] for name in contest.calls}
    num_calls = 1 if args.quick else CALLS
    for name, call in contest.calls.items():
        first[name] = seconds_of(call)
    for _ in range(args.rounds):
        for name, call in contest.calls.items():
            seconds = seconds_of(*[call] * num_calls)
            rates[name].append(num_calls * contest.num_items / seconds)
    return {
        name: {"per_s": statistics.median(rates[name]), "first_s": first[name]}
        for name in contest.calls
    }


def seconds_of(*calls) -> float:
    """Returns the seconds that some calls take, one after the other."""
    began = time.perf_counter()
    for call in calls:
        call()
    return time.perf_counter() - began


def flops_of(function, *inputs) -> float:
    """Returns the FLOPs of a program, with convolutions computed in the plain way.

    That is what the work amounts to; the fast way needs fewer, and takes the credit.
    """
    with mock.patch("jdiff.networks.layers.MIN_CHANNELS", math.inf):
        lowered = jax.jit(lambda *inputs: function(*inputs)).lower(*inputs)
    # A GPU's programs are not analysed before they are compiled.
    analysis = lowered.cost_analysis() or lowered.compile().cost_analysis()
    return analysis["flops"]


def matrix_product(args: argparse.Namespace) -> Contest:
    """Products of large matrices, the machine's peak."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    size = 256 if args.quick else size
    x = jax.random.normal(jax.random.key(0), (size, size), args.dtype)
    product = jax.jit(jnp.dot)
    calls = {"jax": lambda: product(x, x).block_until_ready()}
    return Contest(calls, "products", 1, 2 * size**3)


def load_unet(args: argparse.Namespace) -> jdiff.models.Model:
    """Returns the UNet that ships, or an untrained one of another preset."""
    model = jdiff.load_model("unet")
    sizes = unet.PRESETS[args.preset]
    network = jdiff.networks.make_unet(len(model.classes), **sizes, dtype=args.dtype)
    model = model._replace(apply=network.apply)
    if args.preset == "small":
        return model
    shape = (32, 32, 1)  # three levels need sides divisible by 8
    params = jdiff.models.init_params(jax.random.key(0), network, shape)
    return model._replace(params=params, shape=shape)


def unet_training(args: argparse.Namespace) -> Contest:
    """Steps of training of the shipped UNet, with all that `jdiff train unet` does."""
    model = load_unet(args)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2000, *model.shape), np.uint8)
    labels = np.arange(2000) % len(model.classes)
    loss_fn = jdiff.make_diffusion_loss(
        model.apply, model.schedule, model.prediction, len(model.classes), 0.1
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3, b2=0.99))
    train_step = jdiff.make_train_step(loss_fn, optimizer, 0.999)
    data = jdiff.balance(images, labels)

    def step(state, data):
        key = jax.random.fold_in(jax.random.key(0), state.step)
        return train_step(state, jdiff.draw_batch(key, data, args.batch_size))

    params = jax.tree.map(jnp.array, model.params)
    state = [jdiff.init_train_state(jax.random.key(0), params, optimizer)]
    flops = flops_of(step, state[0], data)
    step = jax.jit(step, donate_argnums=0)

    def call():
        state[0], metrics = step(state[0], data)
        metrics["loss"].block_until_ready()

    def torch_call(network):
        import torch_unet

        return torch_unet.make_train_step(
            network, model, images, labels, args.batch_size, args.dtype
        )

    calls = {"jdiff": call} | by_torch(args, model, torch_call)
    return Contest(calls, "images", args.batch_size, flops)


def unet_denoising(args: argparse.Namespace) -> Contest:
    """Calls of the shipped UNet."""
    model = load_unet(args)
    x_t = jnp.ones((args.batch_size, *model.shape))
    log_snr, label = jnp.zeros(args.batch_size), jnp.zeros(args.batch_size, jnp.int32)
    apply = jax.jit(model.apply)
    inputs = jax.tree.map(jnp.asarray, model.params), x_t, log_snr, label
    flops = flops_of(model.apply, *inputs)

    def torch_call(network):
        import torch_unet

        return torch_unet.make_call(network, model, args.batch_size, args.dtype)

    calls = {"jdiff": lambda: apply(*inputs).block_until_ready()}
    calls |= by_torch(args, model, torch_call)
    return Contest(calls, "images", args.batch_size, flops)


def by_torch(args: argparse.Namespace, model: jdiff.models.Model, make_call) -> dict:
    """Returns the calls that `make_call` makes of PyTorch's networks; or nothing."""
    if not importlib.util.find_spec("torch") or args.preset != "small":
        return {}
    import torch
    import torch_unet

    # haiku's stand-in for flax refuses to be looked at, which torch.compile does.
    sys.modules.pop("haiku.experimental.flax", None)
    calls = {"PyTorch, eager": make_call(torch_unet.equal_network(model))}
    if not args.quick:  # it needs a C++ compiler and a minute
        compiled = torch.compile(torch_unet.equal_network(model))
        calls["PyTorch, compiled"] = make_call(compiled)
    return calls


def linear_fit(args: argparse.Namespace) -> Contest:
    """The article's linear model: principal axes of images, and a regression."""
    num = 500 if args.quick else NUM_IMAGES
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (num, 28, 28), np.uint8)
    labels = np.arange(num) % 10
    calls = {"jdiff": lambda: jdiff.closed_form.linear.fit(images, labels)}
    if importlib.util.find_spec("sklearn"):
        calls["scikit-learn"] = lambda: linear.fit_by_scikit_learn(images, labels)
    return Contest(calls, "images", num)


def points_training(args: argparse.Namespace) -> Contest:
    """Epochs of a tutorial's network of points: three layers, batches of 2,048.

    The same loss, Adam, clipped gradients and averaged weights everywhere: the compiled
    epoch; the loop that tutorials write, with a DataLoader; and a leaner one that
    indexes a tensor.
    """
    batch_size, num_steps, num_classes = 2048, 4 if args.quick else 64, 2
    data = jdiff.data.DENSITIES["moons"].draw(batch_size * num_steps, 0)
    network = jdiff.networks.make_mlp(
        num_classes, 64, 3, embed_log_snr=jdiff.networks.raw_log_snr
    )
    schedule = jdiff.cosine_schedule(200)
    loss_fn = jdiff.make_diffusion_loss(network.apply, schedule, jdiff.PREDICT_V)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(5e-3))
    train_step = jdiff.make_train_step(loss_fn, optimizer, 0.999)
    epoch = jax.jit(
        jdiff.make_epoch(train_step, batch_size, num_steps), donate_argnums=0
    )
    params = jdiff.models.init_params(jax.random.key(0), network, (2,))
    state = [jdiff.init_train_state(jax.random.key(1), params, optimizer)]
    batch = jdiff.Batch(jnp.asarray(data.points), jnp.asarray(data.labels))

    def call():
        state[0], metrics = epoch(state[0], batch)
        jax.block_until_ready(metrics)

    calls = {"jdiff": call}
    if importlib.util.find_spec("torch"):
        import torch_points

        calls |= torch_points.loops(*data, schedule, num_classes, batch_size)
    return Contest(calls, "points", batch_size * num_steps)


def start_up(args: argparse.Namespace) -> dict[str, float]:
    """Returns seconds of new processes, medians."""
    lines = {
        "import jax": "import jax",
        "import jdiff": "import jdiff; jdiff.sample",
        "jdiff write": f"from jdiff.cli import main; main(['write', '{TEXT}'])",
    }
    times = {name: [] for name in lines}
    root = str(Path(__file__).parents[2])
    options = {"env": os.environ | {"PYTHONPATH": root}, "capture_output": True}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(min(args.rounds, 3)):
            for name, line in lines.items():
                command = [sys.executable, "-c", line]
                began = time.perf_counter()
                subprocess.run(command, cwd=folder, check=True, **options)
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def report(work: str, contest: Contest, figures: dict, peak: float) -> None:
    """Prints the table of one kind of work."""
    ours, *others = figures
    known = math.isfinite(contest.flops)
    flops = contest.flops / contest.num_items
    print(f"\n{work}" + f", {flops / 1e6:.0f} MFLOP an image" * known + "\n")
    rate = f"{contest.items}/s"
    print(header("", rate, "GFLOP/s", "of the peak", "jdiff is", "first call"))
    for name, row in figures.items():
        rate = flops * row["per_s"] / 1e9
        speed = f"{rate:.0f} | {rate / peak:.0%}" if known else " | "
        ratio = f"{figures[ours]['per_s'] / row['per_s']:.2f} x" * (name in others)
        print(
            f"| {name} | {row['per_s']:,.0f} | {speed} | {ratio} "
            f"| {row['first_s']:.1f} s |",
            flush=True,
        )


def draw(path: Path, works: dict) -> None:
    """Writes the bar chart."""
    figure = Figure(figsize=(13, 2.2), layout="constrained")
    axes = figure.subplots(1, len(works))
    for axis, (work, figures) in zip(axes, works.items(), strict=True):
        rates = [row["per_s"] for row in figures.values()]
        axis.barh(list(figures), rates, color=["tab:red", *["0.7"] * (len(rates) - 1)])
        axis.set(title=work, xlabel="per second")
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    with jdiff.storage.atomic_write(path) as draft:
        figure.savefig(draft, format="png", dpi=120)


CONTESTS = {
    "training": unet_training,
    "denoising": unet_denoising,
    "linear fit": linear_fit,
    "2-D training": points_training,
}


def main(argv=None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--out", type=Path, help="F.json, with a bar chart F.png")
    parser.add_argument("--rounds", type=int, default=7, help="of each measurement")
    parser.add_argument("--batch-size", type=int, default=128)
    dtypes = ("float32", "bfloat16")
    parser.add_argument(
        "--dtype", default=dtypes[0], choices=dtypes, help="of the UNet"
    )
    parser.add_argument("--preset", default="small", choices=unet.PRESETS)
    parser.add_argument("--only-unet", action="store_true", help="no other contest")
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    args = parser.parse_args(argv)
    check_positive(args, "rounds", "batch_size")
    check_json(args.out)
    if args.quick:
        args.rounds, args.batch_size = 1, 8
    product = matrix_product(args)
    peak = product.flops * measure(product, args)["jax"]["per_s"] / 1e9
    print(f"product of matrices: {peak:.0f} GFLOP/s")
    works = {}
    contests = dict(list(CONTESTS.items())[:2]) if args.only_unet else CONTESTS
    for work, prepare in contests.items():
        contest = prepare(args)
        works[work] = measure(contest, args)
        report(work, contest, works[work], peak)
    seconds = {} if args.only_unet else start_up(args)
    print("\n" + ", ".join(f"{name}: {s:.2f} s" for name, s in seconds.items()))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if args.out:
        figures = {"peak_gflops": peak, "start_up_s": seconds, "memory_gb": memory}
        save_json(args.out, figures | works)
        draw(args.out.with_suffix(".png"), works)


if __name__ == "__main__":
    run(main)
