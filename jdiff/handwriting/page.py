"""Pages of ink: glyph images drawn where a layout puts them."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from jdiff.handwriting.ink import BLUR
from jdiff.handwriting.layout import Layout, check_glyphs

_SHARP = 2.0  # pixels of the page from paper to full ink across an edge


class _Stamp(NamedTuple):
    """How a glyph comes on the page: 1/2 + gain (rows glyph columns^T - threshold).

    Attributes:
        y, x: the top left pixel of its rectangle on the page.
        rows, columns: resample a glyph there, float32[h', h] and float32[w', w].
        threshold: grey level where ink begins.
        gain: contrast there.
    """

    y: int
    x: int
    rows: np.ndarray
    columns: np.ndarray
    threshold: float
    gain: float


def compose(layout: Layout, glyphs: np.ndarray) -> np.ndarray:
    """Returns the page, uint8[..., H, W]; where glyphs overlap, the most ink wins.

    Args:
        layout: from `typeset`.
        glyphs: uint8[..., N, h, w]; leading axes (frames) give as many pages.

    Raises:
        ValueError: the layout is for another number of glyphs.
    """
    check_glyphs(glyphs, len(layout.source))
    states = glyphs.reshape(-1, *glyphs.shape[-3:])
    pages = np.empty((len(states), layout.height, layout.width), np.uint8)
    for k, page in enumerate(compose_frames(layout, states)):
        pages[k] = page
    return pages.reshape(*glyphs.shape[:-3], layout.height, layout.width)


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


def _draw(page: np.ndarray, stamp: _Stamp, glyph: np.ndarray) -> None:
    glyph = np.asarray(glyph, np.float32) / 255.0
    grey = stamp.rows @ glyph @ stamp.columns.T
    level = 0.5 + stamp.gain * (grey - stamp.threshold)
    ink = np.rint(255.0 * np.clip(level, 0.0, 1.0)).astype(np.uint8)
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
