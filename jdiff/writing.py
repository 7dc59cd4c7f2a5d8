"""What `jdiff write` makes of finished glyphs: its options for pages, and their files.

The suffix of --out chooses the file: a picture (PNG, SVG) or an animation (GIF, APNG,
WebP). Without one of the last four, there are a PNG and a GIF.
"""

import argparse
import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jdiff import handwriting
from jdiff.handwriting import MAX_STYLE, STYLES, draw_style

ALIGNMENTS = {
    "left": handwriting.FLUSH_LEFT,
    "centre": handwriting.CENTRED,
    "right": handwriting.FLUSH_RIGHT,
    "justified": handwriting.JUSTIFIED,
}
SUFFIXES = (".png", ".gif", ".apng", ".webp", ".svg")

# Bytes of an animation while it is written; a longer page has fewer frames.
MAX_BYTES = 2**29


# A pen is thicker by this for a standard deviation of weight, as in EMNIST.
PEN_OF_WEIGHT = 1.25
WEIGHT = STYLES.index("weight")


def add_options(command: argparse.ArgumentParser) -> None:
    """Gives a command the options that concern its pages."""
    add = command.add_argument
    add("--out", type=Path, help="F.png and F.gif; or one F.apng, F.webp, F.svg")
    add("--no-gif", action="store_true", help="no animation, only the finished page")
    add("--no-counter", action="store_true", help="no step in the animation")
    add("--no-hold", action="store_true", help="do not hold the end")
    add("--width", type=int, help="of the page in pixels; longer lines are wrapped")
    add("--height", type=int, help="of the page in pixels; by default as needed")
    add("--size", type=float, default=44.0, help="of a capital in pixels; default 44")
    add("--margin", type=float, default=handwriting.MARGIN, help="in capitals; 0.6")
    add("--align", choices=ALIGNMENTS, default="left", help="of the lines")
    add("--jitter", type=float, default=handwriting.JITTER, help="0: as with a ruler")
    add("--ink", default="black", help="a colour, as navy or #102040")
    add("--paper", default="white", help="a colour, as ivory or #fff8e7")
    add("--transparent", action="store_true", help="paper lets the ground through")
    add("--dpi", type=float, help="pixels per inch, for .png, .apng and .svg")


def add_style_options(command: argparse.ArgumentParser) -> None:
    """Gives a command the options that describe a hand; see `jdiff.style`."""
    add = command.add_argument
    add(
        "--slant",
        type=float,
        help="-3: to the left, 0: as most do, 3: to the right",
    )
    add("--weight", type=float, help="-3: fine strokes, 3: bold ones")
    add("--letter-width", type=float, help="-3: narrow letters, 3: wide ones")
    add("--roundness", type=float, help="-3: angular letters, 3: round ones")
    add("--style-seed", type=int, help="draws what is not given; by default --seed")


def style_of(args: argparse.Namespace, has_style: bool) -> np.ndarray | None:
    """Returns the style that the options ask for, float[4].

    Args:
        args: see `add_style_options`.
        has_style: of the model; without it the style is None.

    Raises:
        ValueError: an option is outside its range, or of no use to the model.
    """
    given = {name: getattr(args, name) for name in _STYLE_OPTIONS}
    used = [_flag(name) for name, value in given.items() if value is not None]
    if not has_style:
        if used:
            names = ", ".join(used)
            raise ValueError(f"this model has no styles (--model latent has): {names}.")
        return None
    seed = given.pop("style_seed")
    if seed is not None and seed < 0:
        raise ValueError(f"--style-seed must be >= 0, got {seed}.")
    for name, value in given.items():
        if value is not None and not abs(value) <= MAX_STYLE:
            raise ValueError(f"{_flag(name)} must be in [-3, 3], got {value}.")
    drawn = draw_style(args.seed if seed is None else seed)
    pairs = zip(given.values(), drawn, strict=True)
    return np.array([own if value is None else value for value, own in pairs])


# In the order of `jdiff.style.STYLES`.
_STYLE_OPTIONS = ("slant", "weight", "letter_width", "roundness", "style_seed")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def check_options(args: argparse.Namespace, text: str) -> list[Path]:
    """Returns the files that will be written. Call it before sampling.

    Raises:
        ValueError: an option is wrong, or the text cannot fit on the page.
    """
    from jdiff import handwriting, images, storage

    out = args.out or Path(_slug(text) + ".png")
    suffix = out.suffix.lower()
    if suffix not in ("", *SUFFIXES):
        raise ValueError(f"--out must end in {', '.join(SUFFIXES)}, got {out}.")
    outputs = [out]
    if suffix in ("", ".png", ".gif"):
        outputs = [out.with_suffix(".png"), out.with_suffix(".gif")]
        outputs = outputs[:1] if args.no_gif else outputs
    for output in outputs:
        storage.check_output(output)
    handwriting.check_page(text, **_page_options(args))
    colours = _colours(args)
    if colours["ink"] == colours["paper"]:
        raise ValueError(f"--ink must differ from --paper, got {args.ink} for both.")
    images.dpi_option(args.dpi)
    if suffix == ".webp":
        if args.dpi is not None:
            raise ValueError("--dpi is for .png, .apng and .svg, got a .webp file.")
        handwriting.check_size((args.width or 1, args.height or 1), suffix)
    return outputs


def save(
    args: argparse.Namespace,
    text: str,
    outputs: list[Path],
    glyphs: np.ndarray,
    path: np.ndarray | None,
    steps: Sequence[int],
    style: np.ndarray | None = None,
) -> None:
    """Writes all files, or none.

    Args:
        args: see `add_options`.
        text: what the glyphs say.
        outputs: from `check_options`.
        glyphs: finished, uint8[N, h, w].
        path: their states, uint8[F, N, h, w]; None if there is no animation.
        steps: int[F].
        style: of the glyphs, float[4]; a bold hand has a thick pen.

    Raises:
        ValueError: the glyphs do not fit on the page, or it not in the file.
    """
    from jdiff import handwriting, images, storage

    options = _page_options(args) | {"align": ALIGNMENTS[args.align]}
    if style is not None:
        options["pen"] = handwriting.PEN * PEN_OF_WEIGHT ** style[WEIGHT]
    layout = handwriting.typeset(text, glyphs, **options)
    if path is None:
        path, steps = glyphs[None], steps[-1:]
    num_bytes = len(path) * layout.height * layout.width
    thinned = slice(None, None, -max(1, -(-num_bytes // MAX_BYTES)))
    path, steps = path[thinned][::-1], steps[thinned][::-1]
    timing: dict[str, Any] = {
        "steps": None if args.no_counter or args.no_gif else steps,
        "hold": 1 if args.no_hold else 20,
    }
    colours = _colours(args)
    page = images.on_paper(handwriting.compose(layout, glyphs))
    frames = map(images.on_paper, handwriting.compose_frames(layout, path))
    with contextlib.ExitStack() as stack:
        for output in outputs:
            draft = stack.enter_context(storage.atomic_write(output))
            match output.suffix.lower():
                case ".png":
                    images.save_png(draft, page, dpi=args.dpi, **colours)
                case ".svg":
                    handwriting.save_svg(draft, page, dpi=args.dpi, **colours)
                case ".gif":
                    handwriting.save_gif(draft, frames, **timing, **colours)
                case ".webp":
                    handwriting.save_webp(draft, frames, **timing, **colours)
                case ".apng":
                    options = timing | colours | {"dpi": args.dpi}
                    handwriting.save_apng(draft, frames, **options)


def is_animated(output: Path) -> bool:
    """Returns whether a file of this name holds an animation."""
    return output.suffix.lower() in (".gif", ".apng", ".webp")


def _page_options(args: argparse.Namespace) -> dict[str, Any]:
    options = {name: getattr(args, name) for name in ("width", "height", "margin")}
    return options | {"cap_height": args.size, "jitter": args.jitter}


def _colours(args: argparse.Namespace) -> dict[str, Any]:
    from jdiff import images

    ink, paper = images.parse_colour(args.ink), images.parse_colour(args.paper)
    return {"ink": ink, "paper": (*paper[:3], 0) if args.transparent else paper}


def _slug(text: str) -> str:
    """Returns a file name for a text: "Hello World" -> "hello_world"."""
    return re.sub(r"\W+", "_", text.lower()).strip("_")[:60] or "jdiff"
