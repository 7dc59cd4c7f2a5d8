"""From ink to strokes: thinned to centre lines, in the order in which hands write.

A picture does not say where the pen began, where it went twice, and where it was
lifted. Characters that a model of strokes draws, the guides, do. The path along the
centre lines that follows a guide most closely, step by step, is found exactly (Viterbi
1967); of several guides the one counts that is followed most closely and leaves the
least ink out.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_array, csgraph

from jdiff.handwriting import decode_strokes, resample, smooth

_NUM_GUIDES = 6  # of those given, the likest in shape
_NUM_PLACES = 110  # on the centre lines, among which the path chooses
# Standard deviations, in heights of an x, of the path around its guide: of a point, and
# of a step.
_NEAR, _STEP = 0.25, 0.07
_JUMP = 12.0  # what it costs to leave a line within a stroke
_LEFT_OUT = 90.0  # what a height of an x of line costs that is not followed
_REACH = 0.12  # from the path, within which a line is followed
_CALM = 0.06  # heights of an x, over which the steps from pixel to pixel are smoothed


def trace(
    ink: np.ndarray, origin: Sequence[float], unit: float, guides: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Returns the strokes of a character's ink, float[n, 2] each.

    Args:
        ink: bool[H, W], with some.
        origin: x and y in pixels that become 0, 0; y goes up from there.
        unit: pixels in a height of an x.
        guides: characters of the class, float[60, 3], as `decode_strokes` takes them.
    """
    lines = thin(ink)
    places = (lines + 0.5 - np.asarray(origin)) / unit * [1.0, -1.0]
    if len(places) == 1:
        return [places]
    chosen = np.unique(np.linspace(0, len(places) - 1, _NUM_PLACES).round().astype(int))
    walks = _connect(lines, unit, chosen)
    candidates = [_fit(decode_strokes(guide), places) for guide in guides]
    apart = [_chamfer(np.concatenate(own), places) for own in candidates]
    best: tuple[float, list[np.ndarray]] = np.inf, []
    for k in np.argsort(apart, kind="stable")[:_NUM_GUIDES]:
        cost, strokes = _follow(candidates[k], places, chosen, walks)
        drawn = places[np.concatenate(strokes)]
        missed = np.square(places[:, None] - drawn).sum(-1).min(1) > _REACH**2
        cost += _LEFT_OUT * missed.sum() / unit
        best = min(best, (cost, strokes), key=lambda pair: pair[0])
    return [_calm(places[stroke]) for stroke in best[1]]


def thin(ink: np.ndarray) -> np.ndarray:
    """Returns the pixels (x, y) of the centre lines of ink bool[H, W], int[P, 2]."""
    from skimage.morphology import skeletonize

    return np.argwhere(skeletonize(ndimage.binary_fill_holes(ink) & ink))[:, ::-1]


class _Walks(NamedTuple):
    """Ways along the lines from the chosen places: lengths and last pixels, [K, P]."""

    lengths: np.ndarray
    before: np.ndarray


def _connect(lines: np.ndarray, unit: float, chosen: np.ndarray) -> _Walks:
    apart = np.abs(lines[:, None] - lines[None])
    first, second = np.nonzero(apart.max(-1) == 1)
    steps = np.sqrt(apart[first, second].sum(-1)) / unit
    graph = coo_array((steps, (first, second)), shape=(len(lines),) * 2)
    walks = csgraph.dijkstra(graph.tocsr(), indices=chosen, return_predecessors=True)
    return _Walks(*walks)


def _fit(strokes: list[np.ndarray], places: np.ndarray) -> list[np.ndarray]:
    """Returns strokes in the box of places."""
    points = np.concatenate(strokes)
    size = np.maximum(np.ptp(points, axis=0), 0.1)
    scale = np.maximum(np.ptp(places, axis=0), 0.1) / size
    middle, target = (x.min(0) + np.ptp(x, axis=0) / 2 for x in (points, places))
    return [(stroke - middle) * scale + target for stroke in strokes]


def _chamfer(a: np.ndarray, b: np.ndarray) -> float:
    squares = np.square(a[:, None] - b[None]).sum(-1)
    return float(np.sqrt(squares.min(0)).mean() + np.sqrt(squares.min(1)).mean())


def _follow(
    guide: list[np.ndarray], places: np.ndarray, chosen: np.ndarray, walks: _Walks
) -> tuple[float, list[np.ndarray]]:
    """Returns what it costs to follow a guide, and the strokes that do."""
    points = np.concatenate(guide)
    starts = np.cumsum([0, *map(len, guide)])
    here = places[chosen]
    near = np.square(here - points[:, None]).sum(-1) / (2 * _NEAR**2)
    moves = here[None] - here[:, None]
    lengths = walks.lengths[:, chosen]
    cost, came_from = near[0], np.empty((len(points), len(chosen)), int)
    for t in range(1, len(points)):
        if t in starts:
            total = np.broadcast_to(cost[:, None], lengths.shape)
        else:
            step = points[t] - points[t - 1]
            strayed = np.square(moves - step).sum(-1)
            strayed += np.square(lengths - np.hypot(*step))
            total = cost[:, None] + np.minimum(strayed / (2 * _STEP**2), _JUMP)
        came_from[t] = total.argmin(0)
        cost = total.min(0) + near[t]
    path = [int(cost.argmin())]
    for t in range(len(points) - 1, 0, -1):
        path.append(came_from[t, path[-1]])
    strokes = [
        _walk(own, chosen, walks)
        for own in np.split(np.array(path[::-1]), starts[1:-1])
    ]
    return float(cost.min()), strokes


def _walk(path: np.ndarray, chosen: np.ndarray, walks: _Walks) -> np.ndarray:
    """Returns all places on the way through some of the chosen ones, int[n]."""
    pieces = [chosen[path[:1]]]
    for first, second in zip(path[:-1], path[1:], strict=True):
        place, way = chosen[second], []
        while place >= 0 and place != chosen[first]:
            way.append(place)
            place = walks.before[first, place]
        pieces.append(np.array(way[::-1], int))
    return np.concatenate(pieces)


def _calm(stroke: np.ndarray) -> np.ndarray:
    """Returns a stroke without the steps from pixel to pixel."""
    length = np.hypot(*np.diff(stroke, axis=0).T).sum()
    return smooth(resample(stroke, 2 + int(length / 0.03)), _CALM)
