r"""Hands that the model has never seen, learned from a few of their characters.

    python scripts/benchmarks/hand.py --data pen-train.npz --out hand.json

Each of the 30 hands of `jdiff.data.HELD_BACK` gives k characters, as strokes and on a
sheet that is photographed (photograph.py: perspective, shadow, blur, paper, JPEG, 150
to 300 dpi). The model then draws characters that were NOT given. A table says:

preference  how often a character lies nearer (Chamfer, baseline kept) to that of its
            own hand than to that of another one, with a 95% interval from drawing the
            hands again; the ceiling is the hand's own second repetition, chance is 0.5.
read        share of letters and digits that two judges of EMNIST read right. The
            default hands write the same characters, and so do the people themselves.
cells       share of the filled cells of a sheet that were found.
seconds     for a hand, of reading its sheet and of learning it; the first compiles.
"""

import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from command import check_json, check_positive, header, make_parser, run, save_json
from pen import compare_writers, encode, repetitions
from photograph import fill_sheet, photograph
from verifier import Characters, select

from jdiff import data, evaluation, hands, handwriting, models

DPI = 150.0, 300.0  # of photos, at least and at most
NUM_RESAMPLES = 2000


class Task(NamedTuple):
    """What a hand gives, and what is asked of it.

    Attributes:
        given: its characters.
        wanted: others, as it wrote them.
        again: those, as it wrote them another time.
    """

    given: Characters
    wanted: Characters
    again: Characters


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--data", type=Path, required=True, help="FILE.npz of pen strokes")
    add("--weights", default="pen", help="a model of pen strokes")
    add("--given", type=int, nargs="+", default=[5, 10, 20, 40], help="k")
    add("--hands", type=int, nargs="+", default=data.HELD_BACK, help="writers")
    add("--no-photos", action="store_true", help="from strokes alone")
    add("--seed", type=int, default=0, help="of what is given, photos and letters")
    add("--out", type=Path, help="a JSON file for all figures")
    args = parser.parse_args(argv)
    check_positive(args, "given")
    check_json(args.out)
    model = models.load_pen(args.weights)
    pen = data.read_pen(args.data)
    real = encode(data.select_pen(pen, np.isin(pen.writers, args.hands)))
    sources = {"strokes": learn}
    if not args.no_photos:
        sources["photos"] = learn_from_photo
    print(header("given", "preference", "ceiling", "read", "cells", "seconds"))
    result = {}
    for num in args.given:
        tasks = choose(real, num, args.seed)
        for source, learn_hand in sources.items():
            name = f"{num} characters as {source}"
            result[name] = measure(model, tasks, learn_hand, args.seed)
            print_row(name, result[name])
    for name, row in compare_reading(model, tasks, args.seed).items():
        result[name] = row
        print_row(name, row)
    save_json(args.out, result)


def choose(real: Characters, num: int, seed: int) -> list[Task]:
    """Returns a task for each hand, which gives num characters of different classes.

    What is given was the first of its class; what is wanted are the second ones.
    """
    first, second = repetitions(real)
    random = np.random.default_rng(seed)
    tasks = []
    for writer in np.unique(first.writers):
        rows = random.permutation(np.flatnonzero(first.writers == writer))
        if len(rows) <= num:
            raise ValueError(f"--given must be less than {len(rows)}, got {num}.")
        own, others = rows[:num], rows[num:]
        tasks.append(
            Task(select(first, own), select(second, others), select(first, others))
        )
    return tasks


def learn(model, given: Characters, seed: int) -> tuple[models.Hand, float]:
    """Returns the hand of characters, and that all of them were found."""
    return hands.fit_hand(model, given.arrays, given.labels, seed=seed), 1.0


def learn_from_photo(model, given: Characters, seed: int) -> tuple[models.Hand, float]:
    """Returns the hand of a photographed sheet, and the share of its cells found.

    A cell that is taken for a filled one counts against it.
    """
    dpi = np.random.default_rng(seed).uniform(*DPI)
    written = {
        data.PEN_CHARS[label]: handwriting.decode_strokes(array)
        for label, array in zip(given.labels, given.arrays, strict=True)
    }
    form = hands.FULL
    page = fill_sheet(form, [written.get(char) for char in form.chars], dpi)
    reading = hands.read_photo(hands.find_cells(photograph(page, dpi, seed)), model)
    right, false = (
        sum((char in written) == is_right for char in reading.chars)
        for is_right in (True, False)
    )
    arrays, labels = hands.encode_reading(reading)
    return hands.fit_hand(model, arrays, labels, seed=seed), (right - false) / len(
        written
    )


def measure(model, tasks: list[Task], learn_hand, seed: int) -> dict:
    """Returns the figures of a row."""
    found, cells, seconds = [], [], []
    for task in tasks:
        began = time.perf_counter()
        hand, share = learn_hand(model, task.given, seed + task.given.writers[0])
        seconds.append(time.perf_counter() - began)
        cells.append(share)
        found.append(draw(model, task.wanted.labels, hand, seed))
    wanted, again = (join([task[k] for task in tasks]) for k in (1, 2))
    drawn = wanted._replace(arrays=np.concatenate(found))
    return {
        "preference": estimate_preference(drawn, wanted),
        "ceiling": estimate_preference(again, wanted),
        "read": read(drawn),
        "cells": float(np.mean(cells)),
        "seconds": float(np.median(seconds)),
    }


def compare_reading(model, tasks: list[Task], seed: int) -> dict:
    """Returns how well default hands and people are read who write the same."""
    drawn = [
        draw(model, task.wanted.labels, models.draw_hand(model, seed + k), seed)
        for k, task in enumerate(tasks)
    ]
    wanted = join([task.wanted for task in tasks])
    default = wanted._replace(arrays=np.concatenate(drawn))
    rows = {"default hands": default, "the people themselves": wanted}
    return {name: {"read": read(characters)} for name, characters in rows.items()}


def draw(model, labels: np.ndarray, hand: models.Hand, seed: int) -> np.ndarray:
    """Returns characters in a hand, float32[N, 60, 3]."""
    batches = models.generate_strokes(jax.random.key(seed), model, labels, hand)
    return np.concatenate([batch.x_0 for batch in batches])


def join(parts: list[Characters]) -> Characters:
    """Returns the characters of all hands."""
    return Characters(*map(np.concatenate, zip(*parts, strict=True)))


def estimate_preference(drawn: Characters, real: Characters) -> evaluation.Estimate:
    """Returns the same-writer preference; its interval is of other hands like these."""
    wins, counts = compare_writers(drawn, real)
    num = len(wins)
    random = np.random.default_rng(0)
    weights = random.multinomial(num, np.full(num, 1 / num), NUM_RESAMPLES)
    weights = np.concatenate([np.ones((1, num)), weights])
    pairs = weights[:, :, None] * weights[:, None]
    shares = (pairs * wins).sum((1, 2)) / (pairs * counts).sum((1, 2))
    return evaluation.Estimate(shares[0], *np.quantile(shares[1:], [0.025, 0.975]))


def read(characters: Characters) -> float:
    """Returns the share of letters and digits that judges of images read right."""
    chars = np.array(list(data.PEN_CHARS))[characters.labels]
    known = np.isin(chars, list(data.EMNIST_CHARS))
    strokes = map(handwriting.decode_strokes, characters.arrays[known])
    images = handwriting.draw_glyphs(list(strokes))[..., None]
    shares = [
        evaluation.legibility(evaluation.read_images(judge, images), chars[known])
        for judge in evaluation.load_judges().values()
    ]
    return float(np.mean([share.merged.value for share in shares]))


def print_row(name: str, row: dict) -> None:
    """Prints a row of the table; a cell without a figure is empty."""
    cells = [name, *5 * [""]]
    if "preference" in row:
        share = row["preference"]
        cells[1] = f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"
        cells[2] = f"{row['ceiling'].value:.3f}"
        cells[4], cells[5] = f"{row['cells']:.1%}", f"{row['seconds']:.1f}"
    cells[3] = f"{row['read']:.1%}"
    print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    run(main)
