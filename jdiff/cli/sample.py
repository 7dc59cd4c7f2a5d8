"""`jdiff sample`: characters as arrays or as one picture, in a file."""

import argparse
from pathlib import Path
from typing import Any

from jdiff.cli import options


def add_command(commands: Any) -> None:
    """Adds the command to `argparse`'s subparsers."""
    command = commands.add_parser(
        "sample", help="draw characters, for a file", allow_abbrev=False
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("--chars", help="which, or names as cat,dog; by default all")
    add("--num", type=int, default=10, help="images per character")
    add("--out", type=Path, required=True, help="F.npz or F.png")
    options.add_weights(command)
    options.add_sampling(command)


def run(args: argparse.Namespace) -> None:
    """Draws the characters and writes the file."""
    import numpy as np

    from jdiff import handwriting, images, storage

    out = storage.check_output(args.out, ".npz", ".png")
    model = options.load_model(args)
    labels = np.arange(len(model.classes))
    if args.chars is not None:
        labels = handwriting.encode(args.chars, model.classes)
    is_picture = out.suffix.lower() == ".png"
    most = options.MAX_COPIED_BYTES if is_picture else options.MAX_BYTES
    options.check_num(args, model, len(labels), most)
    labels = np.repeat(labels, args.num)
    x_0 = options.draw(args, model, labels)
    if is_picture:
        grid = images.tile(x_0, args.num if args.num > 1 else None)
        images.save_png(out, images.on_paper(grid) if grid.ndim == 2 else grid)
    else:
        names = np.array([model.classes[label] for label in labels])
        with storage.atomic_write(out) as draft:
            np.savez_compressed(draft, images=x_0, chars=names)
    print(f"wrote {out}: {len(x_0)} images")
