"""A photograph of a sheet: where its cells are, and the ink in each.

The corner marks give the perspective, the brightest around a place the light there.
What is left is the sheet itself, PIXELS to a millimetre, on which ink is dark.
"""

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jdiff import storage
from jdiff.hands import sheet
from jdiff.storage import DataError

PIXELS = 6  # to a millimetre of the sheet

_FORMATS = ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "MPO"]
_MAX_PIXELS = 10**8
_SMALL = 1600  # pixels of the longer side, in which marks are looked for
_DARKEST = 40  # of the paper, of 255
_MOST_MARKS = 8
_BLACK = 0.6  # share of the light that marks and bits give back, at most

# Ink gives back less light than paper: as shares of what the ink of the sheet takes.
_FAINT, _CLEAR = 0.35, 0.55
_GUIDES = 0.2  # that lines and print take, at most
_SPECK = 0.2  # square millimetres
MARGIN = 8.0  # millimetres around a cell, beyond which its ink is cut off
# Connected ink that spans as many cells is not of one character, but of those that hold
# as large a share of it.
_WIDE, _SHARE = 1.75, 0.2
# A cell whose ink spans as much of it both ways was crossed out.
_CROSSED = 0.85


class Cells(NamedTuple):
    """What a photograph shows.

    Attributes:
        form: of the sheet.
        ink: of each cell and MARGIN around it, bool[N, H, W].
        empty: which cells hold nothing, bool[N].
        crossed: which ones are crossed out, bool[N].
    """

    form: sheet.Form
    ink: np.ndarray
    empty: np.ndarray
    crossed: np.ndarray


def read_photo(path: str | Path) -> Cells:
    """Returns the cells of a photographed or scanned sheet.

    Raises:
        DataError: the file is no picture, or not of a sheet: too dark, cut off, without
            marks, or with those of another page.
    """
    return find_cells(_open(path), str(path))


def find_cells(grey: np.ndarray, where: str = "the photo") -> Cells:
    """Returns the cells of a sheet, however it lies in a picture uint8[H, W].

    Args:
        grey: the picture.
        where: its name in messages.
    """
    small, shrink = _shrink(grey)
    light = _measure_light(small)
    if np.percentile(light, 90) < _DARKEST:
        raise DataError(
            f"{where} must show paper of at least {_DARKEST} of 255, got "
            f"{np.percentile(light, 90):.0f}: it is too dark."
        )
    form, to_photo = _recognise(small / light, where)
    page = _straighten(grey, to_photo, shrink)
    page /= np.maximum(_straighten(light, to_photo, 1.0), 1.0)  # 0 beyond the photo
    return _cut(np.clip(1.0 - page, 0.0, 1.0), form)


def _open(path: str | Path) -> np.ndarray:
    from PIL import Image, ImageOps

    file = storage.expand(path)
    if not file.is_file():
        raise DataError(f"{path} must be an existing picture, got no such file.")
    kind = "a picture (.jpg, .png, .webp, .tif)"
    with storage.reading(path, kind), Image.open(file, formats=_FORMATS) as image:
        if math.prod(image.size) > _MAX_PIXELS:
            raise DataError(
                f"{path} must have at most {_MAX_PIXELS:,} pixels, got {image.size}."
            )
        return np.asarray(ImageOps.exif_transpose(image).convert("L"))


def _shrink(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """Returns a picture of at most _SMALL pixels a side, and by what it was divided."""
    from PIL import Image

    factor = max(1.0, max(grey.shape) / _SMALL)
    height, width = (max(1, round(side / factor)) for side in grey.shape)
    small = Image.fromarray(grey).resize((width, height), Image.Resampling.BOX)
    return np.asarray(small, np.float32), grey.shape[1] / width


def _measure_light(small: np.ndarray) -> np.ndarray:
    """Returns how bright paper is, or would be, at each pixel, float32[H, W] >= 1."""
    # A closing fills what is narrower than itself: ink and marks.
    side = math.ceil(max(small.shape) / 40)
    filled = ndimage.grey_closing(ndimage.gaussian_filter(small, 1.0), (side, side))
    return np.maximum(ndimage.gaussian_filter(filled, side / 2), 1.0)


def _recognise(flat: np.ndarray, where: str) -> tuple[sheet.Form, np.ndarray]:
    """Returns the form, and the map from its millimetres to pixels, float[3, 3]."""
    marks = _find_marks(flat < _BLACK)
    if len(marks) < 4:
        raise DataError(
            f"{where} must show the four corner marks of a sheet, got {len(marks)}."
        )
    # Which are the marks, and which of them is the top left, the bits tell.
    for four in itertools.combinations(marks, 4):
        found = np.array(four)
        # Clockwise, as y goes down.
        angle = np.arctan2(*(found - found.mean(0)).T[::-1])
        found = found[np.argsort(angle)]
        for turn in range(4):
            to_photo = fit_perspective(sheet.MARKS, np.roll(found, turn, 0))
            bits = _read_bits(flat, to_photo)
            for form in sheet.FORMS:
                if bits == form.bits:
                    return form, to_photo
    raise DataError(
        f"{where} must show a sheet of `jdiff hand sheet`, got the marks of another "
        "page."
    )


def _read_bits(flat: np.ndarray, to_photo: np.ndarray) -> tuple[int, ...]:
    """Returns which bits are printed where a map says that they are."""
    places = np.nan_to_num(project(to_photo, sheet.bit_places())).clip(-1e6, 1e6)
    x, y = places.astype(int).T
    x, y = x.clip(0, flat.shape[1] - 1), y.clip(0, flat.shape[0] - 1)
    return tuple((flat[y, x] < _BLACK).astype(int).tolist())


def _find_marks(dark: np.ndarray) -> np.ndarray:
    """Returns the middles of squares within squares, the largest first, float[n, 2].

    A large @ is one, too: hence a few more than the four marks.
    """
    parts, num = ndimage.label(dark)
    boxes = ndimage.find_objects(parts)
    if not num:
        return np.empty((0, 2))
    area = np.bincount(parts.ravel(), minlength=num + 1)[1:]
    ends = np.array([[(s.start, s.stop) for s in box[::-1]] for box in boxes])
    low, high = ends[..., 0], ends[..., 1]
    side, middle = (high - low).mean(1), (low + high) / 2
    aspect = (high - low).max(1) / (high - low).min(1)
    # Of a mark 24 and 9 modules are dark, in squares of 7 and 3.
    found = []
    for ring in np.flatnonzero((aspect < 2.0) & (side >= 9)):
        apart = np.abs(middle - middle[ring]).max(1)
        ratio, share = side / side[ring], area / area[ring]
        inside = (apart < 0.12 * side[ring]) & (abs(ratio - 3 / 7) < 0.2)
        if (inside & (abs(share - 9 / 24) < 0.25)).any():
            found.append(ring)
    largest = sorted(found, key=lambda ring: -side[ring])[:_MOST_MARKS]
    centres = ndimage.center_of_mass(dark, parts, np.array(largest) + 1)
    return np.array(centres).reshape(-1, 2)[:, ::-1] + 0.5  # of a pixel


def fit_perspective(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Returns the map of four points onto four others, float[3, 3]."""
    x, y = source.T
    one, zero = np.ones(4), np.zeros(4)
    u, v = target.T
    rows = [x, y, one, zero, zero, zero, -u * x, -u * y]
    rows += [zero, zero, zero, x, y, one, -v * x, -v * y]
    system = np.concatenate([np.stack(rows[:8], 1), np.stack(rows[8:], 1)])
    # Least squares, for four marks on a line belong to another page.
    solution = np.linalg.lstsq(system, target.T.ravel(), rcond=None)[0]
    return np.append(solution, 1.0).reshape(3, 3)


def project(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Returns where a perspective takes points float[N, 2]."""
    mapped = np.pad(points, [(0, 0), (0, 1)], constant_values=1.0) @ matrix.T
    return mapped[:, :2] / mapped[:, 2:]


def _straighten(picture: np.ndarray, to_photo: np.ndarray, factor: float) -> np.ndarray:
    """Returns the sheet, float32[H, W], PIXELS to a millimetre."""
    from PIL import Image

    width, height = (round(PIXELS * side) for side in sheet.PAGE)
    to_small = np.diag([factor, factor, 1.0]) @ to_photo
    matrix = to_small @ np.diag([1 / PIXELS, 1 / PIXELS, 1.0])
    # A photo of more pixels than that is blurred first, or thin lines are missed.
    spacing = np.hypot(*np.diff(project(matrix, np.array([[0, 0], [9, 9]])), axis=0).T)
    blur = 0.5 * max(0.0, float(spacing[0]) / math.hypot(9, 9) - 1.0)
    image = Image.fromarray(ndimage.gaussian_filter(picture, blur, output=np.float32))
    return np.array(
        image.transform(
            (width, height),
            Image.Transform.PERSPECTIVE,
            (matrix / matrix[2, 2]).ravel()[:8].tolist(),
            Image.Resampling.BILINEAR,
        )
    )


def _cut(darkness: np.ndarray, form: sheet.Form) -> Cells:
    """Returns the cells of a straight page, float[H, W] in [0, 1]."""
    places = np.rint(PIXELS * sheet.cell_places(form)).astype(int)
    edge, top, width, height = (
        round(PIXELS * side) for side in (MARGIN, sheet.WINDOW, *sheet.CELL)
    )
    none = len(places)
    cells = np.full(darkness.shape, none)
    for k, (x, y) in enumerate(places):
        cells[y : y + height, x : x + width] = k
    strong = darkness[(darkness > 2 * _GUIDES) & (cells < none)]
    ink = _find_ink(darkness, np.median(strong) if strong.size else 1.0)
    owners = np.pad(_find_owners(ink, cells, none), edge, constant_values=none)
    tall, wide = height + 2 * edge, width + 2 * edge
    windows = np.stack(
        [owners[y : y + tall, x : x + wide] == k for k, (x, y) in enumerate(places)]
    )
    inside = windows[:, edge + top : edge + height, edge : edge + width]
    spans = np.array(
        [[np.ptp(k) if k.size else 0 for k in np.nonzero(own)] for own in inside]
    )
    crossed = np.all(spans > _CROSSED * np.array([height - top, width]), axis=1)
    empty = ~np.any(windows, axis=(1, 2))
    return Cells(form, windows, np.asarray(empty), np.asarray(crossed))


def _find_owners(ink: np.ndarray, cells: np.ndarray, none: int) -> np.ndarray:
    """Returns the cell that each pixel of ink belongs to, int[H, W].

    People write over the edges of cells: what is connected belongs to the cell that
    holds most of it. If it is too large for one character, some touch one another, and
    each of their cells keeps what lies in it.

    Args:
        ink: bool[H, W].
        cells: in which cell each pixel lies, int[H, W].
        none: what stands for no cell.
    """
    owners = np.full(ink.shape, none)
    parts, _ = ndimage.label(ink, np.ones((3, 3)))
    for part, box in enumerate(ndimage.find_objects(parts), 1):
        own = parts[box] == part
        held = np.bincount(cells[box][own], minlength=none + 1)
        spans = np.array(own.shape[::-1]) / PIXELS / sheet.CELL
        if spans.max() < _WIDE:
            owners[box][own] = held[:none].argmax() if held[:none].any() else none
        else:
            kept = np.where(held < _SHARE * own.sum(), none, np.arange(none + 1))
            owners[box][own] = kept[cells[box][own]]
    return owners


def _find_ink(darkness: np.ndarray, level: float) -> np.ndarray:
    """Returns which pixels are ink: what is dark, and what is grey beside it."""
    grey = darkness > max(_FAINT * level, _GUIDES)
    parts, num = ndimage.label(grey, np.ones((3, 3)))
    dark = darkness > max(_CLEAR * level, _GUIDES)
    clear = np.bincount(parts[dark], minlength=num + 1) > 0
    clear &= np.bincount(parts.ravel()) >= _SPECK * PIXELS**2 / 2
    clear[0] = False
    return clear[parts]
