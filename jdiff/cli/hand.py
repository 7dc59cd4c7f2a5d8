"""`jdiff hand`: a hand of one's own, from a sheet of paper to a font."""

import argparse
from pathlib import Path
from typing import Any

from jdiff.cli import options

_EXTRA = "hand", "for a hand of one's own"


def add_command(commands: Any) -> None:
    """Adds the command and its subcommands to `argparse`'s subparsers."""
    command = commands.add_parser(
        "hand", help="learn somebody's handwriting", allow_abbrev=False
    )
    steps = command.add_subparsers(dest="step", required=True, metavar="STEP")

    def add_step(name, run, text):
        step = steps.add_parser(name, help=text, allow_abbrev=False)
        step.set_defaults(run=run)
        return step.add_argument

    add = add_step("sheet", run_sheet, "a page to print and fill in")
    add("--out", type=Path, required=True, help="F.pdf or F.png")
    add("--short", action="store_true", help="a sentence twice, not 94 characters")
    add = add_step("learn", run_learn, "the hand of a filled sheet")
    add("source", help="a photo of a sheet, F.svg drawn upon one, or F.npz of strokes")
    add("--out", type=Path, required=True, help="F.hand")
    add("--short", action="store_true", help="F.svg is drawn upon the short sheet")
    add("--weights", default="pen", help="of pen strokes; by default those that ship")
    add("--seed", type=int, default=0, help="of the fit")
    add = add_step("font", run_font, "an OpenType font of a hand")
    add("hand", nargs="?", help="F.hand; or none, with --style-seed")
    add("--style-seed", type=int, help="a hand of the model, as of `jdiff write`")
    add("--out", type=Path, required=True, help="F.ttf")
    add("--weights", default="pen", help="of pen strokes; by default those that ship")
    add("--seed", type=int, default=0, help="of the letters")
    add("--pen-width", type=float, help="in heights of a capital; by default 0.11")


def run_sheet(args: argparse.Namespace) -> None:
    """Writes the page."""
    from jdiff import hands

    hands.save_sheet(args.out, hands.SHORT if args.short else hands.FULL)
    print(f"wrote {args.out}")


def run_learn(args: argparse.Namespace) -> None:
    """Reads the characters, says which are missing, and writes their hand."""
    options.check_seed(args.seed)
    from jdiff import models, storage

    out = storage.check_output(args.out, ".hand")
    options.start_jax()
    model = models.load_pen(args.weights)
    with options.needing(*_EXTRA):
        from jdiff import hands

        form = hands.SHORT if args.short else hands.FULL
        reading = hands.read_hand(args.source, model, form)
        hand = hands.fit_hand(model, *hands.encode_reading(reading), seed=args.seed)
    models.save_hand(out, hand, model)
    for kind in ("empty", "crossed"):
        if chars := getattr(reading, kind):
            print(f"{kind}: {' '.join(chars)}")
    print(f"wrote {out}: a hand learned from {len(reading.chars)} characters")


def run_font(args: argparse.Namespace) -> None:
    """Draws the letters of a hand and writes them as a font."""
    options.check_seed(args.seed)
    if (args.hand is None) == (args.style_seed is None):
        raise ValueError("a font must have F.hand or --style-seed, one of the two.")
    from jdiff import models, storage

    out = storage.check_output(args.out, ".ttf")
    options.start_jax()
    model = models.load_pen(args.weights)
    if args.hand is None:
        hand = models.draw_hand(model, args.style_seed)
    else:
        hand = models.load_hand(args.hand, model)
    name = out.stem if args.hand is None else Path(args.hand).stem
    chosen = {} if args.pen_width is None else {"pen_width": args.pen_width}
    with options.needing(*_EXTRA):
        from jdiff import hands

        hands.save_font(out, model, hand, name, seed=args.seed, **chosen)
    print(f"wrote {out}")
