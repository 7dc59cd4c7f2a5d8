"""Which figure of `jdiff evaluate` sees which damage to real images, and how early.

    python scripts/benchmarks/damage.py --data-dir DIR

damages real test images in fifteen known ways at five strengths (`LADDER`) and prints
a table for docs/benchmark.md: for each figure and kind the strength, 1 to 5, from which
on the figure lies outside the interval of the undamaged images (a dash: never), and
Spearman's rank correlation of the figure with the strength.
"""

from collections import Counter
from pathlib import Path

import numpy as np
from command import check_json, check_positive, header, make_parser, run, save_json
from scipy import stats
from tqdm import tqdm

from jdiff import data, evaluation


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data-dir", help="else JDIFF_DATA_DIR, or a download")
    parser.add_argument("--num", type=int, default=40, help="images of each character")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="a JSON file for all figures")
    args = parser.parse_args(argv)
    check_positive(args, "num")
    check_json(args.out)
    train, test = evaluation.reference_splits("emnist/byclass", args.data_dir)
    judges = evaluation.load_judges()
    # Every fourth training image: among fewer a copy is found sooner.
    train = data.select(train, slice(None, None, 4))
    result = climb(judges, train, test, args.num, args.seed)
    save_json(args.out, result)
    print(format_table(result))


def climb(judges, train, test, num, seed):
    """Returns the undamaged images' intervals and every figure on every rung.

    No image is there twice, else repetition would be damage from the start.
    """
    found = Counter(evaluation.chars_of(test).tolist())
    counts = {char: min(num, found[char]) for char in found}
    reference, real = evaluation.make_reference(judges, counts, train, test, seed)
    floor = evaluation.headline(evaluation.measure(judges, real, reference, seed)[0])
    rungs = {}
    for damage in tqdm(evaluation.LADDER):
        rungs[damage.name] = []
        for strength in damage.strengths:
            random = np.random.default_rng(seed)
            damaged = damage.apply(random, real, train, strength)
            figures = measure_alone(judges, damaged, train, test, reference, seed)
            rungs[damage.name].append(figures)
    return {"floor": floor, "rungs": rungs}


def measure_alone(judges, damaged, train, test, reference, seed):
    """Returns the value of every figure of a damaged set, by name."""
    figures, _ = evaluation.measure(judges, damaged, reference, seed, num_resamples=0)
    values = {name: e.value for name, e in evaluation.headline(figures).items()}
    missing = len(set(reference.chars)) - len(set(evaluation.chars_of(damaged)))
    return values | {"missing characters": float(missing)}


def format_table(result) -> str:
    """Returns a table in Markdown: a row for a figure, a column for a damage."""
    floor = result["floor"] | {"missing characters": (0.0, 0.0, 0.0)}
    kinds = [damage.name for damage in evaluation.LADDER]
    noticed = [str(d.strengths.index(d.noticed) + 1) for d in evaluation.LADDER]
    lines = [header("figure", *kinds)]
    lines.append("| *a person notices* | " + " | ".join(noticed) + " |")
    for name, (_, low, high) in floor.items():
        cells = []
        for kind in kinds:
            values = np.array([rung[name] for rung in result["rungs"][kind]])
            # From this strength on; on a lower one it was chance.
            unseen = np.flatnonzero((low <= values) & (values <= high))
            first = unseen[-1] + 2 if len(unseen) else 1
            rank = spearman(values)
            text = f"{first}" if first <= len(values) else "-"
            cells.append(f"{text} {rank:+.1f}" if np.isfinite(rank) else text)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def spearman(values) -> float:
    """Returns the rank correlation of five values with 1 .. 5; NaN if all are equal."""
    if np.ptp(values) == 0:
        return float("nan")
    return float(stats.spearmanr(values, np.arange(len(values))).statistic)


if __name__ == "__main__":
    run(main)
