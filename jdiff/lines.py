"""Lines of handwriting: words read, broken into lines, aligned.

All lengths are in heights of a capital. A line begins where its first ink begins and
ends where its last ink ends.
"""

import math
import re
from typing import NamedTuple

import numpy as np

WORD_SPACE = 0.42
BEARING = 0.075  # white on either side of the ink of a glyph
_DRIFT = 8.0  # glyphs from one bend of the baseline to the next


class Alignment(NamedTuple):
    """What becomes of the room that a line leaves free.

    Attributes:
        indent: the share of it that lies left of the line, in [0, 1].
        fill: the share of it that first goes between the words, in [0, 1]; none
            does in the last line of a paragraph.
    """

    indent: float
    fill: float = 0.0


FLUSH_LEFT = Alignment(0.0)
CENTRED = Alignment(0.5)
FLUSH_RIGHT = Alignment(1.0)
JUSTIFIED = Alignment(0.0, fill=1.0)


class Word(NamedTuple):
    """A run of glyphs.

    Attributes:
        chars: what it says.
        left: where the ink of each glyph begins, from that of the first, float[n].
        width: of its ink.
        space: of the blanks before it.
    """

    chars: str
    left: np.ndarray
    width: float
    space: float


class Line(NamedTuple):
    """A line of a paragraph.

    Attributes:
        words: none in an empty line.
        starts: where the ink of each word begins, if the line is set flush left.
        is_last: whether the paragraph ends with it.
    """

    words: list[Word]
    starts: list[float]
    is_last: bool


def paragraphs(text: str) -> list[str]:
    """Returns what stands between the line ends of a text, without blanks at its end.

    >>> paragraphs("Dear Ada\\n\\nthe loop\\tconverges \\n")
    ['Dear Ada', '', 'the loop converges']
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\t", " ")
    return text.rstrip(" \n").split("\n")


def read_words(
    text: str, widths: np.ndarray, kerns: np.ndarray | float = 0.0
) -> list[list[Word]]:
    """Returns the words of each paragraph.

    Args:
        text: of N characters besides blanks.
        widths: of the ink of each of them, float[N].
        kerns: how far each moves towards the one before it in its word, float[N].
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
            words[-1].append(Word(chars, left, width, WORD_SPACE * len(blanks)))
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

    Args:
        lines: with at least one word.
        room: for a line; if infinite, that of the longest.
        align: what becomes of the room that is left.
    """
    widths = [_width(line) for line in lines]
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

    Half of it is the glyph's own, half a slow drift that its neighbours share. Glyph
    k strays the same in every text.
    """
    noise = np.random.default_rng(0).uniform(-1.0, 1.0, (num_glyphs + 1, 2))
    hop, bends = noise.T
    k = np.arange(num_glyphs)
    drift = np.interp(k / _DRIFT, np.arange(num_glyphs + 1), bends)
    return 0.5 * (hop[:-1] + drift)


def _width(line: Line) -> float:
    return line.starts[-1] + line.words[-1].width if line.words else 0.0
