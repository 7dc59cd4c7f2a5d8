"""From a photo, a drawing or strokes to a hand.

reading = read_hand("sheet.jpg", model)
hand = fit_hand(model, *encode_reading(reading))
"""

from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jdiff import data, handwriting, models
from jdiff.data import PEN_CHARS
from jdiff.hands import drawing, photo, sheet
from jdiff.hands.trace import trace
from jdiff.storage import DataError

MAX_CHARS = 2000

_NUM_GUIDES = 16  # hands of the model whose characters show how to write
_STAND = "aceomnrsuvwxz"  # letters that stand on the line, as tall as an x
_TALL, _X_OF_TALL = "ABCDEFGHIKLMNORSTUVWXYZbdfhkl0123456789", 0.62
_MOST_VOTES = 2  # of all tall letters, where each that is as tall as an x has one
_LARGEST = 4.5  # coordinate of an array, beyond which a character is a mistake


class Reading(NamedTuple):
    """The characters that somebody wrote.

    Attributes:
        strokes: of each character, float[n, 2], in heights of the writer's x.
        chars: which character each is.
        empty: characters whose cells hold nothing.
        crossed: characters that are crossed out, or no characters.
    """

    strokes: list[list[np.ndarray]]
    chars: str
    empty: str = ""
    crossed: str = ""


def read_hand(
    path: str | Path, model: models.PenModel, form: sheet.Form = sheet.FULL
) -> Reading:
    """Returns the characters in a photo of a sheet, a drawing of one, or an .npz.

    Args:
        path: .npz of pen strokes of one writer, .svg, or a picture.
        model: whose characters show how ink was written.
        form: of the sheet that an .svg is drawn upon; a photo tells.

    Raises:
        DataError: the file is not as described.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".npz":
        return _read_strokes(path)
    if suffix == ".svg":
        cells = drawing.read_drawing(path, form)
        return read_cells(cells, form)
    return read_photo(photo.read_photo(path), model)


def _read_strokes(path: str | Path) -> Reading:
    pen = data.read_pen_npz(path)
    writers = len(np.unique(pen.writers))
    if writers > 1:
        raise DataError(f"{path} must hold characters of one writer, got {writers}.")
    if len(pen.labels) > MAX_CHARS:
        raise DataError(
            f"{path} must hold at most {MAX_CHARS:,} characters, got {len(pen.labels)}."
        )
    keep = [
        k
        for k, strokes in enumerate(pen.strokes)
        if pen.has_baseline[k] and len(strokes) <= handwriting.MAX_STROKES
    ]
    chars = "".join(PEN_CHARS[pen.labels[k]] for k in keep)
    return Reading([pen.strokes[k] for k in keep], chars)


def read_photo(cells: photo.Cells, model: models.PenModel) -> Reading:
    """Returns the characters of the cells of a photo."""
    found = ~cells.empty & ~cells.crossed
    chars = "".join(np.array(list(cells.form.chars))[found])
    kinds = "".join(sorted(set(chars)))
    guides = dict(zip(kinds, draw_guides(model, kinds), strict=True)) if kinds else {}
    strokes: list[list[np.ndarray]] = [[] for _ in cells.form.chars]
    base = photo.PIXELS * (photo.MARGIN + sheet.BASELINE)
    for k in np.flatnonzero(found):
        char = cells.form.chars[k]
        lines = trace(
            cells.ink[k], (0.0, base), photo.PIXELS * sheet.X_HEIGHT, guides[char]
        )
        strokes[k] = lines
    return _gather(strokes, cells.form, cells.crossed)


def read_cells(cells: list[list[np.ndarray]], form: sheet.Form) -> Reading:
    """Returns the characters of strokes in the cells of a sheet, in millimetres."""
    strokes = [
        [(s - [x, y + sheet.BASELINE]) / sheet.X_HEIGHT * [1.0, -1.0] for s in own]
        for own, (x, y) in zip(cells, sheet.cell_places(form), strict=True)
    ]
    return _gather(strokes, form, np.zeros(len(cells), bool))


def _gather(strokes, form: sheet.Form, crossed: np.ndarray) -> Reading:
    crossed = crossed | [len(own) > handwriting.MAX_STROKES for own in strokes]
    kept = [k for k, own in enumerate(strokes) if own and not crossed[k]]

    def chars(rows):
        return "".join(form.chars[k] for k in rows)

    empty = [k for k, own in enumerate(strokes) if not own and not crossed[k]]
    written = find_unit([strokes[k] for k in kept], chars(kept))
    return Reading(written, chars(kept), chars(empty), chars(np.flatnonzero(crossed)))


def draw_guides(model: models.PenModel, chars: str) -> np.ndarray:
    """Returns characters in several hands of the model, float[C, G, 60, 3]."""
    labels = handwriting.encode(chars, model.classes)
    rows = np.linspace(0, len(model.hands) - 1, _NUM_GUIDES).round().astype(int)
    hand = models.Hand(np.repeat(model.hands[rows], len(chars), 0), 0.7)
    batches = models.generate_strokes(
        jax.random.key(0),
        model,
        np.tile(labels, len(rows)),
        hand,
        num_draws=1,
        batch_size=256,
    )
    arrays = np.concatenate([batch.x_0 for batch in batches])
    return arrays.reshape(len(rows), len(chars), *arrays.shape[1:]).swapaxes(0, 1)


def find_unit(strokes: list[list[np.ndarray]], chars: str) -> list[list[np.ndarray]]:
    """Returns characters in heights of the writer's x, and on the writer's line.

    People write larger than a sheet asks for, and not quite on its lines. The height of
    an x is a mean of logarithms, of letters as tall as it and, with fewer votes, of
    others: how much taller these are differs from writer to writer.
    """
    stand: list[float] = []
    tall: list[float] = []
    lows: list[float] = []
    for own, char in zip(strokes, chars, strict=True):
        y = np.concatenate([s[:, 1] for s in own])
        height = np.ptp(y) if y.size else 0.0
        if height > 0.0 and char in _STAND + _TALL:
            (stand if char in _STAND else tall).append(height)
            lows.append(y.min())
    votes = [len(stand), min(len(tall), _MOST_VOTES)]
    if not any(votes):
        return strokes
    sizes = [np.median(stand or [1.0]), _X_OF_TALL * np.median(tall or [1.0])]
    unit = np.exp(np.average(np.log(sizes), weights=votes))
    origin = np.array([0.0, np.median(lows)])
    return [[(s - origin) / unit for s in own] for own in strokes]


def encode_reading(reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Returns characters as arrays float[k, 60, 3], and their labels int[k]."""
    arrays = [handwriting.encode_strokes(own) for own in reading.strokes]
    stacked = np.array(arrays, np.float32).reshape(-1, handwriting.NUM_POINTS, 3)
    inside = np.abs(stacked[..., :2]).max((1, 2), initial=0.0) < _LARGEST
    labels = np.array([PEN_CHARS.index(char) for char in reading.chars], np.int32)
    return stacked[inside], labels[inside]
