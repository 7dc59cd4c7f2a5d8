"""What images look like, measured without a network.

A classifier's features leave out what it was trained to overlook, and a generator may
be wrong in exactly that (Stein et al. 2023). These five distances depend on no weights:
patches at three scales, the power at each frequency, grey values, the width of strokes
and the number of connected parts.

Each compares samples with a reference, as many or not. None is 0 between two finite
sets of real images: set each beside its floor, that of real images drawn the same way.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage  # comes with jax

from jdiff.evaluation.bootstrap import (
    NUM_RESAMPLES,
    Estimate,
    centred_estimate,
    resample_pair,
)

NUM_DIRECTIONS = 32  # at each scale of the pyramid
NUM_PATCHES = 4  # of each image at each scale
PATCH_SIZE = 7
GREY_LEVELS = np.arange(16, 256, 16)  # fainter ink nobody sees
INK = 128  # a pixel as dark as this belongs to a part
# White noise of less than a grey value has less power: nobody sees it either.
_MIN_POWER = 1e-5
_BINOMIAL = np.array([1, 4, 6, 4, 1]) / 16


class Appearance(NamedTuple):
    """Distances of samples from a reference by five views that nobody trained.

    Attributes:
        pyramid: `pyramid_distance`.
        spectrum: `marginal_distance` of `radial_spectrum`.
        grey: `marginal_distance` of `grey_areas`.
        stroke_width: `marginal_distance` of `stroke_widths`.
        parts: `parts_distance`.
    """

    pyramid: Estimate
    spectrum: Estimate
    grey: Estimate
    stroke_width: Estimate
    parts: Estimate


def measure_appearance(
    samples: np.ndarray,
    chars: Sequence[str] | np.ndarray,
    reference: np.ndarray,
    reference_chars: Sequence[str] | np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Appearance:
    """Returns the five distances of samples from a reference.

    Args:
        samples: uint8[N, H, W] or [N, H, W, 1], N >= 2, H and W divisible by 4 and
            >= 28, upright, 255 is ink.
        chars: the character of each sample.
        reference: uint8[M, H, W] or [M, H, W, 1], M >= 2.
        reference_chars: the character of each; each of the samples' occurs.
        seed: of patches, directions and the bootstrap over both sets, >= 0.
        num_resamples: of the bootstrap, >= 0; 0 gives intervals without width.
    """
    bootstrap = seed, num_resamples

    def compare(view):
        return marginal_distance(view(samples), view(reference), *bootstrap)

    return Appearance(
        pyramid_distance(samples, reference, *bootstrap),
        compare(radial_spectrum),
        compare(grey_areas),
        compare(stroke_widths),
        parts_distance(samples, chars, reference, reference_chars, *bootstrap),
    )


def pyramid_distance(
    samples: np.ndarray,
    reference: np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Returns the sliced Wasserstein distance over a Laplacian pyramid.

    mean over scales and directions w of W_1(w . p, w . q)

    of random patches p and q of 7 x 7 pixels at each scale (Karras et al. 2018, Sec.
    5): speckle and blur show at the fine one, wrong shapes at the coarse one. Karras et
    al. standardise the patches of each set by its own moments; here both are by the
    reference's, else lower contrast would not show. In its standard deviations.

    Args: as `measure_appearance`.
    """
    random = np.random.default_rng(seed)
    masses = _masses(samples, reference, seed, num_resamples)
    draws = []
    for scale in zip(*map(laplacian_pyramid, (samples, reference)), strict=True):
        # Equal images have equal patches: the seed alone says where they lie.
        x, y = (_draw_patches(images, seed) for images in scale)
        mean, std = y.mean((0, 1)), y.std((0, 1))
        axes = random.normal(size=(y.shape[-1], NUM_DIRECTIONS)).astype(np.float32)
        axes /= np.linalg.norm(axes, axis=0) * np.where(std > 0, std, 1)[:, None]
        draws.append(_mean_wasserstein((x - mean) @ axes, (y - mean) @ axes, masses))
    return centred_estimate(np.mean(draws, 0))


def marginal_distance(
    x: np.ndarray, y: np.ndarray, seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Estimate:
    """Returns the mean over measures of W_1 between their distributions.

    mean_d W_1(x_d, y_d) / std(y_d),  W_1 = integral |F - G|

    Args: x float[N, D] has D measures of each sample and y float[M, D] those of the
    reference, N and M >= 2; seed and num_resamples as in `measure_appearance`.
    """
    std = y.std(0)
    std = np.where(std > 0, std, 1)
    masses = _masses(x, y, seed, num_resamples)
    draws = _mean_wasserstein((x / std)[:, None], (y / std)[:, None], masses)
    return centred_estimate(draws)


def parts_distance(
    samples: np.ndarray,
    chars: Sequence[str] | np.ndarray,
    reference: np.ndarray,
    reference_chars: Sequence[str] | np.ndarray,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Returns how far apart the mean numbers of connected parts are.

    sqrt(sum_c n_c (m_c - r_c)^2 / sum_c n_c)

    with m_c and r_c the means of `count_parts` over the images of character c, n_c of
    them samples: an i without its dot and a broken A are wrong by one, and a few
    characters that are often wrong count for more than many that seldom are.

    Args: as `measure_appearance`.
    """
    names, counts = np.unique(list(chars), return_counts=True)
    means = []
    for images, own, mass in zip(
        (samples, reference),
        (chars, reference_chars),
        _masses(samples, reference, seed, num_resamples),
        strict=True,
    ):
        one_hot = (np.array(list(own))[:, None] == names).astype(np.float32)
        totals = mass @ (one_hot * count_parts(images)[:, None])
        of_char = mass @ one_hot
        means.append(totals / np.where(of_char > 0, of_char, 1))
    squares = np.square(means[0] - means[1])
    return centred_estimate(np.sqrt(squares @ (counts / counts.sum())))


def measure_looks(images: np.ndarray) -> np.ndarray:
    """Returns what the eye sees in each image, as features for the feature distances.

    Of images uint8[N, H, W] or [N, H, W, 1] float32[N, F]: `radial_spectrum`,
    `grey_areas` and `stroke_widths` side by side; 31 numbers of images of 28 x 28.
    """
    views = radial_spectrum, grey_areas, stroke_widths
    return np.concatenate([view(images) for view in views], 1)


def laplacian_pyramid(images: np.ndarray) -> list[np.ndarray]:
    """Returns the images' details at full and half size, and what is left at a quarter.

    Each is float32[N, H / 2^k, W / 2^k] in units of ink, 0 to 1 (Burt & Adelson 1983);
    expanded to full size they add up to the images, uint8[N, H, W] or [N, H, W, 1], H
    and W divisible by 4.
    """
    x, scales = _ink(images), []
    for _ in range(2):
        small = _smooth(x)[:, ::2, ::2]
        scales.append(x - expand(small))
        x = small
    return [*scales, x]


def expand(images: np.ndarray) -> np.ndarray:
    """Returns images of twice the size, float32[N, 2H, 2W], smooth between pixels."""
    num, height, width = images.shape
    spread = np.zeros((num, 2 * height, 2 * width), np.float32)
    spread[:, ::2, ::2] = 4 * images
    return _smooth(spread)


def radial_spectrum(images: np.ndarray) -> np.ndarray:
    """Returns log10 of the mean power at each distance from zero frequency.

    Of images uint8[N, H, W] or [N, H, W, 1] float32[N, H // 2 + 1]: for 0, 1, ...
    periods to an image's height. Turning or moving ink changes little of it; blur takes
    away on the right, speckle adds.
    """
    ink = _ink(images)
    height, width = ink.shape[1:]
    power = np.square(np.abs(np.fft.rfft2(ink))) / (height * width)
    rows = np.fft.fftfreq(height) * height
    columns = np.arange(power.shape[2]) * height / width
    radius = np.hypot(rows[:, None], columns).round().reshape(-1, 1)
    ring = radius == np.arange(height // 2 + 1)
    means = power.reshape(len(ink), -1) @ (ring / ring.sum(0))
    return np.log10(means + _MIN_POWER).astype(np.float32)


def grey_areas(images: np.ndarray) -> np.ndarray:
    """Returns the fraction of pixels that are as dark as each of 15 grey values.

    Of images uint8[N, H, W] or [N, H, W, 1] float32[N, 15], for the values 16, 32, ...,
    240.
    """
    pixels = images.reshape(len(images), -1)
    areas = [(pixels >= level).mean(1) for level in GREY_LEVELS]
    return np.stack(areas, 1).astype(np.float32)


def stroke_widths(images: np.ndarray) -> np.ndarray:
    """Returns the mean width of the strokes in pixels, float32[N, 1]; 0 without ink.

    2 area / perimeter, with the total variation of the image for its perimeter: the
    mean of the perimeters of its level sets, so grey edges count as what they are.
    Exact for a long stroke; contrast does not matter. Images are uint8[N, H, W] or
    [N, H, W, 1].
    """
    ink = np.pad(_ink(images), [(0, 0), (1, 1), (1, 1)])
    down, right = np.diff(ink, axis=1)[:, :, :-1], np.diff(ink, axis=2)[:, :-1]
    perimeter = np.hypot(down, right).sum((1, 2))
    return (2 * ink.sum((1, 2)) / np.maximum(perimeter, 1e-6))[:, None]


def count_parts(images: np.ndarray) -> np.ndarray:
    """Returns the number of connected parts of the ink, float32[N].

    Pixels of at least 128 that touch, at a corner too, are of one part. Images are
    uint8[N, H, W] or [N, H, W, 1].
    """
    ink = images.reshape(images.shape[:3]) >= INK
    return np.array([ndimage.label(x, np.ones((3, 3)))[1] for x in ink], np.float32)


def _ink(images):
    """Returns images as float32[N, H, W] in [0, 1]."""
    return images.reshape(images.shape[:3]).astype(np.float32) / 255


def _smooth(x):
    """Returns x [N, H, W] blurred by the binomial filter of Burt & Adelson."""
    x = ndimage.correlate1d(x, _BINOMIAL, 1, mode="mirror")
    return ndimage.correlate1d(x, _BINOMIAL, 2, mode="mirror")


def _draw_patches(images, seed):
    """Returns patches at random places, float32[N, P, 49]."""
    random = np.random.default_rng(seed)
    num, height, width = images.shape
    shape = num, NUM_PATCHES
    top = random.integers(0, height - PATCH_SIZE + 1, shape)
    left = random.integers(0, width - PATCH_SIZE + 1, shape)
    size = (PATCH_SIZE, PATCH_SIZE)
    windows = np.lib.stride_tricks.sliding_window_view(images, size, (1, 2))
    return windows[np.arange(num)[:, None], top, left].reshape(*shape, -1)


def _masses(samples, reference, seed, num_resamples):
    """Returns what fraction of its set each image is, in the sets and resamples."""
    counts = resample_pair(samples, reference, num_resamples, seed)
    return [(rows / rows.shape[1]).astype(np.float32) for rows in counts]


def _mean_wasserstein(x, y, masses):
    """Returns the mean over D of W_1(x_d, y_d) for each row of the masses.

    x [N, P, D] and y [M, P, D] hold P values of each image, which are drawn together.
    """
    num_values = x.shape[1]
    masses = np.concatenate([masses[0], -masses[1]], 1) / num_values
    owner = np.repeat(np.arange(len(x) + len(y)), num_values)
    total = np.zeros(len(masses))
    for d in range(x.shape[2]):
        values = np.concatenate([x[..., d].ravel(), y[..., d].ravel()])
        order = values.argsort()
        difference = masses.take(owner[order[:-1]], 1)
        np.cumsum(difference, 1, out=difference)
        np.abs(difference, out=difference)
        total += difference @ np.diff(values[order])
    return total / x.shape[2]
