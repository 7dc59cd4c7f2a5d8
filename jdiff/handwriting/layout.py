"""The layout of a text on a page: words, lines, alignment, the place of each glyph.

All lengths are in heights of a capital. A line begins where its first ink begins and
ends where its last ink ends. `typeset` measures the finished glyphs and gives each its
place; `compose` draws them there, or any earlier state of them, so that nothing moves
in an animation:

    layout = typeset(text, glyphs)          # from the finished glyphs
    page = compose(layout, glyphs)          # uint8[H, W]
    frames = compose_frames(layout, path)   # uint8[F, N, h, w], page by page
"""

import math
import re
from itertools import chain
from typing import NamedTuple

import numpy as np

from jdiff.handwriting.ink import (
    ASCENT,
    DESCENT,
    WIDEST,
    ink_boxes,
    ink_sizes,
    ink_thresholds,
    kern_pairs,
)
from jdiff.handwriting.text import BLANKS

# Lengths in units of the height of a capital, as in a schoolbook of handwriting.
LINE_HEIGHT = 1.75
WORD_SPACE = 0.42
BEARING = 0.075  # white on either side of the ink of a glyph
MARGIN = 0.6
PEN = 0.115  # thickness of a stroke
JITTER = 0.06  # how far a glyph may stray from its line, up or down
MAX_PEN = 0.5  # with more, a full stop would leave its line
MIN_HEIGHT = 4  # pixels of a capital; with fewer, there is no ink
MAX_JITTER = 0.1  # which is the least margin, too: no glyph strays off the page

MAX_LENGTH = 10_000  # characters of a text: minutes of sampling
MAX_SIDE = 65_000  # pixels: what a GIF can count, and room for its step counter
MAX_PIXELS = 89_000_000  # of a page: programs that open more warn of an attack

_BORDER = np.array([-2.0, -2.0, 2.0, 2.0])  # pixels of a glyph around its ink
_DRIFT = 8.0  # glyphs from one bend of the baseline to the next


class Alignment(NamedTuple):
    """How the free room of a line is distributed.

    Attributes:
        indent: the fraction of it to the left of the line, in [0, 1].
        fill: the fraction of it that is first put between the words, in [0, 1], except
            in the last line of a paragraph.
    """

    indent: float
    fill: float = 0.0


FLUSH_LEFT = Alignment(0.0)
CENTRED = Alignment(0.5)
FLUSH_RIGHT = Alignment(1.0)
JUSTIFIED = Alignment(0.0, fill=1.0)


class Word(NamedTuple):
    """A run of glyphs."""

    chars: str
    left: np.ndarray  # where the ink of each glyph begins, from that of the first
    width: float  # of its ink
    space: float  # of the blanks before it


class Line(NamedTuple):
    """A line of a paragraph."""

    words: list[Word]
    starts: list[float]  # where the ink of each word begins, flush left
    is_last: bool


def paragraphs(text: str) -> list[str]:
    """Returns the lines of a text as it was typed, without blanks at its end."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return text.rstrip(" \n").split("\n")


def read_words(
    text: str,
    widths: np.ndarray,
    kerns: np.ndarray | float = 0.0,
    word_space: float = WORD_SPACE,
) -> list[list[Word]]:
    """Returns the words of each paragraph, whose ink has widths float[N].

    A character moves by its kern float[N] towards the one before it in its word.
    """
    kerns = np.broadcast_to(kerns, widths.shape)
    words: list[list[Word]] = []
    first = 0
    for paragraph in paragraphs(text):
        words.append([])
        for blanks, chars in re.findall("( *)([^ ]+)", paragraph):
            last = first + len(chars)
            steps = (widths + 2 * BEARING)[first : last - 1] - kerns[first + 1 : last]
            left = np.concatenate([[0.0], np.cumsum(steps)])
            width = (left + widths[first:last]).max()
            words[-1].append(Word(chars, left, width, word_space * len(blanks)))
            first = last
    return words


def break_lines(words: list[list[Word]], room: float) -> list[Line]:
    """Returns the lines of some paragraphs: as many words in each as there is room.

    The blanks that a line is broken at are lost. A word wider than the room gets a
    line of its own.
    """
    lines = []
    for paragraph in words:
        line = Line([], [], True)
        end = -2 * BEARING
        for word in paragraph:
            start = end + 2 * BEARING + word.space
            if start + word.width > room:
                start = 0.0
                if line.words:
                    lines.append(line._replace(is_last=False))
                    line = Line([], [], True)
            line.words.append(word)
            line.starts.append(start)
            end = start + word.width
        lines.append(line)
    return lines


def place_glyphs(
    lines: list[Line], room: float, align: Alignment
) -> tuple[np.ndarray, np.ndarray]:
    """Returns where the ink of each glyph begins, float[N], and its line, int[N].

    If the room for a line is infinite, it is that of the longest.
    """
    widths = [
        line.starts[-1] + line.words[-1].width if line.words else 0.0 for line in lines
    ]
    room = max(widths) if math.isinf(room) else room
    left, row = [], []
    for k, (line, width) in enumerate(zip(lines, widths, strict=True)):
        free = room - width
        num_gaps = len(line.words) - 1
        fill = align.fill * free if num_gaps > 0 and not line.is_last else 0.0
        indent = align.indent * (free - fill)
        for gap, (word, start) in enumerate(zip(line.words, line.starts, strict=True)):
            left.append(start + indent + fill * gap / max(num_gaps, 1) + word.left)
            row.append(np.full(len(word.left), k))
    return np.concatenate(left), np.concatenate(row)


def stray(num_glyphs: int) -> np.ndarray:
    """Returns how far each glyph strays from its line, in [-1, 1], float[N].

    Half of it is the glyph's own, half is a slow drift of its neighbourhood. Glyph k
    strays the same in every text.
    """
    noise = np.random.default_rng(0).uniform(-1.0, 1.0, (num_glyphs + 1, 2))
    hop, bends = noise.T
    k = np.arange(num_glyphs)
    drift = np.interp(k / _DRIFT, np.arange(num_glyphs + 1), bends)
    return 0.5 * (hop[:-1] + drift)


def set_lines(
    text: str,
    widths: np.ndarray,
    kerns: np.ndarray,
    cap_height: float,
    width: int | None,
    margin: float,
    align: Alignment,
    jitter: float,
    word_space: float = WORD_SPACE,
    line_height: float = LINE_HEIGHT,
) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns where the ink of glyphs begins, their baselines, and how many lines.

    The first two are float[N], from the top left of the page, in heights of a capital.
    Arguments are those of `read_words` and `typeset`.
    """
    room = math.inf if width is None else width / cap_height - 2 * margin
    words = read_words(text, widths, kerns, word_space)
    widest = max(chain.from_iterable(words), key=lambda word: word.width)
    if widest.width > room:
        needs = math.ceil(cap_height * (widest.width + 2 * margin))
        got = round(cap_height * (room + 2 * margin))
        raise ValueError(
            f"page too narrow for the word {widest.chars!r}: "
            f"it needs a width of {needs} pixels, got {got}."
        )
    lines = break_lines(words, room)
    left, row = place_glyphs(lines, room, align)
    baseline = margin + ASCENT + row * line_height + jitter * stray(len(left))
    return left + margin, baseline, len(lines)


class Layout(NamedTuple):
    """Where each glyph goes; a rectangle is (left, top, right, bottom).

    Attributes:
        height, width: of the page, in pixels.
        source: the part of each glyph that is drawn, in its pixels, float[N, 4].
        target: where on the page it is drawn, in pixels, float[N, 4].
        threshold: grey where ink begins, float[N]; a high one makes strokes thin.
    """

    height: int
    width: int
    source: np.ndarray
    target: np.ndarray
    threshold: np.ndarray


def typeset(
    text: str,
    glyphs: np.ndarray,
    cap_height: float = 44.0,
    width: int | None = None,
    height: int | None = None,
    margin: float = MARGIN,
    align: Alignment = FLUSH_LEFT,
    jitter: float = JITTER,
    pen: float = PEN,
) -> Layout:
    """Returns the layout of glyph images as lines of text.

    Flush left, a glyph's place depends on the text before it and on its own word, on
    nothing that follows. The same arguments give the same page.

    Args:
        text: what the glyphs say; its blanks and line ends are kept.
        glyphs: one image for each character that is drawn, uint8[N, h, w].
        cap_height: height of a capital on the page, in pixels, > 0.
        width: of the page, in pixels; words that do not fit move to the next line.
            By default as wide as the longest line of the text.
        height: of the page, in pixels; by default as high as the lines need.
        margin: paper around the text, in heights of a capital, [0.1, 10].
        align: how the free room of a line is distributed.
        jitter: how far a glyph may stray from its line, up or down, by itself and
            with its neighbours, in heights of a capital, [0, 0.1]; 0 is a ruler.
        pen: thickness of a stroke, in heights of a capital, (0, 0.5]. Glyphs come as
            close to it as they can without breaking strokes or filling loops.

    Raises:
        ValueError: see `check_page`; or text and glyphs differ in number, or the
            page is too narrow for a word, too low for the lines, or too large.
    """
    check_page(text, cap_height, width, height, margin, jitter, pen)
    drawn = text.translate(BLANKS)
    check_glyphs(glyphs, len(drawn) or 1)
    glyphs = np.asarray(glyphs, np.float32) / 255.0
    ink = ink_boxes(glyphs)
    sizes = ink_sizes(drawn, ink, pen)
    below, above, widths = sizes.T
    kerns = kern_pairs(glyphs, ink, sizes)
    left, line, num_lines = set_lines(
        text, widths, kerns, cap_height, width, margin, align, jitter
    )
    place = cap_height * np.stack([left, line - above, left + widths, line + below], 1)
    # Not from its place: how a glyph looks must not depend on that, to the last bit.
    size = np.stack([widths, below + above], 1)
    scale = cap_height * size / (ink[:, 2:] - ink[:, :2])
    if width is None:
        width = math.ceil(cap_height * margin + place[:, 2].max())
    return Layout(
        height=page_height(num_lines, cap_height, width, height, margin),
        width=width,
        source=ink + _BORDER,
        target=place + _BORDER * np.tile(scale, 2),
        threshold=ink_thresholds(glyphs, pen * cap_height / np.sqrt(scale.prod(1))),
    )


def check_page(
    text: str,
    cap_height: float = 44.0,
    width: int | None = None,
    height: int | None = None,
    margin: float = MARGIN,
    jitter: float = JITTER,
    pen: float = PEN,
) -> None:
    """Raises what `typeset` would raise whatever the glyphs: call it before sampling.

    Args: as for `typeset`.

    Raises:
        ValueError: an argument is not as described, or the text is longer than
            10,000 characters, or does not fit on the page, or the page would have
            more than 65,000 pixels along a side or 89 million in all.
    """
    if not MIN_HEIGHT <= cap_height <= MAX_SIDE:
        raise ValueError(
            f"cap_height must be in [{MIN_HEIGHT}, {MAX_SIDE}] pixels, got "
            f"{cap_height}."
        )
    if not MAX_JITTER <= margin <= 10:
        raise ValueError(f"margin must be in [{MAX_JITTER}, 10], got {margin}.")
    if not 0 <= jitter <= MAX_JITTER:
        raise ValueError(f"jitter must be in [0, {MAX_JITTER}], got {jitter}.")
    if not 0 < pen <= MAX_PEN:
        raise ValueError(f"pen must be in (0, {MAX_PEN}], got {pen}.")
    if len(text) > MAX_LENGTH:
        got = len(text)
        raise ValueError(f"a text has at most {MAX_LENGTH} characters, got {got}.")
    least = 2 * margin * cap_height + 1
    if width is not None and not least <= width <= MAX_SIDE:
        raise ValueError(
            f"width must be in [{math.ceil(least)}, {MAX_SIDE}] pixels, got {width}."
        )
    rows = paragraphs(text)
    longest = max(map(len, rows))
    widest = longest * (WIDEST + 2 * BEARING) * cap_height + least
    if width is None and widest > MAX_SIDE:
        raise ValueError(
            f"a line of {longest} characters needs a width to be wrapped at: "
            f"a page is at most {MAX_SIDE} pixels wide."
        )
    page_height(len(rows), cap_height, width or 1, height, margin)


def check_glyphs(glyphs: np.ndarray, num_glyphs: int) -> None:
    """Raises ValueError if glyphs are not uint8[num_glyphs, h, w]."""
    if glyphs.dtype != np.uint8 or glyphs.ndim != 3 or len(glyphs) != num_glyphs:
        got = f"{glyphs.dtype}{list(glyphs.shape)}"
        raise ValueError(f"glyphs must be uint8[{num_glyphs}, h, w], got {got}.")


def page_height(
    num_lines: int,
    cap_height: float,
    width: int,
    height: int | None,
    margin: float,
    line_height: float = LINE_HEIGHT,
) -> int:
    """Returns the height of a page in pixels, as asked for or as its lines need."""
    extent = 2 * margin + ASCENT + DESCENT + (num_lines - 1) * line_height
    needed = math.ceil(cap_height * extent)
    if height is not None and height < needed:
        raise ValueError(
            f"page too low for the text: "
            f"it needs a height of {needed} pixels, got {height}."
        )
    height = height or needed
    if height > MAX_SIDE or width * height > MAX_PIXELS:
        raise ValueError(
            f"a page is at most {MAX_SIDE} pixels high and {MAX_PIXELS} in all, "
            f"got {width} x {height}."
        )
    return height
