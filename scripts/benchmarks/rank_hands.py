r"""Puts the hands of a model of pen strokes in the order in which they can be read.

    apt-get install tesseract-ocr
    python scripts/benchmarks/rank_hands.py runs/pen/weights.safetensors \
        --out pen.safetensors

`jdiff train pen` has no reader of pages and orders hands by their evenness. Here every
hand writes the same texts, and tesseract reads them: the hand with the fewest errors is
the neatest.
"""

import shutil
from pathlib import Path

import numpy as np
from command import make_parser, run
from read_pages import WIDTH, error_rates, read
from tqdm import tqdm

import jdiff
from jdiff import models, storage

TEXTS = (
    "Bring the black umbrella, please: it will rain by five. We have a quiet evening.",
    "My great aunt Zoe keeps exotic juice in the fridge and walks for 45 minutes.",
    "Just what did you expect from fixing his old clock? Yes, it works again today!",
)
# A page whose lines tesseract does not find says nothing about its letters.
WORST = 0.4


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("weights", type=Path, help="a model of pen strokes")
    parser.add_argument("--out", type=Path, required=True, help="FILE.safetensors")
    args = parser.parse_args(argv)
    if shutil.which("tesseract") is None:
        raise ValueError("tesseract must be installed: apt-get install tesseract-ocr.")
    storage.check_output(args.out, ".safetensors")
    model = models.load_pen(args.weights)
    errors = [measure_hand(model, k) for k in tqdm(range(len(model.hands)))]
    order = np.argsort(errors, kind="stable")
    for rank, k in enumerate(order):
        print(f"{rank:3d}: hand {k:3d}, error rate {errors[k]:.3f}")
    params, description = storage.load_weights(args.weights)
    params["hands"] = {name: leaf[order] for name, leaf in params["hands"].items()}
    storage.save_weights(args.out, params, description)


def measure_hand(model: models.PenModel, k: int) -> float:
    """Returns the mean error rate of pages in hand k, of letters in any case."""
    model = model._replace(hands=model.hands[k : k + 1])
    errors = []
    for seed, text in enumerate(TEXTS):
        page = jdiff.write(text, model, seed=seed, width=WIDTH)
        errors.append(min(error_rates(text, read(page.image))[0], WORST))
    return float(np.mean(errors))


if __name__ == "__main__":
    run(main)
