"""Measures how fast jdiff is, beside PyTorch where that is installed.

    pip install '.[train,peers]'
    python scripts/benchmark.py --out benchmark.json      # and benchmark.png

The shipped UNet is trained and drawn from in jdiff and in an equal network in PyTorch
(same layers, same weights, checked): eager with channels_last, and by torch.compile.
They take turns, so that what else a machine does falls on all alike; figures are
medians of images/s, and their ratios. Compilation is counted apart. Then the product
of matrices, which is the machine's peak; import and `jdiff write` in new processes.
`--quick` does it all in small, and no figure of it means anything.
"""

import argparse
import functools
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jdiff

TEXT = "Hello World 2026"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", type=Path, help="F.json, with a bar chart F.png")
    add("--rounds", type=int, default=7, help="of each measurement")
    add("--batch-size", type=int, default=128)
    add("--quick", action="store_true", help="only show that it runs")
    args = parser.parse_args()
    for name in ("rounds", "batch_size"):
        if getattr(args, name) < 1:
            parser.error(f"{name} must be >= 1, got {getattr(args, name)}.")
    if args.quick:
        args.rounds, args.batch_size = 1, 8
    args.calls = 1 if args.quick else 4  # of a contender, in a round
    return args


def measure(args, contenders: dict, num_items: int) -> dict[str, dict[str, float]]:
    """Returns items/s of contenders that take turns, and what each needed at first.

    Args:
        args: rounds, and calls of a contender in each.
        contenders: name -> function without arguments, which waits for its result.
        num_items: handled by one call.
    """
    first, rates = {}, {name: [] for name in contenders}
    for name, call in contenders.items():
        began = time.perf_counter()
        call()
        first[name] = time.perf_counter() - began
    for _ in range(args.rounds):
        for name, call in contenders.items():
            began = time.perf_counter()
            for _ in range(args.calls):
                call()
            seconds = time.perf_counter() - began
            rates[name].append(args.calls * num_items / seconds)
    return {
        name: {"per_s": statistics.median(rates[name]), "first_s": first[name]}
        for name in contenders
    }


def jdiff_training(args, model, images, labels):
    """Returns (one step, its FLOPs for an image)."""
    loss_fn = jdiff.make_diffusion_loss(
        model.apply, model.schedule, model.prediction, len(model.chars), 0.1
    )
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3, b2=0.99))
    train_step = jdiff.make_train_step(loss_fn, optimizer, 0.999)
    data = jdiff.balance(images, labels)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, data):
        key = jax.random.fold_in(jax.random.key(0), state.step)
        return train_step(state, jdiff.draw_batch(key, data, args.batch_size))

    params = jax.tree.map(jnp.array, model.params)
    state = [jdiff.init_train_state(jax.random.key(0), params, optimizer)]
    flops = step.lower(state[0], data).compile().cost_analysis()["flops"]

    def call():
        state[0], metrics = step(state[0], data)
        metrics["loss"].block_until_ready()

    return call, flops / args.batch_size


def jdiff_denoising(args, model):
    """Returns (one call of the network, its FLOPs for an image)."""
    x_t = jnp.ones((args.batch_size, *model.image_shape))
    log_snr, label = jnp.zeros(args.batch_size), jnp.zeros(args.batch_size, jnp.int32)
    apply = jax.jit(model.apply)
    inputs = jax.tree.map(jnp.asarray, model.params), x_t, log_snr, label
    flops = apply.lower(*inputs).compile().cost_analysis()["flops"]
    return lambda: apply(*inputs).block_until_ready(), flops / args.batch_size


def torch_contenders(args, model, images, labels):
    """Returns (training, denoising), each name -> call; empty without PyTorch."""
    if not importlib.util.find_spec("torch"):
        return {}, {}
    import torch
    import torch_unet

    # haiku's stand-in for flax refuses to be looked at, which torch.compile does.
    sys.modules.pop("haiku.experimental.flax", None)

    def network():
        facts = jdiff.load_weights(jdiff.models.SHIPPED["unet"])[1]
        sizes = facts["num_channels"], facts["num_blocks"]
        net = torch_unet.UNet(len(model.chars), *sizes)
        net = torch_unet.load(net, model.params).to(memory_format=torch.channels_last)
        check_equal(net, model)
        return net

    def denoising(net):
        x_t = torch.ones(args.batch_size, 1, *model.image_shape[:2])
        x_t = x_t.to(memory_format=torch.channels_last)
        inputs = x_t, torch.zeros(args.batch_size), torch.zeros(args.batch_size).long()

        def call():
            with torch.no_grad():
                net(*inputs)

        return call

    def training(net):
        return torch_unet.make_train_step(net, model, images, labels, args)

    kinds = {"PyTorch, eager": lambda net: net}
    if not args.quick:  # it needs a C++ compiler and a minute
        kinds["PyTorch, compiled"] = torch.compile
    return tuple(
        {name: make(kind(network())) for name, kind in kinds.items()}
        for make in (training, denoising)
    )


def check_equal(net, model) -> None:
    """Raises ValueError unless both networks say the same."""
    import torch

    x_t = np.random.default_rng(0).normal(size=(2, *model.image_shape))
    x_t, log_snr, label = np.float32(x_t), np.float32([-2, 3]), np.int32([1, 62])
    ours = np.asarray(model.apply(model.params, x_t, log_snr, label))
    with torch.no_grad():
        inputs = torch.from_numpy(x_t).permute(0, 3, 1, 2), torch.from_numpy(log_snr)
        theirs = net(*inputs, torch.from_numpy(label).long()).permute(0, 2, 3, 1)
    error = np.abs(ours - theirs.numpy()).max() / np.abs(ours).max()
    numbers = sum(leaf.numel() for leaf in net.parameters())
    if numbers != sum(np.size(leaf) for leaf in jax.tree.leaves(model.params)):
        raise ValueError(f"networks must have equal sizes, got {numbers} parameters.")
    if not error < 1e-4:
        raise ValueError(f"networks must be equal, got a difference of {error:.1e}.")


def peak_gflops(args) -> float:
    """Returns GFLOP/s of a product of large float32 matrices."""
    size = 256 if args.quick else 2048
    x = jnp.ones((size, size))
    product = jax.jit(jnp.dot)
    figures = measure(args, {"": lambda: product(x, x).block_until_ready()}, 1)
    return 2 * size**3 * figures[""]["per_s"] / 1e9


def start_up(args) -> dict[str, float]:
    """Returns seconds of new processes, medians."""
    lines = {
        "import jax": "import jax",
        "import jdiff": "import jdiff; jdiff.sample",
        "jdiff write": f"from jdiff.cli import main; main(['write', '{TEXT}'])",
    }
    times = {name: [] for name in lines}
    with tempfile.TemporaryDirectory() as folder:
        root = str(Path(__file__).parents[1])
        environment = os.environ | {"PYTHONPATH": root}
        for _ in range(min(args.rounds, 3)):
            for name, line in lines.items():
                began = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-c", line],
                    cwd=folder,
                    env=environment,
                    check=True,
                    capture_output=True,
                )
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def report(work: str, figures: dict, flops: float, peak: float) -> None:
    """Prints the table of one kind of work."""
    ours, *others = figures
    print(f"\n{work}, {flops / 1e6:.0f} MFLOP an image\n")
    print("| | images/s | GFLOP/s | of the peak | jdiff is | first call |")
    print("| --- " * 6 + "|")
    for name, row in figures.items():
        rate = flops * row["per_s"] / 1e9
        ratio = (
            f"{figures[ours]['per_s'] / row['per_s']:.2f} x" if name in others else ""
        )
        print(
            f"| {name} | {row['per_s']:.0f} | {rate:.0f} | {rate / peak:.0%} "
            f"| {ratio} | {row['first_s']:.1f} s |",
            flush=True,
        )


def draw(path: Path, works: dict) -> None:
    """Writes the bar chart."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(works), figsize=(9, 2.2), layout="constrained")
    for axis, (work, figures) in zip(axes, works.items(), strict=True):
        rates = [row["per_s"] for row in figures.values()]
        colours = ["tab:red", *["0.7"] * (len(rates) - 1)]
        axis.barh(list(figures), rates, color=colours)
        axis.set(title=work, xlabel="images/s")
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    with jdiff.atomic_write(path) as draft:
        figure.savefig(draft, format="png", dpi=120)


def main() -> None:
    args = parse_args()
    if args.out:
        jdiff.check_output(args.out, ".json")
    model = jdiff.load_model()
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (2000, *model.image_shape), np.uint8)
    labels = np.arange(2000) % len(model.chars)
    peak = peak_gflops(args)
    print(f"product of matrices: {peak:.0f} GFLOP/s")
    theirs = torch_contenders(args, model, images, labels)
    ours = jdiff_training(args, model, images, labels), jdiff_denoising(args, model)
    works = {}
    for work, (call, flops), others in zip(
        ("training", "denoising"), ours, theirs, strict=True
    ):
        works[work] = measure(args, {"jdiff": call} | others, args.batch_size)
        report(work, works[work], flops, peak)
    seconds = start_up(args)
    print("\n" + ", ".join(f"{name}: {s:.2f} s" for name, s in seconds.items()))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if args.out:
        figures = {"peak_gflops": peak, "start_up_s": seconds, "memory_gb": memory}
        with jdiff.atomic_write(args.out) as draft:
            draft.write_text(json.dumps(figures | works, indent=1))
        draw(args.out.with_suffix(".png"), works)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)
