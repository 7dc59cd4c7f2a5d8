"""Distils a trained network, guidance included: the student draws in one or two steps.

    jdiff train distill --out runs/distilled
    jdiff write "hello" --steps 2 --weights runs/distilled
    jdiff train distill --weights pen --out runs/pen_distilled
    jdiff train distill --weights unet --minutes 40 --paths 8 --updates 64 \\
        --batch-size 64 --delta 0.2 --out runs/unet_distilled

The teacher draws whole paths from noise to letters; the student, which begins as a copy
of it, learns to see the end of a path from anywhere on it (`make_consistency_loss`).
The paths of a latent model are those of latents, those of a model of pen strokes are
strokes in all hands; its weights file keeps both networks. Rounds of drawing and of
learning alternate.
"""

import argparse
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import (
    extensions,
    handwriting,
    losses,
    models,
    networks,
    runs,
    schedules,
    storage,
    training,
)
from jdiff.recipes import options, pictures
from jdiff.sampling import Sample

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


class Teacher(NamedTuple):
    """What is distilled: of a model of images, or of pen strokes."""

    model: models.Model | models.PenModel  # that draws paths
    params: Any  # of the network, which the student begins with
    # Of a round, the paths float16[N, steps + 1, ...] and their labels.
    draw: Callable[[int], training.Batch]
    result: runs.Result


def run(args: argparse.Namespace) -> None:
    """Trains the student."""
    args = options.check_run(args, 9.0, "paths", "updates")
    if not 0.0 < args.delta <= 2.0:
        raise ValueError(f"delta must be in (0, 2], got {args.delta}.")
    budget = options.start_budget(args)
    pen = models.find_pen(args.weights)
    teacher = teach_images(args) if pen is None else teach_strokes(args, pen)
    optimizer = runs.make_optimizer(args.learning_rate)
    key = jax.random.key(args.seed)
    params = jax.tree.map(jnp.asarray, teacher.params)
    state = training.init_train_state(key, params, optimizer)
    loss_fn = make_loss(args, teacher.model)
    train_step = training.make_train_step(loss_fn, optimizer, args.ema_decay)
    state, progress = runs.restore(args.out, state)
    feed = make_feed(args, teacher.draw, int(state.step), progress.position or 0)
    options.save_arguments(args)
    step = runs.compile_step(train_step, args.learning_rate)
    runs.run(args.out, state, step, feed, budget, progress, teacher.result)


def teach_images(args: argparse.Namespace) -> Teacher:
    """Returns the teacher of images; its description is the student's."""
    model = models.load_model(args.weights)
    if model.distilled or not model.has_null:
        raise ValueError(f"weights must be of a network, got {args.weights}.")
    path = models.SHIPPED.get(args.weights, args.weights)
    description = storage.load_weights(path)[1] | {"distilled": True}
    models.generate_batches(
        jax.random.key(0), model, [0], args.teacher_steps, args.guidance
    )
    student = models.build_model(description, model.params)
    draw = functools.partial(draw_paths, args, model)
    return Teacher(model, model.params, draw, pictures.result_of(student, description))


def teach_strokes(args: argparse.Namespace, model: models.PenModel) -> Teacher:
    """Returns the teacher of strokes; its file keeps it beside the student."""
    path = models.SHIPPED_PEN if args.weights == "pen" else args.weights
    path = storage.find_weights(path)
    params, description = storage.load_weights(path)
    return Teacher(
        model,
        models.take_network(model.params),
        functools.partial(draw_stroke_paths, args, model),
        runs.Result(description, functools.partial(models.add_few, params)),
    )


def make_loss(
    args: argparse.Namespace, teacher: models.Model | models.PenModel
) -> training.LossFn:
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
    args: argparse.Namespace,
    draw: Callable[[int], training.Batch],
    done: int,
    drawn: int,
) -> runs.Feed:
    """Returns the feed of paths, whose position is the number of rounds drawn."""

    def batches() -> Iterator[training.Batch]:
        nonlocal done, drawn
        rounds: list[training.Batch] = []
        while True:
            # A run that is resumed has no paths yet, as one that begins.
            for _ in range(1 if rounds else FIRST_ROUNDS):
                rounds.append(draw(drawn))
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
    """Returns the paths of one round."""
    labels = np.tile(np.arange(len(teacher.classes)), args.paths)
    key = jax.random.fold_in(jax.random.key(args.seed), number)
    style = None
    if teacher.has_style:
        random = np.random.default_rng([args.seed, number])
        bound = handwriting.MAX_STYLE
        style = random.standard_normal((len(labels), len(handwriting.STYLES)))
        style = handwriting.mask_style(random, style.clip(-bound, bound), STYLE_DROPOUT)
    steps = args.teacher_steps, args.guidance
    options: Any = {"with_path": True, "style": style, "decode": False}
    batches = models.generate_batches(key, teacher, labels, *steps, **options)
    return training.Batch(halve(batches), models.make_condition(teacher, labels, style))


def halve(batches: Iterator[Sample]) -> Any:
    """Returns paths in float16: one of ten steps takes 17 kB, and there are many."""
    return np.concatenate([np.asarray(b.path).astype(np.float16) for b in batches])


def draw_stroke_paths(
    args: argparse.Namespace, teacher: models.PenModel, number: int
) -> training.Batch:
    """Returns the paths of one round, in hands between any two writers."""
    labels = np.tile(np.arange(len(teacher.classes)), args.paths)
    random = np.random.default_rng([args.seed, number])
    pairs = random.integers(len(teacher.hands), size=(2, len(labels)))
    first, second = teacher.hands[pairs]
    neatness, fraction = random.uniform(size=(2, len(labels), 1))
    uneven = random.standard_normal((len(labels), models.NUM_QUALITIES - 1))
    code = first + fraction * (second - first)
    arrays = code, neatness[:, 0], (1.0 - neatness) * uneven
    hand = models.Hand(*(array.astype(np.float32) for array in arrays))
    batches = models.generate_strokes(
        jax.random.fold_in(jax.random.key(args.seed), number),
        teacher._replace(few=None),
        labels,
        hand,
        args.teacher_steps,
        args.guidance,
        num_draws=1,
        batch_size=512,
        with_path=True,
    )
    style = np.asarray(models.stroke_style(hand))
    condition: Any = networks.Condition(labels, style)  # type: ignore[arg-type]
    return training.Batch(halve(batches), condition)
