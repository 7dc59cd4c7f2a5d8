"""UNIPEN's own files (Guyon et al. 1994): characters segmented in recordings of a pen.

A file of segments includes the recording that it is about:

    .INCLUDE app/app.doc
    .INCLUDE app/data/app12/app1286.dat
    .SEGMENT CHARACTER 2-3 ? "E"

and a recording is a sequence of components, points between .PEN_DOWN and .PEN_UP or the
reverse, counted from 0; those without points are not counted. `12:5-13` are point 5 of
component 12 to the end of component 13, and commas join such ranges. y points up.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jdiff import storage
from jdiff.data.dataset import DataError
from jdiff.data.pen import PEN_CHARS, Pen

_STATEMENT = re.compile(r"^\.([A-Z_]+)[ \t]*", re.MULTILINE)
_CHARACTER = re.compile(r'CHARACTER\s+([-\d:,]+)\s+(\S+)\s+"(\\?.)"\s*$', re.DOTALL)
_RANGE = re.compile(r"(\d+)(?::(\d+))?(?:-(\d+)(?::(\d+))?)?$")
_SUFFIXES = (".dat", ".DAT")
_MAX_FILES = 100  # that a file includes, also through others
_MAX_BYTES = 2**28  # of a file
_MAX_STROKES = 255  # of a character, as in the .npz format

# What stands on the line, and what is as high as an x. Capitals and digits are higher.
_ON_LINE = "ABCDEFGHIKLMNORSTUVWXZabcdehiklmnorstuvwxz0123456789"
_LOW = "aceomnrsuvwxz"
_X_OF_CAPITAL = 0.62
_NEIGHBOURS = 16  # that say where the line is
_FEW = 3
# In heights of an x: faults of recording, and where a new line begins.
_JUMP, _TALLEST = 2.0, 6.0
_BACK, _LEAP = 1.0, 2.5


class _Character(NamedTuple):
    """A segment of a recording."""

    char: str
    strokes: list[np.ndarray]  # float32[n, 2] each, in points of the tablet along x
    writer: str
    source: str  # the file of its recording


class _Component(NamedTuple):
    points: np.ndarray
    is_down: bool
    writer: str


def read_unipen(folder: str | Path) -> Pen:
    """Returns the segmented characters of printable ASCII in a folder of UNIPEN.

    What several files say of one recording is there once. The height of an x is the
    median height of a writer's `aceomnrsuvwxz`, else 0.62 of that of capitals and
    digits; the baseline is the median bottom of up to 16 neighbours that stand on it.
    Left out are faulty recordings (a jump of two heights of an x in a stroke, six
    heights in all), and writers without letters and digits.

    Args:
        folder: train_r01_v07, or a part of it, such as train_r01_v07/data/1c. Files are
            included from the folders called `include` beside it or above.

    Raises:
        DataError: there is no such character, or a file cannot be read.
    """
    with storage.reading(folder, "a folder of UNIPEN's own files"):
        return _read_folder(storage.expand(folder), folder)


def _read_folder(place: Path, folder: str | Path) -> Pen:
    characters = _read_characters(place)
    units = _measure_units(characters)
    numbers = {writer: k for k, writer in enumerate(units)}
    characters = [
        c._replace(strokes=[stroke / units[c.writer] for stroke in c.strokes])
        for c in characters
        if c.writer in units
    ]
    characters = [c for c in characters if not _is_faulty(c.strokes)]
    if not characters:
        raise DataError(f"{folder} must hold letters or digits, got none.")
    lines = _break_lines(characters)
    baseline, has_baseline = _find_baselines(characters, lines)
    left = np.array([_box(c)[0, 0] for c in characters])
    firsts = left[np.searchsorted(lines, lines)]
    return Pen(
        [
            [(s - [x, y]).astype(np.float32) for s in c.strokes]
            for c, x, y in zip(characters, left, baseline, strict=True)
        ],
        np.array([PEN_CHARS.index(c.char) for c in characters], np.int32),
        np.array([numbers[c.writer] for c in characters], np.int32),
        lines,
        (left - firsts).astype(np.float32),
        has_baseline,
    )


def _measure_units(characters: list[_Character]) -> dict[str, float]:
    """Returns the height of an x of each writer, in points of the tablet."""
    low: dict[str, list[float]] = {}
    high: dict[str, list[float]] = {}
    for character in characters:
        height = float(np.ptp(_box(character)[:, 1]))
        if character.char in _LOW:
            low.setdefault(character.writer, []).append(height)
        elif character.char.isupper() or character.char.isdigit():
            high.setdefault(character.writer, []).append(_X_OF_CAPITAL * height)
    units = {who: float(np.median(own)) for who, own in (high | low).items()}
    return {who: unit for who, unit in units.items() if unit > 0}


def _is_faulty(strokes: list[np.ndarray]) -> bool:
    if np.ptp(np.concatenate(strokes)[:, 1]) > _TALLEST:
        return True
    steps = [np.hypot(*np.diff(stroke, axis=0).T) for stroke in strokes]
    return any((step > _JUMP).any() for step in steps)


def _break_lines(characters: list[_Character]) -> np.ndarray:
    """Returns the line of each character, int32[N], ascending."""
    lines, line, last = [], -1, None
    for character in characters:
        box = _box(character)
        if (
            last is None
            or character.source != last[0]
            or box[0, 0] < last[1][0, 0] - _BACK
            or abs(box[0, 1] - last[1][0, 1]) > _LEAP
        ):
            line += 1
        last = character.source, box
        lines.append(line)
    return np.array(lines, np.int32)


def _find_baselines(characters, lines) -> tuple[np.ndarray, np.ndarray]:
    """Returns y of the line under each character, float[N], and if it is known."""
    bottom = np.array([_box(character)[0, 1] for character in characters])
    stands = np.array([character.char in _ON_LINE for character in characters])
    baseline, known = bottom.copy(), np.zeros(len(lines), bool)
    for rows in np.split(np.arange(len(lines)), np.flatnonzero(np.diff(lines)) + 1):
        standing = rows[stands[rows]]
        if len(standing) < _FEW:
            continue
        known[rows] = True
        for row in rows:
            near = np.argsort(np.abs(standing - row), kind="stable")[:_NEIGHBOURS]
            baseline[row] = np.median(bottom[standing[near]])
    return baseline, known


def _box(character: _Character) -> np.ndarray:
    """Returns the least and the largest (x, y), float[2, 2]."""
    points = np.concatenate(character.strokes)
    return np.stack([points.min(0), points.max(0)])


def _read_characters(folder: Path) -> list[_Character]:
    """Returns the characters of a folder, in points of the tablet, once each."""
    include = [base / "include" for base in (folder, *folder.resolve().parents)]
    roots = [root for root in include if root.is_dir()] + [folder]
    found: dict[tuple[str, str], _Character] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix not in _SUFFIXES or not path.is_file():
            continue
        storage.check_size(path.stat().st_size, _MAX_BYTES, path)
        if b".SEGMENT CHARACTER" in path.read_bytes():
            for key, character in _read_file(path, roots):
                found.setdefault(key, character)
    if not found:
        raise DataError(
            f"{folder} must hold .dat files with .SEGMENT CHARACTER, got none."
        )
    return list(found.values())


def _read_file(path, roots) -> Iterator[tuple[tuple[str, str], _Character]]:
    statements = list(_read_statements(path, roots, []))
    source = next((s for name, _, s in statements if name == "PEN_DOWN"), str(path))
    components = _read_components(statements, path)
    for name, text, _ in statements:
        segment = _CHARACTER.match(text) if name == "SEGMENT" else None
        if segment is None or segment[2] == "BAD":
            continue
        char = segment[3][-1]
        own = [c for part in segment[1].split(",") for c in _cut(components, part)]
        if char not in PEN_CHARS or not own:
            continue
        strokes = [component.points for component in own]
        yield (source, segment[1]), _Character(char, strokes, own[0].writer, source)


def _read_statements(path, roots, seen) -> Iterator[tuple[str, str, str]]:
    """Yields (keyword, text, file) with included files in their places."""
    seen.append(path)
    if len(seen) > _MAX_FILES:
        raise DataError(f"{path} must not include itself, nor over {_MAX_FILES} files.")
    storage.check_size(path.stat().st_size, _MAX_BYTES, path)
    text = path.read_text("latin-1").replace("\r", "\n")
    starts = list(_STATEMENT.finditer(text))
    ends = [match.start() for match in starts[1:]] + [len(text)]
    for match, end in zip(starts, ends, strict=True):
        body = text[match.end() : end]
        if match[1] == "INCLUDE":
            yield from _include(body.strip(), path, roots, seen)
        else:
            yield match[1], body, str(path)


def _include(name, path, roots, seen) -> Iterator[tuple[str, str, str]]:
    for root in (*roots, path.parent):
        found = (root / name).resolve()
        if found.is_relative_to(root.resolve()) and found.is_file():
            yield from _read_statements(found, roots, seen)
            return
    # Documentation and word lists may be missing; the recording may not.
    if name.lower().endswith(".dat"):
        raise DataError(f"{path} must find the file that it includes, got no {name}.")


def _read_components(statements, path) -> list[_Component]:
    columns, scale = ["X", "Y"], {"X": 1.0, "Y": 1.0}
    writer, components = path.stem, []
    for name, text, source in statements:
        words = text.split()
        if name == "COORD":
            columns = words
        elif name in ("X_POINTS_PER_INCH", "Y_POINTS_PER_INCH"):
            scale[name[0]] = _number(words, source)
        elif name in ("X_POINTS_PER_MM", "Y_POINTS_PER_MM"):
            scale[name[0]] = 25.4 * _number(words, source)
        elif name == "WRITER_ID":
            writer = " ".join(words) or writer
        elif name in ("PEN_DOWN", "PEN_UP"):
            points = _read_points(words, columns, source)
            points *= np.array([1.0, scale["X"] / scale["Y"]], np.float32)
            if len(points):
                is_down = name == "PEN_DOWN"
                components.append(_Component(points, is_down, writer))
    return components


def _number(words, source) -> float:
    try:
        number = float(words[0])
    except (IndexError, ValueError):
        number = 0.0
    if not 0.0 < number < np.inf:
        raise DataError(f"{source} must say points per inch > 0, got {words[:1]}.")
    return number


def _read_points(words, columns, source) -> np.ndarray:
    """Returns points, float32[n, 2]; a last row that is not whole is left out."""
    if not {"X", "Y"} <= set(columns):
        raise DataError(f"{source} must have .COORD X and Y, got {columns}.")
    num = len(words) // len(columns)
    try:
        rows = np.array(words[: num * len(columns)], np.float32)
    except ValueError as error:
        raise DataError(
            f"{source} must hold numbers as points, got {error}."
        ) from error
    table = rows.reshape(num, len(columns))
    points = table[:, [columns.index("X"), columns.index("Y")]]
    if not np.isfinite(points).all():
        raise DataError(f"{source} must hold finite points, got NaN or infinity.")
    return points


def _cut(components: list[_Component], part: str) -> list[_Component]:
    """Returns what a range covers while the pen is down."""
    match = _RANGE.match(part)
    if match is None:
        return []
    first, start = int(match[1]), int(match[2] or 0)
    last = int(match[3] or first)
    if last - first >= _MAX_STROKES:
        return []
    stop = match[4] if match[3] else match[2]
    cut = []
    for k in range(first, min(last, len(components) - 1) + 1):
        points = components[k].points
        points = points[: int(stop) + 1] if k == last and stop else points
        points = points[start:] if k == first else points
        if len(points) and components[k].is_down:
            cut.append(components[k]._replace(points=points))
    return cut
