"""Sheets that are filled, and photographed as a phone does it."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from jdiff import hands, handwriting

INK, PEN = 0.75, 0.45  # share of the light that ink takes; thickness in millimetres
TABLE = 90  # grey of it
TILT, TURN = 0.05, 4.0  # shift of corners, as a share of the page; degrees
GRAIN, NOISE, QUALITY = 18.0, 4.0, 70  # of paper, of the sensor, in 255; of the JPEG


def fill_sheet(
    form: hands.Form, characters: Sequence[list[np.ndarray] | None], dpi: float
) -> np.ndarray:
    """Returns a page with characters in its cells, uint8[H, W]; None is none."""
    page = hands.draw_sheet(form, dpi)
    scale = dpi / 25.4
    strokes = [scale * s for s in hands.place_on_sheet(form, list(characters))]
    ink = handwriting.draw_strokes(strokes, PEN * scale, *page.shape)
    return np.minimum(page, 255 - INK * ink).astype(np.uint8)


def photograph(page: np.ndarray, dpi: float, seed: int) -> np.ndarray:
    """Returns a page on a table, uint8[H, W]: askew, unevenly lit, blurred, as a JPEG.

    Half of the photos lie on their head.
    """
    random = np.random.default_rng(seed)
    height, width = (int(1.28 * side) for side in page.shape)
    photo = np.asarray(_tilt(page, (width, height), random), np.float32)
    photo *= _light(height, width, random)
    grain = ndimage.gaussian_filter(random.normal(size=photo.shape), 1.2)
    photo = ndimage.gaussian_filter(
        photo + GRAIN * grain, dpi / 150 * random.uniform(0.4, 0.9)
    )
    photo += NOISE * random.normal(size=photo.shape)
    if random.integers(2):
        photo = photo[::-1, ::-1]
    file = io.BytesIO()
    image = Image.fromarray(photo.clip(0, 255).astype(np.uint8))
    image.save(file, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(file))


def _tilt(page: np.ndarray, size: tuple[int, int], random) -> Image.Image:
    """Returns the page in perspective."""
    sides = np.array(page.shape[::-1], float)
    corners = sides * [[0, 0], [1, 0], [1, 1], [0, 1]]
    angle = np.deg2rad(random.uniform(-TURN, TURN))
    cos, sin = np.cos(angle), np.sin(angle)
    turned = (corners - sides / 2) @ [[cos, sin], [-sin, cos]] + np.array(size) / 2
    turned += TILT * sides * random.uniform(-1, 1, (4, 2))
    # From places in the photo to those on the page, by eight numbers.
    rows, found = [], []
    for (x, y), (u, v) in zip(turned, corners, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        found += [u, v]
    return Image.fromarray(page).transform(
        size,
        Image.Transform.PERSPECTIVE,
        np.linalg.solve(rows, found).tolist(),
        Image.Resampling.BICUBIC,
        fillcolor=TABLE,
    )


def _light(height: int, width: int, random) -> np.ndarray:
    """Returns a slope of light with the soft edge of a shadow across it."""
    y, x = np.mgrid[: 1 : height * 1j, : 1 : width * 1j].astype(np.float32)
    slope = 0.75 + 0.2 * (random.uniform(-1, 1) * x + random.uniform(-1, 1) * y)
    edge = (0.54 * x + 0.84 * y - random.uniform(0.4, 0.9)) / 0.05
    return slope * (1.0 - 0.35 / (1.0 + np.exp(-edge)))
