"""The style of a handwritten glyph: four numbers, measured from its image.

With the ink of a glyph as a density over pixels, x to the right and y upwards:

    slant      Cov(x, y) / Var(y), by how much a stroke leans to the right
    weight     log 2 A / V, thickness of a stroke: area over half the edge
    width      log of the deviation of x over that of y, once the slant is undone
    roundness  -log E r^4, once width and slant are: high for a ring, low for a cross

(Moments of images: Hu 1962; the slant is the one that MNIST's digits are deskewed by.)
Characters differ: even a round Z is less round than an O. So a style counts standard
deviations from the mean of the SAME character; 0 is the average hand. A number that is
not given is NaN.
"""

from typing import Any, NamedTuple

import numpy as np

from jdiff.handwriting.ink import stroke_thickness

STYLES = ("slant", "weight", "width", "roundness")
MAX_STYLE = 3.0  # standard deviations; beyond them there is nothing to learn from

_BLOCK = 8192  # images at a time


class StyleScale(NamedTuple):
    """Mean and standard deviation of `measure_style` for each character.

    Attributes:
        mean: float[C, 4].
        std: float[C, 4], > 0.
    """

    mean: np.ndarray
    std: np.ndarray


def measure_style(images: np.ndarray) -> np.ndarray:
    """Returns slant, weight, width and roundness of glyphs, float32[N, 4].

    Args:
        images: 255 is ink, uint8[N, H, W, 1]; without ink the style is 0.
    """
    starts = range(0, max(len(images), 1), _BLOCK)
    blocks = [_measure(images[start : start + _BLOCK, ..., 0]) for start in starts]
    return np.concatenate(blocks)


def fit_style_scale(
    measured: np.ndarray, labels: np.ndarray, num_classes: int
) -> StyleScale:
    """Returns mean and standard deviation of each class; 0 and 1 of an empty one.

    Args:
        measured: float[N, 4], from `measure_style`.
        labels: int[N], in [0, num_classes).
        num_classes: C.
    """
    num = np.maximum(np.bincount(labels, minlength=num_classes), 1)[:, None]

    def means(values):
        sums = [np.bincount(labels, column, num_classes) for column in values.T]
        return np.stack(sums, 1) / num

    mean = means(measured)
    std = np.sqrt(means(np.square(measured - mean[labels])))
    std[std < 1e-6] = 1.0
    return StyleScale(mean.astype(np.float32), std.astype(np.float32))


def standardize_style(
    measured: np.ndarray, labels: np.ndarray, scale: StyleScale
) -> np.ndarray:
    """Returns styles, float32[N, 4]: measures in deviations from their character's.

    Args:
        measured: float[N, 4], from `measure_style`.
        labels: int[N].
        scale: from `fit_style_scale`.
    """
    return (measured - scale.mean[labels]) / scale.std[labels]


def draw_style(seed: int) -> np.ndarray:
    """Returns a random style, float32[4], each number in [-1.2, 1.2].

    The standard deviation is 0.6. That of all writers is 1, but styles far from the
    average in all four numbers are hard to read.

    Args:
        seed: >= 0; the same seed gives the same style.
    """
    style = 0.6 * np.random.default_rng(seed).standard_normal(len(STYLES))
    return np.clip(style, -1.2, 1.2).astype(np.float32)


def mask_style(
    random: np.random.Generator, styles: np.ndarray, fraction: float
) -> np.ndarray:
    """Returns styles of which some numbers are not given, float32[N, 4].

    A network that is trained with them works without them, too.

    Args:
        random: the source of randomness.
        styles: float[N, 4].
        fraction: of each number that is hidden, and also of whole styles, in [0, 1].
    """
    hidden = random.random(styles.shape) < fraction
    hidden |= random.random((len(styles), 1)) < fraction
    return np.where(hidden, np.float32(np.nan), styles.astype(np.float32))


def check_style(style: Any, num_glyphs: int) -> np.ndarray:
    """Returns a style for each glyph, float32[N, 4], from one for all or N.

    Raises:
        ValueError: style is not float[4] or float[N, 4], or a number is neither NaN
            nor in [-3, 3].
    """
    style = np.asarray(style, np.float32)
    if style.shape not in ((len(STYLES),), (num_glyphs, len(STYLES))):
        allowed = f"[{len(STYLES)}] or [{num_glyphs}, {len(STYLES)}]"
        raise ValueError(f"style must be {allowed}, got {list(style.shape)}.")
    if (np.abs(style) > MAX_STYLE).any():
        worst = style[np.abs(style) > MAX_STYLE][0]
        raise ValueError(
            f"style must be in [-{MAX_STYLE:g}, {MAX_STYLE:g}] standard deviations, "
            f"got {worst:g}."
        )
    return np.broadcast_to(style, (num_glyphs, len(STYLES)))


def _measure(images: np.ndarray) -> np.ndarray:
    """Returns the style of glyphs uint8[n, H, W]."""
    ink = images / np.float32(255)
    height, width = ink.shape[1:]
    area = ink.sum((1, 2))
    density = ink / np.maximum(area, 1e-6)[:, None, None]
    column, row = (np.arange(n, dtype=np.float32) for n in (width, height))
    x = column - (density.sum(1) @ column)[:, None]
    y = (density.sum(2) @ row)[:, None] - row

    def moment(a, b):
        return np.einsum("nhw,nh,nw->n", density, a, b, optimize=True)

    # A pixel is as wide as 1: a line one pixel wide has a variance, too.
    var_y = moment(y**2, np.ones_like(x)) + 1 / 12
    slant = moment(y, x) / var_y
    var_x = moment(np.ones_like(y), x**2) + 1 / 12
    var_x = np.maximum(var_x - slant**2 * var_y, 1 / 12)
    upright = x[:, None, :] - slant[:, None, None] * y[:, :, None]
    r_2 = upright**2 / var_x[:, None, None] + (y**2 / var_y[:, None])[:, :, None]
    r_4 = np.einsum("nhw,nhw->n", density, r_2**2)
    weight = np.log(np.maximum(stroke_thickness(ink), 0.1))
    measures = slant, weight, np.log(var_x / var_y) / 2, -np.log(np.maximum(r_4, 1.0))
    return np.where(area[:, None] > 0, np.stack(measures, 1), 0).astype(np.float32)
