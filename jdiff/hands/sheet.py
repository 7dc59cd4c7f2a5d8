"""The sheet: a page to print, with a cell for each character.

Lengths are in millimetres on a page of A4, from its top left. Four marks, squares in
squares, tell where the page lies in a photograph; a row of bits along its top edge
tells which form it is, and which way up. What guides the writer is light grey, for the
reader takes only what is darker for ink.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from jdiff import storage


class Form(NamedTuple):
    """What a sheet asks for.

    Attributes:
        chars: the character of each cell, row by row.
        bits: that are printed on it, of which no two forms have the same.
    """

    chars: str
    bits: tuple[int, ...]


_PANGRAM = "thequickbrownfoxjumpsoverthelazydog"
FULL = Form("".join(map(chr, range(33, 127))), (1, 0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 0))
SHORT = Form(2 * _PANGRAM, (1, 1, 0, 0, 1, 0, 1, 1, 0, 1, 0, 1))
FORMS = FULL, SHORT

PAGE = 210.0, 297.0  # width and height
MARK = 7.7  # side of a mark
# Their middles, clockwise from the top left.
MARKS = np.array([(14.0, 14.0), (196.0, 14.0), (196.0, 283.0), (14.0, 283.0)])
_BITS = 26.0, 14.0  # the middle of the first bit
_BIT = 3.5  # from bit to bit

_CELLS = 12.0, 24.0  # the top left of the first cell
COLUMNS = 10
CELL = 18.6, 25.0
# Of a cell, from its top: where its letter ends, and the lines to write on.
WINDOW, X_LINE, BASELINE = 4.5, 11.5, 17.0
X_HEIGHT = BASELINE - X_LINE

_BLACK, _TEXT, _PALE, _GUIDE = 0, 120, 205, 215
_TITLE = "One character a cell, on the line. Cross out what went wrong."


def bit_places() -> np.ndarray:
    """Returns the middles of the bits, float[12, 2]."""
    steps = _BIT * np.arange(len(FULL.bits))
    return np.stack([_BITS[0] + steps, np.full(len(steps), _BITS[1])], 1)


def cell_places(form: Form) -> np.ndarray:
    """Returns the top left of each cell, float[N, 2]."""
    row, column = np.divmod(np.arange(len(form.chars)), COLUMNS)
    return np.stack([column, row], 1) * CELL + _CELLS


def draw_sheet(form: Form = FULL, dpi: float = 300.0) -> np.ndarray:
    """Returns the page to print, uint8[H, W].

    Args:
        form: FULL, all of printable ASCII, or SHORT, the letters of a sentence twice.
        dpi: pixels per inch.
    """
    from PIL import Image, ImageDraw, ImageFont

    scale = dpi / 25.4
    width, height = (round(scale * side) for side in PAGE)
    page = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(page)

    def square(middle, side, grey):
        low, high = (scale * (np.asarray(middle) + d) for d in (-side / 2, side / 2))
        draw.rectangle([*np.rint(low), *(np.rint(high) - 1)], fill=grey)

    def write(place, text, size, grey):
        font = ImageFont.load_default(scale * size)
        draw.text((scale * place[0], scale * place[1]), text, grey, font)

    for middle in MARKS:
        for modules, grey in ((7, _BLACK), (5, 255), (3, _BLACK)):
            square(middle, MARK * modules / 7, grey)
    for middle, bit in zip(bit_places(), form.bits, strict=True):
        if bit:
            square(middle, 0.8 * _BIT, _BLACK)
    write((72.0, 11.5), _TITLE, 3.8, _TEXT)
    for char, (x, y) in zip(form.chars, cell_places(form), strict=True):
        left, right = scale * x, scale * (x + CELL[0])
        for line in (0.0, X_LINE, BASELINE, CELL[1]):
            draw.line([left, scale * (y + line), right, scale * (y + line)], _GUIDE)
        for edge in (left, right):
            draw.line([edge, scale * y, edge, scale * (y + CELL[1])], _GUIDE)
        write((x + 0.8, y + 0.2), char, 4.0, _PALE)
    return np.asarray(page)


def save_sheet(path: str | Path, form: Form = FULL, dpi: float = 300.0) -> None:
    """Writes the page to print as a .pdf or .png.

    Raises:
        ValueError: the name ends otherwise, or the file cannot be written.
    """
    from PIL import Image

    path = storage.check_output(path, ".pdf", ".png")
    page = draw_sheet(form, dpi)
    with storage.atomic_write(path) as draft:
        if path.suffix.lower() == ".pdf":
            Image.fromarray(page).save(draft, resolution=dpi)
        else:
            Image.fromarray(page).save(draft, dpi=(dpi, dpi))


def place_on_sheet(
    form: Form, characters: list[list[np.ndarray] | None]
) -> list[np.ndarray]:
    """Returns strokes of characters in the cells of a sheet, in millimetres.

    Args:
        form: of the sheet.
        characters: of each cell, strokes float[n, 2] as `encode_strokes` takes them;
            None leaves it empty.
    """
    placed = []
    for (x, y), strokes in zip(cell_places(form), characters, strict=True):
        if strokes is not None:
            ink = np.concatenate(strokes)[:, 0]
            left = x + CELL[0] / 2 - X_HEIGHT * (ink.min() + ink.max()) / 2
            origin = np.array([left, y + BASELINE])
            placed += [origin + X_HEIGHT * s * [1.0, -1.0] for s in strokes]
    return placed
