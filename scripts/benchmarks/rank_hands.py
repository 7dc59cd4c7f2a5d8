r"""Puts the hands of a model of pen strokes in the order in which they can be read.

    apt-get install tesseract-ocr
    python scripts/benchmarks/rank_hands.py runs/pen/weights.safetensors \
        --out pen.safetensors

`jdiff train pen` has no reader of pages and orders hands by their evenness. Here every
hand writes the same texts, and tesseract reads them: the hand with the fewest errors is
the neatest.
"""

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from command import make_parser, run

import jdiff
from jdiff import handwriting, models, storage

TEXTS = (
    "Bring the black umbrella, please: it will rain by five. We have a quiet evening.",
    "My great aunt Zoe keeps exotic juice in the fridge and walks for 45 minutes.",
    "Just what did you expect from fixing his old clock? Yes, it works again today!",
)
WIDTH = 700
# A page whose lines tesseract does not find says nothing about its letters.
WORST = 0.4


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("weights", type=Path, help="a model of pen strokes")
    add("--out", type=Path, required=True, help="FILE.safetensors")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse_args(argv)
    if shutil.which("tesseract") is None:
        raise ValueError("tesseract must be installed: apt-get install tesseract-ocr.")
    storage.check_output(args.out, ".safetensors")
    model = models.load_pen(args.weights)
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "page.png"
        errors = [measure_hand(model, k, picture) for k in range(len(model.hands))]
    order = np.argsort(errors, kind="stable")
    for rank, k in enumerate(order):
        print(f"{rank:3d}: hand {k:3d}, error rate {errors[k]:.3f}", flush=True)
    params, description = storage.load_weights(args.weights)
    params["hands"]["codes"] = params["hands"]["codes"][order]
    storage.save_weights(args.out, params, description)


def measure_hand(model: models.PenModel, k: int, picture: Path) -> float:
    """Returns the mean error rate of pages in hand k."""
    model = model._replace(hands=model.hands[k : k + 1])
    errors = []
    for seed, text in enumerate(TEXTS):
        handwriting.save_page(picture, jdiff.write(text, model, seed=seed, width=WIDTH))
        command = ["tesseract", str(picture), "-", "--psm", "6"]
        read = subprocess.run(command, capture_output=True, text=True, check=True)
        errors.append(min(error_rate(read.stdout, text), WORST))
    return float(np.mean(errors))


def error_rate(read: str, text: str) -> float:
    """Returns the edit distance to a text over its length, case and blanks folded."""
    read, text = (" ".join(words.lower().split()) for words in (read, text))
    row = np.arange(len(text) + 1)
    for char in read:
        change = row[:-1] + [char != other for other in text]
        row = np.concatenate([[row[0] + 1], np.minimum(row[1:] + 1, change)])
        # To insert what is missing costs 1 each.
        row = np.minimum.accumulate(row - np.arange(len(row))) + np.arange(len(row))
    return float(row[-1]) / len(text)


if __name__ == "__main__":
    run(main)
