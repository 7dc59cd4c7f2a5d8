"""Pages: glyph images drawn where a layout puts them, and what files are made of.

page = glyph_page(layout, glyphs)       # page.image is uint8[H, W]
save_page("letter.svg", page)           # or .png, .gif, .apng, .webp
"""

import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jdiff.handwriting import formats, svg
from jdiff.handwriting.formats import ANIMATIONS, BLACK, WHITE, Colour
from jdiff.handwriting.ink import BLUR
from jdiff.handwriting.layout import Layout, check_glyphs
from jdiff.images import on_paper
from jdiff.storage import atomic_write, check_output

# Bytes of an animation while it is written; a larger page has fewer frames.
MAX_BYTES = 2**29

_SHARP = 2.0  # pixels of the page from paper to full ink across an edge


class Page(NamedTuple):
    """A written page, and what its files are made of.

    Attributes:
        image: dark on white, uint8[H, W].
        frames: makes the pages of its animation one by one, uint8[H, W] each, the
            image last; None if there is no animation.
        steps: which step each frame shows, int[F]; None if frames are not steps.
        strokes: centre lines of the pen in the order of writing, float[n, 2] each, of
            (x, y) in pixels from the top left; None for a page made of images.
        pen_width: of the strokes, in pixels.
    """

    image: np.ndarray
    frames: Callable[[], Iterator[np.ndarray]] | None = None
    steps: Sequence[int] | None = None
    strokes: Sequence[np.ndarray] | None = None
    pen_width: float = 1.0


def glyph_page(
    layout: Layout,
    glyphs: np.ndarray,
    path: np.ndarray | None = None,
    steps: Sequence[int] | None = None,
) -> Page:
    """Returns the page of glyph images.

    A page that is too large for all its frames keeps evenly spaced ones, and the last.

    Args:
        layout: from `typeset`.
        glyphs: 255 is ink, uint8[N, h, w].
        path: their states, for an animation, the glyphs last, uint8[F, N, h, w].
        steps: which step each state is, int[F].

    Raises:
        ValueError: the layout is for another number of glyphs.
    """
    image = on_paper(compose(layout, glyphs))
    if path is None:
        return Page(image)
    path, steps = thin_out(path, steps, image)
    return Page(image, functools.partial(_paper_frames, layout, path), steps)


def thin_out(path: Any, steps: Sequence[int] | None, image: np.ndarray) -> Any:
    """Returns as many states and steps as there is memory for, with the last ones."""
    kept = slice(None, None, -max(1, -(-len(path) * image.size // MAX_BYTES)))
    return path[kept][::-1], None if steps is None else steps[kept][::-1]


def save_page(
    path: str | os.PathLike,
    page: Page,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
    dpi: float | None = None,
    counter: bool = True,
    hold: int = 20,
) -> None:
    """Writes a page in the format of the suffix, whole or not at all.

    Args:
        path: F.png or F.svg, a picture; F.gif, F.apng or F.webp, an animation, of one
            frame if the page has no frames.
        page: from `jdiff.write`.
        ink: what black becomes.
        paper: what white becomes; with an alpha of 0 it is transparent.
        dpi: pixels per inch, in [1, 10000], for PNG, APNG and SVG.
        counter: whether a strip below an animation shows the step.
        hold: the last frame lasts as long as this many frames, >= 1.

    Raises:
        ValueError: an argument is not as described, or the page is too large for the
            format.
    """
    path = check_page_file(path, ink, paper, dpi, page.image.shape[::-1])
    if path.suffix.lower() in ANIMATIONS:
        frames = [page.image] if page.frames is None else page.frames()
        steps = page.steps if counter and page.frames is not None else None
        formats.save_animation(path, frames, steps, hold, ink=ink, paper=paper, dpi=dpi)
        return
    formats.check_grey(page.image)
    look = ink, paper, dpi
    with atomic_write(path) as draft:
        if path.suffix.lower() == ".png":
            formats.write_png(draft, page.image, *look)
        elif page.strokes is None:
            draft.write_text(svg.outline_svg(page.image, *look))
        else:
            shape, pen = page.image.shape, page.pen_width
            draft.write_text(svg.stroke_svg(page.strokes, pen, shape, *look))


def check_page_file(
    path: str | os.PathLike,
    ink: Colour = BLACK,
    paper: Colour = WHITE,
    dpi: float | None = None,
    size: tuple[int, ...] = (1, 1),
) -> Path:
    """Returns the path of a page; raises what `save_page` would. Call it before work.

    Args: as for `save_page`, and
        size: (width, height) in pixels, as far as it is known.

    Raises:
        ValueError: an argument is not as described.
    """
    path = check_output(path, ".png", ".svg", *ANIMATIONS)
    if ink == paper:
        raise ValueError(f"ink and paper must differ, got {ink} for both.")
    formats.check_dpi(dpi, path.suffix.lower())
    formats.check_size(size, path.suffix.lower())
    return path


class _Stamp(NamedTuple):
    """How a glyph comes on the page: 1/2 + gain (rows glyph columns^T - threshold)."""

    y: int  # the top left pixel of its rectangle on the page
    x: int
    rows: np.ndarray  # resample a glyph there, float32[h', h]
    columns: np.ndarray  # float32[w', w]
    threshold: float  # grey level where ink begins
    gain: float  # contrast there


def compose(layout: Layout, glyphs: np.ndarray) -> np.ndarray:
    """Returns the page, uint8[H, W]; where glyphs overlap, the most ink wins.

    Args and Raises: as `compose_frames`, for one state uint8[N, h, w].
    """
    (page,) = compose_frames(layout, [glyphs])
    return page


def compose_frames(layout: Layout, path: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Returns the pages uint8[H, W] of an animation, made one by one when asked for.

    Args:
        layout: from `typeset`, of the finished glyphs.
        path: their states, uint8[F, N, h, w].

    Raises:
        ValueError: the layout is for another number of glyphs.
    """
    stamps: list[_Stamp] = []
    for glyphs in path:
        check_glyphs(glyphs, len(layout.source))
        stamps = stamps or _stamps(layout, *glyphs.shape[-2:])
        page = np.zeros((layout.height, layout.width), np.uint8)
        for stamp, glyph in zip(stamps, glyphs, strict=True):
            _draw(page, stamp, glyph)
        yield page


def _paper_frames(layout: Layout, path: np.ndarray) -> Iterator[np.ndarray]:
    return map(on_paper, compose_frames(layout, path))


def _draw(page: np.ndarray, stamp: _Stamp, glyph: np.ndarray) -> None:
    glyph = np.asarray(glyph, np.float32) / 255.0
    grey = stamp.rows @ glyph @ stamp.columns.T
    sharp = 0.5 + stamp.gain * (grey - stamp.threshold)
    ink = np.rint(255.0 * np.clip(sharp, 0.0, 1.0)).astype(np.uint8)
    height, width = ink.shape
    window = page[stamp.y : stamp.y + height, stamp.x : stamp.x + width]
    np.maximum(window, ink, out=window)


def _stamps(layout: Layout, height: int, width: int) -> list[_Stamp]:
    """Returns the stamps of all glyphs, which are float[height, width]."""
    stamps = []
    for k, threshold in enumerate(layout.threshold):
        source, target = layout.source[k], layout.target[k]
        x, columns = _resampling(source[::2], target[::2], width, layout.width)
        y, rows = _resampling(source[1::2], target[1::2], height, layout.height)
        scale = (target[2:] - target[:2]) / (source[2:] - source[:2])
        # The lower bound keeps blank paper blank and full ink full.
        least = 0.5 / min(threshold, 1.0 - threshold)
        gain = max(least, BLUR * np.sqrt(scale.prod()) / _SHARP)
        stamps.append(_Stamp(y, x, rows, columns, threshold, gain))
    return stamps


def _resampling(
    source: np.ndarray, target: np.ndarray, num_in: int, num_out: int
) -> tuple[int, np.ndarray]:
    """Returns the first page pixel of an interval and its matrix, float32[P, num_in].

    The kernel is Keys' cubic (1981, a = -1/2), widened where the image shrinks.
    Beyond the glyph's num_in pixels there is no ink; the page ends at num_out.
    """
    first, last = np.clip(np.rint(target), 0, num_out).astype(int)
    step = (source[1] - source[0]) / (target[1] - target[0])
    at = source[0] + (np.arange(first, last) + 0.5 - target[0]) * step
    support = max(step, 1.0)
    u = np.abs(at[:, None] - np.arange(num_in) - 0.5) / support
    near = (1.5 * u - 2.5) * u**2 + 1.0
    far = ((-0.5 * u + 2.5) * u - 4.0) * u + 2.0
    kernel = np.where(u <= 1.0, near, np.where(u < 2.0, far, 0.0))
    return int(first), (kernel / support).astype(np.float32)
