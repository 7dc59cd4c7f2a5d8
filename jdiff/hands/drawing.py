"""A drawing of a sheet: an SVG whose paths are strokes in its cells.

The view box is the whole page, as it is when strokes are drawn upon a picture of it.
"""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np

from jdiff import storage
from jdiff.hands import sheet
from jdiff.storage import DataError

_MAX_BYTES = 2**24
_MAX_POINTS = 200_000
_STEPS = 8  # of a curve


def read_drawing(
    path: str | Path, form: sheet.Form = sheet.FULL
) -> list[list[np.ndarray]]:
    """Returns the strokes in each cell, float[n, 2], in millimetres of the page.

    Args:
        path: an .svg file; its `path`, `polyline` and `line` elements are strokes.
        form: of the sheet.

    Raises:
        DataError: the file is no such drawing.
    """
    file = storage.expand(path)
    if not file.is_file():
        raise DataError(f"{path} must be an existing .svg file, got no such file.")
    storage.check_size(file.stat().st_size, _MAX_BYTES, path)
    with storage.reading(path, "an .svg file of strokes"):
        text = file.read_bytes()
        if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
            raise DataError("an .svg file must define no entities, got some.")
        root = ElementTree.fromstring(text)
        box = np.array(root.get("viewBox", "").replace(",", " ").split(), float)
        strokes = [stroke for element in root.iter() for stroke in _strokes(element)]
    if len(box) != 4 or not np.isfinite(box).all() or box[2:].min() <= 0:
        raise DataError(f"{path} must have a view box of the page, got {box.tolist()}.")
    wide, high = sheet.PAGE
    if abs(math.log(box[2] / box[3] * high / wide)) > 0.02:
        raise DataError(
            f"{path} must have the shape of a sheet, {wide:g} to {high:g}, "
            f"got {box[2]:g} to {box[3]:g}."
        )
    if sum(map(len, strokes)) > _MAX_POINTS:
        raise DataError(f"{path} must hold at most {_MAX_POINTS:,} points, got more.")
    cells: list[list[np.ndarray]] = [[] for _ in form.chars]
    places = sheet.cell_places(form)
    for stroke in strokes:
        stroke = (stroke - box[:2]) * (np.array(sheet.PAGE) / box[2:])
        if not np.isfinite(stroke).all():
            raise DataError(f"{path} must hold finite numbers, got others.")
        inside = (np.abs(stroke.mean(0) - places - np.array(sheet.CELL) / 2)) * 2
        (cell,) = np.nonzero((inside < sheet.CELL).all(1))
        if len(cell):
            cells[cell[0]].append(stroke)
    return cells


def _strokes(element: ElementTree.Element) -> list[np.ndarray]:
    """Returns the strokes of one element, in its own coordinates."""
    from fontTools.svgLib import parse_path

    if element.get("transform"):
        raise DataError("an .svg file of strokes must have no transforms, got one.")
    name = element.tag.rpartition("}")[2]
    if name == "path":
        pen = _Polylines()
        parse_path(element.get("d", ""), pen)
        return pen.strokes
    if name == "polyline":
        numbers = element.get("points", "").replace(",", " ").split()
        return [np.array(numbers, float).reshape(-1, 2)] if numbers else []
    if name == "line":
        ends = [float(element.get(key, 0)) for key in ("x1", "y1", "x2", "y2")]
        return [np.reshape(ends, (2, 2))]
    return []


class _Polylines:
    """A pen, as fontTools knows them, that keeps what it is led along as points."""

    def __init__(self) -> None:
        self.strokes: list[np.ndarray] = []
        self._points: list = []

    def moveTo(self, point):
        self._points = [point]

    def lineTo(self, point):
        self._points.append(point)

    def curveTo(self, *controls):
        self._bend(controls, (1.0, 3.0, 3.0, 1.0))

    def qCurveTo(self, *controls):
        self._bend(controls, (1.0, 2.0, 1.0))

    def _bend(self, controls, binomials):
        ends = np.array([self._points[-1], *controls])
        if len(ends) != len(binomials):
            raise DataError(f"a curve must have {len(binomials)} points.")
        t = np.linspace(0.0, 1.0, _STEPS + 1)[1:, None]
        power = np.arange(len(ends))
        weight = binomials * t**power * (1.0 - t) ** power[::-1]
        self._points += list(weight @ ends)

    def closePath(self):
        self._points.append(self._points[0])
        self.endPath()

    def endPath(self):
        self.strokes.append(np.array(self._points, float))
