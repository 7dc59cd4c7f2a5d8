"""Distils a trained network, guidance included: it draws in one or two steps.

    python scripts/distill.py --out runs/distilled
    jdiff write "hello" --steps 2 --weights runs/distilled/weights.safetensors
    python scripts/distill.py --weights unet --minutes 40 --paths 8 --updates 64 \\
        --batch-size 64 --delta 0.2 --out runs/unet

The teacher draws whole paths from noise to letters; the student, which begins as a copy
of it, learns to see the end of a path from anywhere on it (`make_consistency_loss`).
Of a latent model it is the paths of latents. Rounds of drawing and of learning take
turns. The folder holds weights.safetensors, the moving average, log.jsonl, and
checkpoints; `--resume` goes on after Ctrl-C or worse.
"""

import argparse
import functools
import json
import math
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

import jdiff
from jdiff import runs

FIRST_ROUNDS = 4  # of drawing alone, so that learning does not begin on few paths
MOST_ROUNDS = 64  # whose paths are kept: half a gigabyte
STYLE_DROPOUT = 0.2  # of a number of a style, and of all four


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--weights", default="latent", help="of the teacher: that ships, or a file")
    add("--out", type=Path, default=Path("runs/distilled"), help="folder of the run")
    add("--minutes", type=float, default=9.0, help="the whole budget of the run")
    add("--rounds", type=int, help="a number of rounds instead of a budget")
    add("--steps", type=int, default=10, help="of the teacher's solver, 2 .. T")
    add("--guidance", type=float, help="of the teacher; by default that of jdiff write")
    add("--paths", type=int, default=64, help="of each character in a round")
    add("--updates", type=int, default=256, help="of the student in a round")
    add("--batch-size", type=int, default=512)
    add("--learning-rate", type=float, default=1e-3, help="at its highest")
    add("--ema-decay", type=float, default=0.999)
    add("--delta", type=float, default=1.0, help="of the Huber loss; 0.2 for pixels")
    add("--seed", type=int, default=0)
    add("--resume", action="store_true", help="go on from the last checkpoint")
    args = parser.parse_args()
    positive = "minutes rounds paths updates batch_size learning_rate"
    for name in positive.split():
        value = getattr(args, name)
        if value is not None and not 0 < value < math.inf:
            parser.error(f"{name} must be > 0, got {value}.")
    if not 0.0 < args.delta <= 2.0:
        parser.error(f"delta must be in (0, 2], got {args.delta}.")
    if (args.out / "checkpoints").exists() != args.resume:
        parser.error(
            f"no run to resume in {args.out}."
            if args.resume
            else f"{args.out} holds a run: add --resume or choose another --out."
        )
    return args


def draw_paths(args, teacher: jdiff.models.Model, number: int) -> jdiff.Batch:
    """Returns the paths of one round, float16[N, steps + 1, ...], and their labels."""
    labels = np.tile(np.arange(len(teacher.classes)), args.paths)
    key = jax.random.fold_in(jax.random.key(args.seed), number)
    style = draw_styles(args, len(labels), number) if teacher.has_style else None
    batches = jdiff.generate(
        key,
        teacher,
        labels,
        args.steps,
        args.guidance,
        style=style,
        decode=False,
    )
    # Halves: a path of ten steps takes 17 kB, and there are tens of thousands.
    paths = [batch.path.astype(np.float16) for batch in batches]
    condition = jdiff.models.make_condition(teacher, labels, style)
    return jdiff.Batch(np.concatenate(paths), condition)


def draw_styles(args, num: int, number: int) -> np.ndarray:
    """Returns styles float32[num, 4], some of whose numbers are not given."""
    random = np.random.default_rng([args.seed, number])
    styles = random.standard_normal((num, len(jdiff.handwriting.STYLES)))
    bound = jdiff.handwriting.MAX_STYLE
    return jdiff.handwriting.mask_style(
        random, styles.clip(-bound, bound), STYLE_DROPOUT
    )


def make_step(args, student: jdiff.models.Model, optimizer):
    """Returns the compiled step: (state, progress in [0, 1], batch) -> (state, ...)."""
    loss_fn = jdiff.extensions.make_consistency_loss(
        student.apply,
        student.schedule,
        student.prediction,
        jdiff.karras_timesteps(student.schedule, args.steps),
        functools.partial(jdiff.huber_loss, delta=args.delta),
    )
    train_step = jdiff.make_train_step(loss_fn, optimizer, args.ema_decay)

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, progress, batch):
        state = runs.set_learning_rate(state, args.learning_rate, progress)
        return train_step(state, batch._replace(x=batch.x.astype(jnp.float32)))

    return step


def learn(args, step, state, progress, rounds):
    """Returns the state after one round's updates, and their mean metrics."""
    random = np.random.default_rng([args.seed, int(state.step)])
    paths = jax.tree.map(lambda *leaves: np.concatenate(leaves), *rounds)
    history = []
    for _ in range(args.updates):
        rows = random.integers(len(paths.x), size=args.batch_size)
        batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], paths)
        state, metrics = step(state, np.float32(progress), batch)
        history.append(metrics)
    return state, {k: float(np.mean([m[k] for m in history])) for k in history[0]}


def save(args, state, description, facts) -> None:
    """Writes the checkpoint and the weights."""
    facts = facts | {"description": description}
    jdiff.storage.save_checkpoint(
        args.out / "checkpoints", int(state.step), state, facts
    )
    jdiff.storage.save_weights(
        args.out / "weights.safetensors", state.ema_params, description
    )


def distil(args, teacher, description, state, facts, step) -> None:
    """The loop: draw paths, learn from all there are, save."""
    began = time.monotonic() - facts["seconds"]
    number, rounds = facts["round"], []
    with tqdm(total=1.0, bar_format="{percentage:3.0f}%|{bar}| {postfix}") as bar:
        while True:
            seconds = time.monotonic() - began
            share = seconds / 60 / args.minutes
            progress = number / args.rounds if args.rounds else share
            if progress >= 1.0:
                break
            # A run that is resumed has no paths yet, as one that begins.
            for _ in range(1 if rounds else FIRST_ROUNDS):
                rounds.append(draw_paths(args, teacher, number))
                number += 1
            rounds = rounds[-MOST_ROUNDS:]
            state, metrics = learn(args, step, state, progress, rounds)
            if not math.isfinite(metrics["loss"]):
                raise ValueError(f"the loss must be finite, got {metrics['loss']}.")
            save(args, state, description, {"seconds": seconds, "round": number})
            line = {"step": int(state.step), "round": number} | metrics
            with open(args.out / "log.jsonl", "a") as log:
                log.write(json.dumps(line) + "\n")
            bar.update(min(progress, 1.0) - bar.n)
            bar.set_postfix_str(
                "one step {one_step:.4f}, all {loss:.4f}".format(**line)
            )


def main() -> None:
    args = parse_args()
    teacher = jdiff.load_model(args.weights)
    if teacher.distilled or not teacher.has_null:
        raise ValueError(f"weights must be of a network, got {args.weights}.")
    path = jdiff.models.SHIPPED.get(args.weights, args.weights)
    _, description = jdiff.storage.load_weights(path)
    description |= {"distilled": True}
    optimizer = runs.make_optimizer(args.learning_rate)
    key = jax.random.key(args.seed)
    state = jdiff.init_train_state(
        key, jax.tree.map(jnp.asarray, teacher.params), optimizer
    )
    step = make_step(args, teacher, optimizer)
    # If paths cannot be drawn, it says so now, before there is a folder.
    jdiff.generate(key, teacher, [0], args.steps, args.guidance)
    facts = {"seconds": 0.0, "round": 0}
    if args.resume:
        state, facts = jdiff.storage.restore_checkpoint(args.out / "checkpoints", state)
    args.out.mkdir(parents=True, exist_ok=True)
    distil(args, teacher, description, state, facts, step)


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
