"""Prints how legible samples are, beside real test images drawn the same way.

    jdiff sample --chars "Aa3" --num 100 --out samples.npz
    python scripts/evaluate.py samples.npz --data-dir DIR

The samples are images uint8 [N, 28, 28] and chars [N], as `jdiff sample` writes them.
For each of their characters --num real images are drawn from the test split of the
reference; with replacement where it has fewer. The figures of single characters come
from all of its images: a hundred draws from the 70 images of a q are off by 5 points.
"""

import argparse
import json
import sys
from collections import Counter

import numpy as np

import jdiff


def main() -> None:
    args = parse_args()
    try:
        if args.out:
            jdiff.check_output(args.out, ".json")
        samples = images_and_chars(jdiff.data.load(args.samples))
        reference = images_and_chars(
            jdiff.data.load(args.reference, "test", args.data_dir)
        )
        judge = jdiff.load_judge(args.judge)
        figures = jdiff.legibility(judge, *samples, seed=args.seed)
        real = draw(args.seed, *reference, sorted(figures.per_class), args.num)
        real_figures = jdiff.legibility(judge, *real, seed=args.seed)
        wanted = np.isin(reference[1], sorted(figures.per_class))
        every = jdiff.legibility(judge, *(part[wanted] for part in reference))
        counts = [Counter(chars.tolist()) for chars in (samples[1], reference[1])]
    except (ValueError, OSError) as error:
        print(f"evaluate.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    real_figures = real_figures._replace(
        per_class=every.per_class, per_class_in_context=every.per_class_in_context
    )
    print_table(figures, real_figures, *counts, len(real[0]))
    if args.out:
        result = {"samples": as_dict(figures), "real": as_dict(real_figures)}
        with jdiff.atomic_write(args.out) as path:
            path.write_text(json.dumps(result | {"arguments": vars(args)}, indent=2))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("samples", metavar="SAMPLES.npz")
    parser.add_argument("--reference", default="emnist/byclass")
    parser.add_argument("--num", type=int, default=100, help="real images a character")
    parser.add_argument("--data-dir", help="else JDIFF_DATA_DIR, or a download")
    parser.add_argument("--judge", default=str(jdiff.judge.SHIPPED_JUDGE))
    parser.add_argument("--out", metavar="JSON", help="where to write all figures")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not args.samples.endswith(".npz"):
        parser.error(f"the samples must be an .npz file, got {args.samples}.")
    if args.num < 1:
        parser.error(f"--num must be >= 1, got {args.num}.")
    if args.seed < 0:
        parser.error(f"--seed must be >= 0, got {args.seed}.")
    return args


def images_and_chars(dataset) -> tuple[np.ndarray, np.ndarray]:
    """Returns the images and the character of each, str[N]."""
    return dataset.images, np.array(list(dataset.chars))[dataset.labels]


def draw(seed, images, chars, wanted, num) -> tuple[np.ndarray, np.ndarray]:
    """Returns num images of each wanted character, whichever the others are."""
    rows = []
    for char in wanted:
        places = np.flatnonzero(chars == char)
        if not len(places):
            raise ValueError(f"the reference must have images of {char!r}, got none.")
        rng = np.random.default_rng([seed, ord(char)])
        rows.append(rng.choice(places, num, replace=len(places) < num))
    rows = np.concatenate(rows)
    return images[rows], chars[rows]


def print_table(samples, real, sample_counts, real_counts, num_real) -> None:
    """Prints the shares of both, the worst characters, and the largest drops."""

    def row(name, a, b):
        texts = (f"{e.value:6.1%}  [{e.low:.1%}, {e.high:.1%}]" for e in (a, b))
        print(f"{name:12}" + "".join(f"{text:26}" for text in texts).rstrip())

    num_samples = sample_counts.total()
    print(f"{'':12}{f'{num_samples:,} samples':26}{num_real:,} real test images")
    row("legibility", samples.overall, real.overall)
    row("in context", samples.in_context, real.in_context)
    print("in brackets: 95% bootstrap intervals\n")

    worst_first = sorted(samples.per_class, key=samples.per_class.get)
    worst = worst_first[:10]
    print("worst characters   " + "".join(f"{char:>7}" for char in worst))
    for name, figures in (("samples", samples), ("real", real)):
        for context in ("", " in context"):
            by_char = figures.per_class_in_context if context else figures.per_class
            texts = "".join(f"{by_char[char]:7.0%}" for char in worst)
            print(f"{name + context:19}{texts}")
    print()
    counts = (sample_counts, real_counts)
    print_drop("largest drop", samples.per_class, real.per_class, *counts)
    in_context = (samples.per_class_in_context, real.per_class_in_context)
    print_drop("in context", *in_context, *counts)


def print_drop(name, samples, real, sample_counts, real_counts) -> None:
    """Prints the largest drop, and how large it would be if nothing was amiss."""
    char = max(samples, key=lambda char: real[char] - samples[char])
    drop = 100 * (real[char] - samples[char])
    print(f"{name}: {drop:+.1f} points below real images, for {char} "
          f"({samples[char]:.1%} against {real[char]:.1%});")  # fmt: skip
    # Two sets of real images, so many a character, also differ in some character.
    rng = np.random.default_rng(0)
    draws = []
    for counts in (real_counts, sample_counts):
        num = np.array([counts[char] for char in real])
        draws.append(rng.binomial(num, [*real.values()], (2000, len(num))) / num)
    drops = 100 * (draws[0] - draws[1]).max(-1)
    print(f"    chance alone makes it {np.mean(drops):+.1f} points on average, "
          f"over {np.quantile(drops, 0.95):+.1f} in one of 20 draws")  # fmt: skip


def as_dict(figures) -> dict:
    return figures._asdict() | {
        "overall": figures.overall._asdict(),
        "in_context": figures.in_context._asdict(),
    }


if __name__ == "__main__":
    main()
