"""Draws what a model of points in the plane has learned, from its weights.

    python scripts/draw_toy.py moons.safetensors --guidance 2 --steps 10 --gif moons.gif

The picture shows data, samples, their density, and the field of what the network
predicts, read as the score or, by --field, as any of the five predictions. --gif shows
how points flow from noise to data.

Guidance has one convention: 0 samples without labels, 1 with them, more is guided.
"""

import argparse
import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import jdiff

SCHEDULES = ("cosine", "linear", "quadratic", "sigmoid", "flow")
LEVELS = {"sinusoidal": jdiff.networks.sinusoidal, "raw": jdiff.networks.raw_level}
SOLVERS = {
    "ddpm": jdiff.ddpm,
    "ddim": jdiff.ddim,
    "heun": jdiff.heun,
    "dpmpp_2m": jdiff.dpmpp_2m,
    "unipc": jdiff.unipc,
}
SHOWN = 4000  # points of a scatter plot
PIXELS = 240  # of the animation, along one side


class PointModel(NamedTuple):
    """A model of points: what a sampler needs, and the scale [2] of the points."""

    apply: Any
    params: Any
    schedule: jdiff.Schedule
    prediction: jdiff.Prediction
    num_classes: int
    scale: np.ndarray


def add_sampling_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--guidance", type=float, default=1.0, help="0: without labels, 1: with them")
    add("--solver", default="dpmpp_2m", choices=SOLVERS)
    add("--steps", type=int, default=20, help="of the solver, at most T")
    add("--clip", type=float, help="bound of x_0 while sampling, in scaled units")
    add("--num-samples", type=int, default=10_000)
    add(
        "--field",
        default="score",
        choices=jdiff.models.PREDICTIONS,
        help="of the arrows",
    )
    add("--seed", type=int, default=0)
    add("--gif", type=Path, help="FILE.gif, an animation")


def check_sampling(args: argparse.Namespace, num_steps: int) -> None:
    """Raises a ValueError for options that a schedule of T = num_steps cannot serve."""
    for name in ("num_samples", "clip"):
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"{name} must be > 0, got {value}.")
    if not 1 <= args.steps <= num_steps:
        raise ValueError(
            f"steps must be in [1, {num_steps}], the T of the schedule, "
            f"got {args.steps}."
        )
    if args.seed < 0 or not math.isfinite(args.guidance):
        got = f"{args.seed} and {args.guidance}"
        raise ValueError(f"seed must be >= 0 and guidance a number, got {got}.")
    if args.gif:
        jdiff.storage.check_output(args.gif, ".gif")


def make_network(facts: dict[str, Any]):
    """Returns the network of a description: (init, apply)."""
    sizes = (facts[f"num_{name}"] for name in ("classes", "features", "layers"))
    return jdiff.networks.make_mlp(*sizes, embed_level=LEVELS[facts["level"]])


def build_model(facts: dict[str, Any], params: Any) -> PointModel:
    """Returns the model that a description and its weights stand for."""
    has_betas = facts["schedule"] not in ("cosine", "flow")
    betas = {"beta_T": facts["beta_end"]} if has_betas else {}
    return PointModel(
        make_network(facts).apply,
        params,
        jdiff.models.SCHEDULES[facts["schedule"]](facts["num_steps"], **betas),
        jdiff.models.PREDICTIONS[facts["predict"]],
        facts["num_classes"],
        np.asarray(facts["scale"], np.float32),
    )


def load_model(path: str) -> tuple[PointModel, dict[str, Any]]:
    """Returns (model, description) of a file that train_toy.py wrote."""
    params, facts = jdiff.storage.load_weights(path)
    if facts.get("model") != "points":
        raise ValueError(f"weights must be those of train_toy.py, got {path}.")
    return build_model(facts, params), facts


def make_denoise(model: PointModel, label, guidance: float, clip: float | None = None):
    """Returns the denoiser of a label; guidance 0 does without it."""
    facts = model.apply, model.params, model.schedule, model.prediction
    anywhere = jdiff.make_denoiser(*facts, model.num_classes, clip=None)
    there = jdiff.make_denoiser(*facts, label, clip=None)
    # At the ends one call of the network is enough.
    ends = {0.0: anywhere, 1.0: there}
    denoise = ends.get(guidance) or jdiff.guide(there, anywhere, guidance)
    return denoise if clip is None else jdiff.clip_x_0(denoise, clip)


def draw(model: PointModel, labels, solver, times, guidance, seed, clip=None):
    """Returns paths of points from noise to data, float32[N, len(times), 2]."""
    keys = jax.random.split(jax.random.key(seed), len(labels))
    traced = model.params, model.schedule, jnp.asarray(times), keys, jnp.asarray(labels)
    fixed = model._replace(params=None, schedule=None, scale=None)
    return np.asarray(_paths(*traced, fixed, solver, guidance, clip)) * model.scale


# Weights and schedule are arguments, so that another model does not compile again.
@functools.partial(jax.jit, static_argnums=(5, 6, 7, 8))
def _paths(params, schedule, times, keys, labels, fixed, solver, guidance, clip):
    model = fixed._replace(params=params, schedule=schedule)

    def path(key, label):
        denoise = make_denoise(model, label, guidance, clip)
        return jdiff.sample(key, denoise, solver(schedule), times, (2,)).path

    return jax.vmap(path)(keys, labels)


def field(model: PointModel, places: np.ndarray, wanted, t: int) -> np.ndarray:
    """Returns what the network says at places of x_t, read as a wanted prediction.

    Without a label; places and arrows are in the units of x_t, which are scaled.
    """
    level = jdiff.log_snr(model.schedule, t)

    def arrow(x_t):
        label = jnp.array([model.num_classes])
        output = model.apply(model.params, x_t[None], level[None], label)[0]
        facts = model.schedule, model.prediction, wanted
        return jdiff.convert_prediction(*facts, x_t, output, t)

    return np.asarray(jax.jit(jax.vmap(arrow))(jnp.asarray(places, jnp.float32)))


def limits(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the corners of a frame around points, with a margin."""
    low, high = np.quantile(points, [0.002, 0.998], axis=0)
    margin = 0.15 * (high - low) + 1e-6
    return low - margin, high + margin


def save_picture(path: Path, model: PointModel, data, samples, args) -> None:
    """Writes data beside samples, their density, and the field of arrows."""
    low, high = limits(data.points)
    figure = Figure(figsize=(15, 4), layout="constrained")
    axes = figure.subplots(1, 4)
    shown = slice(SHOWN)
    for ax, (x, labels), title in (
        (axes[0], data, "data"),
        (axes[1], samples, f"samples, {args.solver}, {args.steps} steps"),
    ):
        ax.scatter(*x[shown].T, s=1, c=labels[shown], cmap="turbo", rasterized=True)
        ax.set_title(title)
    axes[2].hist2d(*samples.points.T, bins=100, range=list(zip(low, high, strict=True)))
    axes[2].set_title("density of the samples")
    # The level at which noise has a third of the size of the data.
    level = np.asarray(model.schedule.sigma / np.maximum(model.schedule.alpha, 1e-9))
    t = max(int(np.searchsorted(level, 1 / 3)), 1)
    ticks = (np.linspace(a, b, 20) for a, b in zip(low, high, strict=True))
    places = np.stack(np.meshgrid(*ticks), -1).reshape(-1, 2)
    scaled = places / model.scale * np.asarray(model.schedule.alpha)[t]
    arrows = field(model, scaled, jdiff.models.PREDICTIONS[args.field], t) * model.scale
    axes[3].quiver(*places.T, *arrows.T, np.hypot(*arrows.T), cmap="viridis")
    axes[3].set_title(f"{args.field} at t = {t}")
    for ax in axes:
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    with jdiff.storage.atomic_write(path) as draft:
        figure.savefig(draft, dpi=100)


def save_animation(path: Path, paths: np.ndarray, times: np.ndarray) -> None:
    """Writes the points at each step as ink on paper, with the step below."""
    low, high = limits(np.concatenate([paths[:, 0], paths[:, -1]]))
    frames = []
    for x in paths.swapaxes(0, 1):
        pixel = np.floor((x - low) / (high - low) * PIXELS).astype(int)
        inside = pixel[((pixel >= 0) & (pixel < PIXELS)).all(1)]
        counts = np.zeros((PIXELS, PIXELS))
        np.add.at(counts, (PIXELS - 1 - inside[:, 1], inside[:, 0]), 1)
        ink = 255 * (1 - np.exp(-counts * PIXELS**2 / 20 / len(paths)))
        frames.append(jdiff.images.on_paper(ink.astype(np.uint8)))
    jdiff.handwriting.save_gif(path, np.stack(frames), [int(t) for t in times])


def show(path: Path, model: PointModel, data, args) -> None:
    """Draws samples from a model and writes its picture, and its animation if asked."""
    # Labels as often as in the data; all are null where no point has another.
    labels = data.labels[data.labels < model.num_classes]
    labels = labels if len(labels) else data.labels
    labels = np.random.default_rng(args.seed).choice(labels, args.num_samples)
    times = jdiff.timesteps(model.schedule, args.steps)
    solver = SOLVERS[args.solver]
    facts = labels, solver, times, args.guidance, args.seed, args.clip
    paths = draw(model, *facts)
    if not np.isfinite(paths).all():
        raise ValueError("samples must be finite, got NaN or infinity: try --clip 4.")
    samples = jdiff.data.Points(paths[:, -1], labels)
    save_picture(path, model, data, samples, args)
    if args.gif:
        save_animation(args.gif, paths, times)


def run(args: argparse.Namespace) -> None:
    path = jdiff.storage.check_output(
        args.out or args.weights.with_suffix(".png"), ".png"
    )
    model, facts = load_model(args.weights)
    check_sampling(args, facts["num_steps"])
    num = max(args.num_samples, 2)
    data, _ = jdiff.data.load_points(facts["data"], num, args.seed + 1)
    show(path, model, data, args)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="draw_toy.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("weights", type=Path, help="FILE.safetensors of train_toy.py")
    add_sampling_options(parser)
    parser.add_argument("--out", type=Path, help="FILE.png; beside the weights if not")
    try:
        run(parser.parse_args(argv))
    except (ValueError, OSError) as error:
        print(f"draw_toy.py: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
