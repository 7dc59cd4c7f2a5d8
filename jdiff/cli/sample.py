"""`jdiff sample`: characters as arrays or as one picture, in a file."""

import argparse
from pathlib import Path
from typing import Any

from jdiff.cli import options

# Of the picture of characters of strokes, in pixels.
_CELL, _BASELINE, _UNIT, _PEN = 72, 44, 14, 2.2


def add_command(commands: Any) -> None:
    """Adds the command to `argparse`'s subparsers."""
    command = commands.add_parser(
        "sample", help="draw characters, for a file", allow_abbrev=False
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("--chars", help="which, or names as cat,dog; by default all")
    add("--num", type=int, default=10, help="images per character; hands of strokes")
    add("--out", type=Path, required=True, help="F.npz or F.png")
    options.add_hand(command)
    options.add_weights(command)
    options.add_sampling(command)


def run(args: argparse.Namespace) -> None:
    """Draws the characters and writes the file."""
    import numpy as np

    from jdiff import handwriting, models, storage

    out = storage.check_output(args.out, ".npz", ".png")
    model = options.load_model(args)
    labels = np.arange(len(model.classes))
    if args.chars is not None:
        labels = handwriting.encode(args.chars, model.classes)
    is_picture = out.suffix.lower() == ".png"
    most = options.MAX_COPIED_BYTES if is_picture else options.MAX_BYTES
    if isinstance(model, models.PenModel):
        options.check_num(args, (_CELL, _CELL), len(labels), most)
        _sample_strokes(args, model, labels, out)
    else:
        given = {name: getattr(args, name) for name in ("neatness", "draws", "hand")}
        models.check_no_strokes(**given)
        options.check_num(args, model.shape, len(labels), most)
        _sample_images(args, model, np.repeat(labels, args.num), out)


def _sample_images(args, model, labels, out) -> None:
    import numpy as np

    from jdiff import storage

    x_0 = options.draw(args, model, labels)
    if out.suffix.lower() == ".png":
        _save_picture(out, x_0, args.num)
    else:
        names = np.array([model.classes[label] for label in labels])
        with storage.atomic_write(out) as draft:
            np.savez_compressed(draft, images=x_0, chars=names)
    print(f"wrote {out}: {len(x_0)} images")


def _sample_strokes(args, model, labels, out) -> None:
    """Writes characters hand by hand, each hand's on a line of its own."""
    import numpy as np

    from jdiff import data, handwriting, models

    num = len(labels)
    writers = np.repeat(np.arange(args.num), num)
    labels = np.tile(labels, args.num)
    strokes = options.draw_strokes(args, model, labels, writers)
    if out.suffix.lower() == ".png":
        cells = np.stack([_draw_cell(character) for character in strokes])
        # A row for a character and a column for a hand, as of images.
        cells = cells.reshape(-1, num, _CELL, _CELL).swapaxes(0, 1)
        _save_picture(out, cells.reshape(-1, _CELL, _CELL), args.num)
    else:
        gaps = models.gaps_between(model, labels[:num], handwriting.GAP)
        widths = [max(stroke[:, 0].max() for stroke in own) for own in strokes]
        steps = np.reshape(widths, (-1, num))[:, :-1] + gaps[1:]
        x = np.pad(steps.cumsum(1), [(0, 0), (1, 0)]).ravel()
        known = np.ones(len(labels), bool)
        data.save_pen(out, data.Pen(strokes, labels, writers, writers, x, known))
    print(f"wrote {out}: {num} characters in {args.num} hands")


def _save_picture(out, x_0, num_columns) -> None:
    from jdiff import images

    grid = images.tile(x_0, num_columns if num_columns > 1 else None)
    images.save_png(out, images.on_paper(grid) if grid.ndim == 2 else grid)


def _draw_cell(strokes):
    """Returns a character on its line, in the middle of a cell, uint8[72, 72]."""
    import numpy as np

    from jdiff import handwriting

    x = np.concatenate(strokes)[:, 0]
    left = _CELL / 2 - _UNIT * (x.min() + x.max()) / 2
    placed = [[left, _BASELINE] + stroke * [_UNIT, -_UNIT] for stroke in strokes]
    return handwriting.draw_strokes(placed, _PEN, _CELL, _CELL)
