"""Pen strokes of a model beside those of people.

    python scripts/benchmarks/pen.py --data pen-train.npz --out pen.json

prints four tables and writes all figures. A hand of the model is one style seed; it
writes the characters that a real hand wrote. `jdiff train pen` learns nothing from the
30 hands of `jdiff.data.HELD_BACK`.

one hand    A verifier (verifier.py), trained on half of the real hands, tells pairs of
            sets of eight characters of one hand from pairs of two hands, of the other
            half and of the model. And how often a character lies nearer (Chamfer) to
            another of its hand than to one of another hand.
fidelity    Nearest-neighbour precision, recall, density and coverage, class by class,
            with held-back hands as the reference; the floor is other real hands. Copies
            lie nearer to training characters than held-back ones do.
speed       Characters a second, once compiled.
coding      What the array of 60 points changes, as Chamfer distance in heights of an x.
"""

import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from command import check_json, check_positive, header, make_parser, run, save_json
from verifier import (
    SET_SIZE,
    Characters,
    area_under_curve,
    distances,
    fit_verifier,
    rows_of_hands,
    select,
)

from jdiff import data, evaluation, handwriting, models

PAGE = 80  # characters of a hand that its seed writes, too
MIN_CHARS = 100  # of a hand, to ask about it
NUM_PAIRS = 20_000
PER_CLASS = (12, 40)  # characters of a class in the comparison: at least, at most
FAR = 30.0  # from class to class: more than any two characters are apart
NUM_TIMED = 2_000
LARGEST = 4.5  # coordinate of an array, else it is a faulty recording


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="FILE.npz of pen strokes")
    add("--weights", default="pen", help="a model of pen strokes")
    add("--neatness", type=float, nargs="+", default=[1.0, 0.5], help="of its hands")
    add("--steps", type=int, default=10)
    add("--verifier-steps", type=int, default=2000)
    add("--seed", type=int, default=0)
    add("--out", type=Path, help="a JSON file for all figures")
    args = parser.parse_args(argv)
    check_positive(args, "steps", "verifier_steps")
    check_json(args.out)
    model = models.load_pen(args.weights)
    pen = data.read_pen(args.data)
    real = encode(pen)
    pages = draw_pages(model, select_hands(real), args)
    result = {
        "one hand": compare_hands(real, pages, args),
        "fidelity": compare_strokes(real, model, args),
        "speed": measure_speed(model),
        "coding": measure_coding(pen),
    }
    for name, rows in result.items():
        print(f"\n{format_table(name, rows)}")
    save_json(args.out, result)


def encode(pen: data.Pen) -> Characters:
    """Returns the characters that stand on a baseline, but for faulty recordings."""
    rows = [
        k
        for k, strokes in enumerate(pen.strokes)
        if pen.has_baseline[k] and len(strokes) <= handwriting.MAX_STROKES
    ]
    arrays = np.stack([handwriting.encode_strokes(pen.strokes[k]) for k in rows])
    inside = np.abs(arrays[..., :2]).max((1, 2)) < LARGEST
    return select(Characters(arrays, pen.labels[rows], pen.writers[rows]), inside)


def select_hands(real: Characters) -> Characters:
    """Returns the characters of hands that wrote enough."""
    return select(real, np.bincount(real.writers)[real.writers] >= MIN_CHARS)


def draw_pages(model, real: Characters, args) -> dict[str, Characters]:
    """Returns for each neatness the same characters by seeds, one for a real hand."""
    random = np.random.default_rng(args.seed)
    rows = [
        random.permutation(np.flatnonzero(real.writers == writer))[:PAGE]
        for writer in np.unique(real.writers)
    ]
    labels = real.labels[np.concatenate(rows)]
    seeds = np.repeat(np.arange(len(rows)), list(map(len, rows)))
    return {
        f"seeds, neatness {neatness:g}": Characters(
            draw(model, labels, seeds, neatness, args), labels, seeds
        )
        for neatness in args.neatness
    }


def draw(model, labels, seeds, neatness: float, args) -> np.ndarray:
    """Returns characters, each in the hand of its seed, float32[N, 60, 3]."""
    hands = [models.draw_hand(model, k, neatness).code for k in range(seeds.max() + 1)]
    batches = models.generate_strokes(
        jax.random.key(args.seed),
        model,
        labels,
        models.Hand(np.stack(hands)[seeds], neatness),
        args.steps,
    )
    return np.concatenate([batch.x_0 for batch in batches])


def compare_hands(real: Characters, pages: dict[str, Characters], args) -> dict:
    """Returns how well characters of one hand are told from those of two hands."""
    writers = np.unique(real.writers)
    half = np.random.default_rng(args.seed).permutation(writers)[::2]
    is_train = np.isin(real.writers, half)
    embed = fit_verifier(select(real, is_train), args.verifier_steps, args.seed)
    groups = {"real hands": select_hands(select(real, ~is_train))} | pages
    rows = {}
    for name, characters in groups.items():
        points, hands = embed(characters), rows_of_hands(characters)
        same, other = (distances(points, hands, k, NUM_PAIRS) for k in (True, False))
        if name == "real hands":
            others, limit = other, np.quantile(same, 0.9)
        rows[name] = {
            "hands": len(hands),
            "AUC": area_under_curve(same, other),
            "AUC, other real hands": area_under_curve(same, others),
            f"one writer's: {SET_SIZE} and {SET_SIZE}": np.mean(same < limit),
            "another's": np.mean(other < limit),
            "nearer to its own hand": same_writer_preference(*repetitions(characters)),
        }
    held_back = select(real, np.isin(real.writers, data.HELD_BACK))
    ceiling = same_writer_preference(*repetitions(held_back))
    rows["held-back hands"] = {
        "hands": len(np.unique(held_back.writers)),
        "nearer to its own hand": ceiling,
    }
    return rows


def repetitions(characters: Characters) -> tuple[Characters, Characters]:
    """Returns the first and the second time that a hand wrote a character."""
    pair = characters.writers.astype(np.int64) * 100 + characters.labels
    order = np.argsort(pair, kind="stable")
    _, first, counts = np.unique(pair[order], return_index=True, return_counts=True)
    first = first[counts > 1]
    return select(characters, order[first]), select(characters, order[first + 1])


def same_writer_preference(drawn: Characters, real: Characters) -> float:
    """Returns how often a character is nearer to its own hand's than to another hand's.

    The share of (hand, character, other hand), by Chamfer distance, the baseline kept;
    of a hand and class there is at most one. Characters drawn at random reach 0.5; the
    ceiling is `repetitions` of real hands.
    """
    wins, counts = compare_writers(drawn, real)
    return float(wins.sum() / counts.sum())


def compare_writers(drawn: Characters, real: Characters) -> tuple[Any, Any]:
    """Returns how often each hand's character is nearer to its own than to another's.

    Wins float[H, H], of which ties are half, and in how many comparisons int[H, H].
    """
    hands = np.unique(drawn.writers)
    wins, counts = np.zeros((2, len(hands), len(hands)))
    for label in np.unique(drawn.labels):
        ours, theirs = (select(c, c.labels == label) for c in (drawn, real))
        writers, k, m = np.intersect1d(
            ours.writers, theirs.writers, return_indices=True
        )
        apart = chamfer(ours.arrays[k][:, None], theirs.arrays[m][None])
        own = np.diagonal(apart)[:, None]
        won = (own < apart) + 0.5 * (own == apart)
        place = np.ix_(*2 * [np.searchsorted(hands, writers)])
        other = ~np.eye(len(own), dtype=bool)
        wins[place] += np.where(other, won, 0.0)
        counts[place] += other
    return wins, counts


def chamfer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns Chamfer distances of arrays float[..., P, 3], in heights of an x."""
    a, b = (handwriting.STROKE_SCALE * x[..., :2] for x in (a, b))
    squares = np.square(a[..., :, None, :] - b[..., None, :, :]).sum(-1)
    nearest = [np.sqrt(squares.min(axis)).mean(-1) for axis in (-1, -2)]
    return sum(nearest) / 2


def compare_strokes(real: Characters, model, args) -> dict:
    """Returns figures of neighbours, of seeds and of real hands, in stroke space."""
    random = np.random.default_rng(args.seed)
    is_held_back = np.isin(real.writers, data.HELD_BACK)
    train, held_back = select(real, ~is_held_back), select(real, is_held_back)
    counts = np.bincount(held_back.labels, minlength=len(data.PEN_CHARS))
    counts = np.where(counts < PER_CLASS[0], 0, np.minimum(counts, PER_CLASS[1]))
    reference = select(held_back, choose(held_back.labels, counts, random))
    groups = {"real hands": select(train, choose(train.labels, counts, random))}
    labels = np.repeat(np.arange(len(counts)), counts)
    seeds = np.arange(len(labels)) - np.searchsorted(labels, labels)
    for neatness in args.neatness:
        arrays = draw(model, labels, seeds, neatness, args)
        groups[f"seeds, neatness {neatness:g}"] = Characters(arrays, labels, seeds)
    rows = {}
    real_distances = evaluation.nearest(features(reference), features(train))[0][:, 0]
    for name, some in groups.items():
        found = evaluation.compare_manifolds(features(some), features(reference))
        rows[name] = {key: value.value for key, value in found._asdict().items()}
        if name != "real hands":
            near = evaluation.nearest(features(some), features(train))[0][:, 0]
            copying = evaluation.copying(near, real_distances)
            rows[name] |= {
                "distance to training": np.median(near),
                "nearer than held-back": copying.nearer.value,
                "among the nearest 1%": copying.closest.value,
            }
    rows["held-back hands"] = {"distance to training": np.median(real_distances)}
    return rows


def choose(labels, counts, random) -> np.ndarray:
    """Returns rows, counts[k] of class k, in the order of the classes."""
    return np.concatenate(
        [
            random.permutation(np.flatnonzero(labels == label))[:count]
            for label, count in enumerate(counts)
        ]
    )


def features(characters: Characters) -> np.ndarray:
    """Returns arrays as vectors, those of two classes far apart, float32[N, 274]."""
    flat = characters.arrays.reshape(len(characters.arrays), -1)
    places = FAR * np.eye(len(data.PEN_CHARS), dtype=np.float32)
    return np.concatenate([flat, places[characters.labels]], 1)


def measure_speed(model) -> dict:
    """Returns characters a second, once compiled."""
    labels = np.arange(NUM_TIMED) % len(model.classes)
    hand = models.draw_hand(model, 0)
    rows = {}
    for num_steps in (10, 1):
        for num_draws in (models.NUM_DRAWS, 1):
            seconds = []
            for _ in range(4):
                began = time.perf_counter()
                options = {"num_steps": num_steps, "num_draws": num_draws}
                for _ in models.generate_strokes(
                    jax.random.key(0), model, labels, hand, **options, batch_size=250
                ):
                    pass
                seconds.append(time.perf_counter() - began)
            name = f"{num_steps} steps, best of {num_draws}"
            rows[name] = {"characters/s": NUM_TIMED / min(seconds[1:])}
    return rows


def measure_coding(pen: data.Pen, num: int = 2000) -> dict:
    """Returns quantiles of what coding changes, in heights of an x."""
    apart = []
    for strokes in pen.strokes[:: max(1, len(pen.strokes) // num)]:
        if len(strokes) <= handwriting.MAX_STROKES:
            decoded = handwriting.decode_strokes(handwriting.encode_strokes(strokes))
            dense = [
                np.concatenate([handwriting.resample(s, 100) for s in own])
                for own in (strokes, decoded)
            ]
            ours, theirs = (d - [d[:, 0].min(), 0.0] for d in dense)
            apart.append(np.hypot(*(ours[:, None] - theirs).transpose(2, 0, 1)))
    loss = [(d.min(0).mean() + d.min(1).mean()) / 2 for d in apart]
    return {"Chamfer": {"median": np.median(loss), "95%": np.quantile(loss, 0.95)}}


def format_table(title: str, rows: dict[str, dict[str, float]]) -> str:
    """Returns a table in Markdown; a cell without a figure is empty."""
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    lines = [header(title, *columns)]
    for name, row in rows.items():
        cells = [f"{row[c]:.3g}" if c in row else "" for c in columns]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    run(main)
