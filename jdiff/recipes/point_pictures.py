"""Pictures of what a model of points in the plane has learned.

Data, samples, their density, and the field of what the network predicts, read as the
score or, by --field, as any of the five predictions. --gif shows how points flow from
noise to data.
"""

import argparse
from pathlib import Path

import numpy as np

from jdiff import data, models, schedules, solvers, storage
from jdiff.recipes import options, point_models
from jdiff.recipes.point_models import PointModel

SOLVERS = ["ddpm", "ddim", "heun", "dpmpp_2m", "unipc"]
SHOWN = 4000  # points of a scatter plot


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of drawing."""
    add = parser.add_argument
    add("--guidance", type=float, default=1.0, help="0: without labels, 1: with them")
    add("--solver", default="dpmpp_2m", choices=SOLVERS)
    add("--steps", type=int, default=20, help="of the solver, at most T")
    add("--clip", type=float, help="bound of x_0 while sampling, in scaled units")
    add("--num-samples", type=int, default=10_000)
    add("--field", default="score", choices=models.PREDICTIONS, help="of the arrows")
    add("--seed", type=int, default=0)
    add("--gif", type=Path, help="FILE.gif, an animation")


def check(args: argparse.Namespace, num_steps: int) -> None:
    """Raises a ValueError for options that a schedule of T = num_steps cannot serve."""
    options.check_numbers(args, "num_samples", "clip")
    if not 1 <= args.steps <= num_steps:
        wanted = f"[1, {num_steps}], the T of the schedule"
        raise ValueError(f"steps must be in {wanted}, got {args.steps}.")
    if args.gif:
        storage.check_output(args.gif, ".gif")


def limits(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the corners of a frame around points, with a margin."""
    low, high = np.quantile(points, [0.002, 0.998], axis=0)
    margin = 0.15 * (high - low) + 1e-6
    return low - margin, high + margin


def save_picture(
    path: Path,
    model: PointModel,
    points: data.Points,
    samples: data.Points,
    args: argparse.Namespace,
) -> None:
    """Writes data beside samples, their density, and the field of arrows."""
    from matplotlib.figure import Figure  # here, because help texts need none

    low, high = limits(points.points)
    figure = Figure(figsize=(15, 4), layout="constrained")
    axes = figure.subplots(1, 4)
    shown = slice(SHOWN)
    for ax, (x, labels), title in (
        (axes[0], points, "data"),
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
    wanted = models.PREDICTIONS[args.field]
    arrows = point_models.field(model, scaled, wanted, t) * model.scale
    axes[3].quiver(*places.T, *arrows.T, np.hypot(*arrows.T), cmap="viridis")
    axes[3].set_title(f"{args.field} at t = {t}")
    for ax in axes:
        ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    with storage.atomic_write(path) as draft:
        figure.savefig(draft, dpi=100)


def save_animation(
    path: Path, paths: np.ndarray, labels: np.ndarray, times: np.ndarray
) -> None:
    """Writes the points at each step, in colours of their labels."""
    from jdiff import plots  # here, because help texts need no matplotlib

    low, high = limits(np.concatenate([paths[:, 0], paths[:, -1]]))
    box, colours = (low[0], high[0], low[1], high[1]), labels % len(plots.COLORS)
    with storage.atomic_write(path) as draft:
        draft.write_bytes(plots.make_points_gif(paths, colours, times.tolist(), box))


def show(
    path: Path, model: PointModel, points: data.Points, args: argparse.Namespace
) -> None:
    """Draws samples from a model and writes its picture, and its animation if asked."""
    # Labels as often as in the data; all are null where no point has another.
    labels = points.labels[points.labels < model.num_classes]
    labels = labels if len(labels) else points.labels
    labels = np.random.default_rng(args.seed).choice(labels, args.num_samples)
    times = schedules.timesteps(model.schedule, args.steps)
    solver = getattr(solvers, args.solver)
    paths = point_models.draw(
        model, labels, solver, times, args.guidance, args.seed, args.clip
    )
    if not np.isfinite(paths).all():
        raise ValueError("samples must be finite, got NaN or infinity: try --clip 4.")
    samples = data.Points(paths[:, -1], labels)
    save_picture(path, model, points, samples, args)
    if args.gif:
        save_animation(args.gif, paths, labels, times)
