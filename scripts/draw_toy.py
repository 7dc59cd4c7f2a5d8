"""Draws what a model of points in the plane has learned, from its weights.

python scripts/draw_toy.py moons.safetensors --guidance 2 --steps 10 --gif moons.gif
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from jdiff import data, storage
from jdiff.recipes import point_models, point_pictures


def run(args: argparse.Namespace) -> None:
    """Writes the picture that the options ask for."""
    out = args.out or args.weights.with_suffix(".png")
    path = storage.check_output(out, ".png")
    model, description = point_models.load_model(args.weights)
    point_pictures.check(args, description["num_steps"])
    num = max(args.num_samples, 2)
    points, _ = data.load_points(description["data"], num, args.seed + 1)
    point_pictures.show(path, model, points, args)


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line; exits with code 2 and one sentence if it is wrong."""
    parser = argparse.ArgumentParser(
        prog="draw_toy.py", description=point_pictures.__doc__, allow_abbrev=False
    )
    add = parser.add_argument
    add("weights", type=Path, help="FILE.safetensors of `jdiff train points`")
    point_pictures.add_options(parser)
    add("--out", type=Path, help="FILE.png; beside the weights if not")
    try:
        run(parser.parse_args(argv))
    except (ValueError, OSError) as error:
        print(f"draw_toy.py: error: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
