"""Measures how fast jdiff is, beside PyTorch where that is installed.

    pip install '.[train,test,peers]'
    python scripts/benchmark.py --out benchmark.json      # and benchmark.png

The shipped UNet is trained and drawn from in jdiff and in an equal network in PyTorch
(same layers, same weights, checked): eager with channels_last, and by torch.compile.
Then the linear model beside scikit-learn, and points in the plane beside the loop of
a tutorial. Contenders take turns, so that what else a machine does falls on all alike;
figures are medians of items/s, and their ratios. Compilation is counted apart. The
product of matrices is the machine's peak; GFLOP/s are those of plain convolutions. Last
come the import and `jdiff write`, in new processes.
`--quick` does it all in small, and no figure of it means anything.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import contenders
import jax
import jax.numpy as jnp

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


def measure(args, calls: dict, num_items: int) -> dict[str, dict[str, float]]:
    """Returns items/s of contenders that take turns, and what each needed at first.

    Args:
        args: rounds, and calls of a contender in each.
        calls: name -> function without arguments, which waits for its result.
        num_items: handled by one call.
    """
    first, rates = {}, {name: [] for name in calls}
    for name, call in calls.items():
        began = time.perf_counter()
        call()
        first[name] = time.perf_counter() - began
    for _ in range(args.rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(args.calls):
                call()
            seconds = time.perf_counter() - began
            rates[name].append(args.calls * num_items / seconds)
    return {
        name: {"per_s": statistics.median(rates[name]), "first_s": first[name]}
        for name in calls
    }


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


def report(work: str, contest, figures: dict, peak: float) -> None:
    """Prints the table of one kind of work."""
    ours, *others = figures
    known = math.isfinite(contest.flops)
    flops = contest.flops / contest.num_items
    print(f"\n{work}" + f", {flops / 1e6:.0f} MFLOP an image" * known + "\n")
    print(f"| | {contest.items}/s | GFLOP/s | of the peak | jdiff is | first call |")
    print("| --- " * 6 + "|")
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
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(works), figsize=(13, 2.2), layout="constrained")
    for axis, (work, figures) in zip(axes, works.items(), strict=True):
        rates = [row["per_s"] for row in figures.values()]
        colours = ["tab:red", *["0.7"] * (len(rates) - 1)]
        axis.barh(list(figures), rates, color=colours)
        axis.set(title=work, xlabel="per second")
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    with jdiff.storage.atomic_write(path) as draft:
        figure.savefig(draft, format="png", dpi=120)


def main() -> None:
    args = parse_args()
    if args.out:
        jdiff.storage.check_output(args.out, ".json")
    model = jdiff.load_model("unet")
    peak = peak_gflops(args)
    print(f"product of matrices: {peak:.0f} GFLOP/s")
    contests = {
        "training": lambda: contenders.unet_training(args, model),
        "denoising": lambda: contenders.unet_denoising(args, model),
        "linear fit": lambda: contenders.linear_fit(args),
        "2-D training": lambda: contenders.points_training(args),
    }
    works = {}
    for work, prepare in contests.items():
        contest = prepare()
        works[work] = measure(args, contest.calls, contest.num_items)
        report(work, contest, works[work], peak)
    seconds = start_up(args)
    print("\n" + ", ".join(f"{name}: {s:.2f} s" for name, s in seconds.items()))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if args.out:
        figures = {"peak_gflops": peak, "start_up_s": seconds, "memory_gb": memory}
        with jdiff.storage.atomic_write(args.out) as draft:
            draft.write_text(json.dumps(figures | works, indent=1))
        draw(args.out.with_suffix(".png"), works)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)
