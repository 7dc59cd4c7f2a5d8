"""Distils a trained network, guidance included: the student draws in one or two steps.

    jdiff train distill --out runs/distilled
    jdiff write "hello" --steps 2 --weights runs/distilled
    jdiff train distill --weights unet --minutes 40 --paths 8 --updates 64 \\
        --batch-size 64 --delta 0.2 --out runs/unet_distilled

The teacher draws whole paths from noise to letters; the student, which begins as a copy
of it, learns to see the end of a path from anywhere on it (`make_consistency_loss`).
The paths of a latent model are those of latents. Rounds of drawing and of learning
alternate.
"""

import argparse
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import (
    extensions,
    handwriting,
    losses,
    models,
    runs,
    schedules,
    storage,
    training,
)
from jdiff.recipes import options, pictures

FIRST_ROUNDS = 4  # of drawing alone, so that learning does not begin on few paths
MOST_ROUNDS = 64  # whose paths are kept: half a gigabyte
STYLE_DROPOUT = 0.2  # of a number of a style, and of all four


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this recipe."""
    add = parser.add_argument
    add("--weights", default="latent", help="of the teacher: that ships, or a file")
    add("--teacher-steps", type=int, default=10, help="of the teacher's solver, 2 .. T")
    add("--guidance", type=float, help="of the teacher; by default that of jdiff write")
    add("--paths", type=int, default=64, help="of each character in a round")
    add("--updates", type=int, default=256, help="of the student in a round")
    add("--delta", type=float, default=1.0, help="of the Huber loss; 0.2 for pixels")
    options.add_run_options(parser, "runs/distilled", 512, 1e-3)


def check(args: argparse.Namespace) -> argparse.Namespace:
    """Returns the arguments of a run; raises a ValueError, see `options.check_run`."""
    args = options.check_run(args, 9.0, "paths", "updates")
    if not 0.0 < args.delta <= 2.0:
        raise ValueError(f"delta must be in (0, 2], got {args.delta}.")
    return args


def run(args: argparse.Namespace) -> None:
    """Trains the student."""
    args = check(args)
    budget = options.start_budget(args)
    teacher = models.load_model(args.weights)
    if teacher.distilled or not teacher.has_null:
        raise ValueError(f"weights must be of a network, got {args.weights}.")
    path = models.SHIPPED.get(args.weights, args.weights)
    description = storage.load_weights(path)[1] | {"distilled": True}
    optimizer = runs.make_optimizer(args.learning_rate)
    key = jax.random.key(args.seed)
    params = jax.tree.map(jnp.asarray, teacher.params)
    state = training.init_train_state(key, params, optimizer)
    loss_fn = make_loss(args, teacher)
    train_step = training.make_train_step(loss_fn, optimizer, args.ema_decay)
    # If paths cannot be drawn, it says so now, before there is a folder.
    models.generate(key, teacher, [0], args.teacher_steps, args.guidance)
    state, progress = runs.restore(args.out, state)
    feed = make_feed(args, teacher, int(state.step), progress.position or 0)
    options.save_arguments(args)
    student = models.build_model(description, teacher.params)
    step = runs.compile_step(train_step, args.learning_rate)
    result = pictures.result_of(student, description)
    runs.run(args.out, state, step, feed, budget, progress, result)


def make_loss(args: argparse.Namespace, teacher: models.Model) -> training.LossFn:
    """Returns the consistency loss of paths in float16."""
    consistency_loss = extensions.make_consistency_loss(
        teacher.apply,
        teacher.schedule,
        teacher.prediction,
        schedules.karras_timesteps(teacher.schedule, args.teacher_steps),
        functools.partial(losses.huber_loss, delta=args.delta),
    )

    def loss_fn(params, key, batch):
        batch = batch._replace(x=batch.x.astype(jnp.float32))
        return consistency_loss(params, key, batch)

    return loss_fn


def make_feed(
    args: argparse.Namespace, teacher: models.Model, done: int, drawn: int
) -> runs.Feed:
    """Returns the feed of paths, whose position is the number of rounds drawn.

    Args:
        args: of the run.
        teacher: draws the paths.
        done: number of steps done.
        drawn: number of rounds drawn.
    """

    def batches() -> Iterator[training.Batch]:
        nonlocal done, drawn
        rounds: list[training.Batch] = []
        while True:
            # A run that is resumed has no paths yet, as one that begins.
            for _ in range(1 if rounds else FIRST_ROUNDS):
                rounds.append(draw_paths(args, teacher, drawn))
                drawn += 1
            rounds = rounds[-MOST_ROUNDS:]
            paths = jax.tree.map(lambda *leaves: np.concatenate(leaves), *rounds)
            random = np.random.default_rng([args.seed, done])
            for _ in range(args.updates):
                rows = random.integers(len(paths.x), size=args.batch_size)
                yield jax.tree.map(lambda leaf, rows=rows: leaf[rows], paths)
            done += args.updates

    return runs.Feed(functools.partial(next, batches()), args.batch_size, lambda: drawn)


def draw_paths(
    args: argparse.Namespace, teacher: models.Model, number: int
) -> training.Batch:
    """Returns the paths of one round, float16[N, steps + 1, ...], and their labels."""
    labels = np.tile(np.arange(len(teacher.classes)), args.paths)
    key = jax.random.fold_in(jax.random.key(args.seed), number)
    style = draw_styles(args, len(labels), number) if teacher.has_style else None
    batches = models.generate(
        key,
        teacher,
        labels,
        args.teacher_steps,
        args.guidance,
        style=style,
        decode=False,
    )
    # Halves: a path of ten steps takes 17 kB, and there are tens of thousands.
    paths = [np.asarray(batch.path).astype(np.float16) for batch in batches]
    condition = models.make_condition(teacher, labels, style)
    joined: Any = np.concatenate(paths)
    return training.Batch(joined, condition)


def draw_styles(args: argparse.Namespace, num: int, number: int) -> np.ndarray:
    """Returns styles float32[num, 4], some of whose numbers are not given."""
    random = np.random.default_rng([args.seed, number])
    styles = random.standard_normal((num, len(handwriting.STYLES)))
    bound = handwriting.MAX_STYLE
    return handwriting.mask_style(random, styles.clip(-bound, bound), STYLE_DROPOUT)
