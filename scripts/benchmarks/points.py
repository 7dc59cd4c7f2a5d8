"""Prints how well diffusion learns points in the plane.

    python scripts/benchmarks/points.py --out points.json

Each density is trained without labels by `jdiff train points` with its defaults, for
each seed; other options, as --epochs 200, go on to it. `200 steps` (DDPM) and `20
steps` (UniPC) are sliced Wasserstein distances of samples and fresh points, divided by
that of two fresh sets (mean of 10 pairs): 1 is as good as data. Then, on the grid of
Gaussians, what the likelihood of the probability flow lacks; and the fraction of the
points asked for with a label that lie within four standard deviations of the structure
asked for.
"""

import argparse
import math
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from command import check_json, check_positive, header, make_parser, run, save_json

import jdiff
from jdiff.recipes import point_models
from jdiff.recipes import points as recipe

FRESH = 10_000  # the first of the seeds of fresh points: none was trained on
PAIRS = 10
GUIDANCE = (1.0, 2.0)


def train(name: str, seed: int, args: argparse.Namespace, *more: str):
    """Returns (model, seconds of training) by `jdiff train points`."""
    argv = ("--data", name, "--seed", str(seed), *args.options, *more)
    parser = argparse.ArgumentParser(allow_abbrev=False)
    recipe.add_options(parser)
    began, options = time.monotonic(), recipe.check(parser.parse_args(argv))
    data, num_classes = jdiff.data.load_points(name, options.num_points, seed)
    model = recipe.train(options, recipe.begin(options, data, num_classes))
    return model, time.monotonic() - began


def sample(model, args, seed, num_steps, solver, labels=None, guidance=0.0):
    """Returns points float32[N, 2]."""
    times = jdiff.timesteps(model.schedule, num_steps)
    if labels is None:
        labels = np.full(args.num_samples, model.num_classes)
    return point_models.draw(model, labels, solver, times, guidance, seed)[:, -1]


def distances(name: str, model, args, seed: int) -> dict[str, float]:
    """Returns sliced Wasserstein distances, divided by that of two fresh sets."""
    draw = jdiff.data.points.DENSITIES[name].draw
    seeds = range(FRESH + 2 * PAIRS * seed, FRESH + 2 * PAIRS * (seed + 1))
    fresh = [draw(args.num_samples, k).points for k in seeds]
    pairs = zip(fresh[::2], fresh[1::2], strict=True)
    floor = np.mean([jdiff.evaluation.sliced_wasserstein(x, y) for x, y in pairs])
    figures = {}
    for num_steps, solver in ((200, jdiff.ddpm), (20, jdiff.unipc)):
        points = sample(model, args, seed, num_steps, solver)
        far = [jdiff.evaluation.sliced_wasserstein(points, x) for x in fresh[:PAIRS]]
        figures[f"{num_steps} steps"] = float(np.mean(far) / floor)
    return figures


def missing_nats(model, args, seed: int) -> dict[str, float]:
    """Returns how many nats a point the likelihood of the model lacks."""
    points = jdiff.data.points.gaussian_grid(args.num_density, FRESH + seed).points
    denoise = point_models.make_denoise(model, model.num_classes, 0.0)
    times = jdiff.timesteps(model.schedule, len(model.schedule.alpha) - 1)
    key = jax.random.key(0)  # not used: the trace is exact

    @jax.jit
    @jax.vmap
    def flow(x_0):
        facts = key, denoise, model.schedule, x_0, times
        return jdiff.likelihood.flow_bits(*facts, trace=jdiff.likelihood.exact_trace)

    bits = jdiff.likelihood.mean_bits(
        flow(jnp.asarray(points / model.scale)), tolerance=0.05
    )
    nats = 2 * math.log(2) * bits.bits + np.log(model.scale).sum()
    truth = -jdiff.data.points.gaussian_grid_log_density(points).mean()
    error = 2 * math.log(2) * bits.integration_error
    return {"truth": float(truth), "missing": float(nats - truth), "half": error}


def fractions(model, args, seed: int) -> dict[str, float]:
    """Returns the fraction of points on their structure, at scales of guidance."""
    labels = np.arange(args.num_samples) % 4
    figures = {}
    for guidance in GUIDANCE:
        points = sample(model, args, seed, 20, jdiff.unipc, labels, guidance)
        found, distance = jdiff.data.points.nearest_structure(points)
        near = distance <= 4 * jdiff.data.points.NOISE
        figures[f"guidance {guidance:g}"] = float(np.mean(near & (found == labels)))
    return figures


def mean(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def table(args: argparse.Namespace) -> dict:
    """Prints the table, row by row, and returns the figures of each seed."""
    print(header("density", "training, s", "200 steps", "20 steps"))
    rows, nats, asked = {}, [], []
    for name in args.densities:
        rows[name] = []
        for seed in range(args.seeds):
            free = ("--label-dropout", "1", "--guidance", "0")
            model, seconds = train(name, seed, args, *free)
            row = {"seconds": seconds} | distances(name, model, args, seed)
            rows[name].append(row)
            if name == "gaussian_grid":
                nats.append(missing_nats(model, args, seed))
            if name == "moons_and_circles":
                model, _ = train(name, seed, args)
                asked.append(fractions(model, args, seed))
        seconds, *ratios = mean(rows[name]).values()
        cells = " | ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"| {name} | {seconds:.0f} | {cells} |", flush=True)
    if nats:
        figures = mean(nats)
        print(
            f"\ngaussian_grid: {figures['truth']:.3f} nats in truth, "
            f"{figures['missing']:+.3f} by the model ({figures['half']:.3f} with half "
            "the steps of the flow)."
        )
    if asked:
        cells = (
            f"{name}: {100 * fraction:.2f}%" for name, fraction in mean(asked).items()
        )
        print(f"\nmoons_and_circles, on the structure asked for: {', '.join(cells)}.")
    return {"distances": rows, "nats": nats, "fractions": asked}


def main(argv=None) -> None:
    parser = make_parser(__doc__)
    parser.allow_abbrev = False  # all else is for the training
    known = list(jdiff.data.DENSITIES)
    add = parser.add_argument
    add("--densities", nargs="+", default=known, choices=known, metavar="NAME")
    add("--seeds", type=int, default=3)
    add("--num-samples", type=int, default=10_000)
    add("--num-density", type=int, default=2_000, help="points of the likelihood")
    add("--out", type=Path, help="FILE.json, the figures of each seed")
    args, args.options = parser.parse_known_args(argv)
    check_positive(args, "seeds", "num_samples", "num_density")
    check_json(args.out)
    save_json(args.out, table(args))


if __name__ == "__main__":
    run(main)
