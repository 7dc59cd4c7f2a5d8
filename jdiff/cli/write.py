"""`jdiff write`: a text as a page of handwriting, in files.

The suffix of --out chooses the file: a picture (PNG, SVG) or an animation (GIF, APNG,
WebP). Without one of the last four, there are a PNG and a GIF.
"""

import argparse
import contextlib
import re
from pathlib import Path
from typing import Any

from jdiff.cli import options

ALIGNMENTS = {
    "left": "FLUSH_LEFT",
    "centre": "CENTRED",
    "right": "FLUSH_RIGHT",
    "justified": "JUSTIFIED",
}

# Of `jdiff.write`, each an option of the same name; None leaves it at its default.
_ARGUMENTS = ["slant", "weight", "letter_width", "roundness", "style_seed"]
_ARGUMENTS += ["seed", "steps", "frames", "neatness", "draws", "hand"]
_ARGUMENTS += ["width", "height", "size", "margin", "jitter", "pen_width"]


def add_command(commands: Any) -> None:
    """Adds the command to `argparse`'s subparsers."""
    command = commands.add_parser(
        "write", help="write a text in handwriting", allow_abbrev=False
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("text", help=r"what to write; \n begins a new line")
    add("--out", type=Path, help="F.png and F.gif; or one F.apng, F.webp, F.svg")
    add("--no-gif", action="store_true", help="the finished page, no animation")
    add("--frames", type=int, help="of the animation, >= 2; by default up to 41")
    add("--no-counter", action="store_true", help="no step below the animation")
    add("--no-hold", action="store_true", help="do not hold the last frame")
    add("--width", type=int, help="of the page in pixels; longer lines are wrapped")
    add("--height", type=int, help="of the page in pixels; by default as needed")
    add("--size", type=float, help="height of a capital in pixels; by default 44")
    add("--margin", type=float, help="in heights of a capital; by default 0.6")
    add("--align", choices=ALIGNMENTS, default="left", help="of the lines")
    add("--jitter", type=float, help="0: letters stand on a ruler; by default 0.06")
    add("--pen-width", type=float, help="in heights of a capital; by default 0.11")
    add("--ink", default="black", help="a colour, as navy or #102040")
    add("--paper", default="white", help="a colour, as ivory or #fff8e7")
    add("--transparent", action="store_true", help="no paper behind the ink")
    add("--dpi", type=float, help="pixels per inch, for .png, .apng and .svg")
    add("--slant", type=float, help="-3: to the left, 0: average, 3: to the right")
    add("--weight", type=float, help="-3: fine strokes, 3: bold ones")
    add("--letter-width", type=float, help="-3: narrow letters, 3: wide ones")
    add("--roundness", type=float, help="-3: angular letters, 3: round ones")
    add("--style-seed", type=int, help="chooses the rest of the style; else --seed")
    add("--animate", choices=["noise", "pen"], default="noise", help="out of what")
    options.add_hand(command)
    options.add_weights(command)
    options.add_sampling(command, seed=7)


def run(args: argparse.Namespace) -> None:
    """Writes all files, or none."""
    from jdiff import handwriting, storage, writing

    text = args.text.replace("\\n", "\n")
    outputs = _outputs(args, text)
    ink, paper = map(handwriting.parse_colour, (args.ink, args.paper))
    colours = {"ink": ink, "paper": (*paper[:3], 0) if args.transparent else paper}
    size = args.width or 1, args.height or 1
    dpi = {output: None if output.suffix == ".gif" else args.dpi for output in outputs}
    for output in outputs:
        handwriting.check_page_file(output, **colours, dpi=dpi[output], size=size)
    options.start_jax()
    suffixes = {output.suffix.lower() for output in outputs}
    animated = not args.no_gif and not suffixes.isdisjoint(handwriting.ANIMATIONS)
    chosen = {name: getattr(args, name) for name in _ARGUMENTS}
    page = writing.write(
        text,
        args.weights or args.model,
        **options.sampling_of(args),
        align=getattr(handwriting, ALIGNMENTS[args.align]),
        animate=animated and args.animate == "noise",
        progress=options.show_progress,
        **{name: value for name, value in chosen.items() if value is not None},
    )
    if animated and args.animate == "pen":
        number = {} if args.frames is None else {"num_frames": args.frames}
        page = handwriting.animate_pen(page, **number)
    with contextlib.ExitStack() as stack:
        for output in outputs:
            handwriting.save_page(
                stack.enter_context(storage.atomic_write(output)),
                page,
                **colours,
                dpi=dpi[output],
                counter=not args.no_counter,
                hold=1 if args.no_hold else 20,
            )
    for output in outputs:
        print(f"wrote {output}")


def _outputs(args: argparse.Namespace, text: str) -> list[Path]:
    """Returns the files to write."""
    out = Path(_slug(text) + ".png") if args.out is None else args.out
    if not out.name:
        raise ValueError(f"--out must be a file, got {str(out)!r}.")
    if out.suffix.lower() not in ("", ".png", ".gif"):
        return [out]
    outputs = [out.with_suffix(".png"), out.with_suffix(".gif")]
    return outputs[:1] if args.no_gif else outputs


def _slug(text: str) -> str:
    """Returns a file name for a text: "Hello World" -> "hello_world"."""
    return re.sub(r"\W+", "_", text.lower()).strip("_")[:60] or "jdiff"
