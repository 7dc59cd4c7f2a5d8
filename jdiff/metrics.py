"""How good images of characters are, by a judge that reads handwriting.

A figure of the judge means little by itself, since nobody reads all real handwriting
either: set it beside the figure of real images drawn the same way, as
`scripts/evaluate.py` does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jdiff.data.dataset import EMNIST_CHARS
from jdiff.judge import (
    MERGED_CHARS,
    Judge,
    char_index,
    check_images,
    merged_labels,
    read_images,
)

# Characters that people write alike, and tell apart by the word around them. On real
# test images the judge takes l for 1 in 81 of 100, f for F in 64, O for 0 in 56, I for
# 1 in 52, o for 0 in 42, q for 9 in 39, i for 1 in 37, g for 9 in 19. Next come y for 4
# (17), z for 2 (13) and S for 5 (11), which a careful hand keeps apart: not excused.
# Groups of the 62 characters, not of the 47 classes: a small l may be read as 1, a
# capital L, which has a foot, may not.
LOOK_ALIKES = ("0Oo", "1Iil", "Ff", "9gq")


class Estimate(NamedTuple):
    """A share in [0, 1] and the bounds of its 95% bootstrap interval."""

    value: float
    low: float
    high: float


class Legibility(NamedTuple):
    """How often a judge reads images as what they should be.

    Attributes:
        overall: share of the images read as their class of 47.
        in_context: the same, with look-alikes (`LOOK_ALIKES`) counted as one.
        per_class: share by character, for the characters that occur.
        per_class_in_context: the same, with look-alikes counted as one.
    """

    overall: Estimate
    in_context: Estimate
    per_class: dict[str, float]
    per_class_in_context: dict[str, float]


def legibility(
    judge: Judge, images: np.ndarray, chars: Sequence[str], seed: int = 0
) -> Legibility:
    """Returns how often a judge reads images as the characters they should be.

    It can tell whether a model draws what it is asked for, class by class. It cannot
    tell whether the images look real or differ from one another: one clean image per
    character, copied a hundred times, reads better than real handwriting. So a figure
    above that of real images is no proof of quality, one below it is a defect. Nor can
    the plain figure reach 100%: some characters have one shape, which is what the
    figure in context allows for.

    Args:
        judge: from `load_judge`.
        images: uint8[N, 28, 28] or [N, 28, 28, 1], upright, 255 is ink.
        chars: what each image should be, N characters of 0-9, A-Z, a-z.
        seed: of the bootstrap, >= 0; equal seeds give equal intervals.

    Raises:
        ValueError: images of another size or type, or none; unknown characters, or
            another number of them.
    """
    index, images = char_index(chars), check_images(images)
    if len(index) != len(images):
        raise ValueError(
            f"chars must be one for each image, got {len(index)} for {len(images)}."
        )
    read = read_images(judge, images).logits.argmax(-1)
    right, excused = read == merged_labels(chars), _EXCUSED[index, read]

    def per_class(hits):
        present = np.unique(index)
        return {EMNIST_CHARS[k]: float(hits[index == k].mean()) for k in present}

    return Legibility(
        bootstrap_share(right, index, seed),
        bootstrap_share(excused, index, seed),
        per_class(right),
        per_class(excused),
    )


def bootstrap_share(
    hits: np.ndarray, strata: np.ndarray, seed: int = 0, num_resamples: int = 2000
) -> Estimate:
    """Returns the share of hits with a 95% percentile bootstrap interval.

    Images are drawn again with replacement within each stratum, as the samples were:
    so many of each class (Efron & Tibshirani 1993). To draw n_k
    hits or misses again is to draw Binomial(n_k, p_k), so nothing is resampled one by
    one. The interval covers the choice of images, not that of the judge; where all
    are hits, or none, it has no width.

    Args:
        hits: bool[N], N >= 1.
        strata: int[N], the class of each.
        seed: >= 0.
        num_resamples: >= 1.
    """
    _, stratum, counts = np.unique(strata, return_inverse=True, return_counts=True)
    shares = np.bincount(stratum, hits) / counts
    rng = np.random.default_rng(seed)
    draws = rng.binomial(counts, shares, (num_resamples, len(counts))).sum(-1)
    low, high = np.quantile(draws / len(hits), [0.025, 0.975])
    return Estimate(float(np.mean(hits)), float(low), float(high))


# _EXCUSED[i, k]: whether to read character i as class k is right in context.
_EXCUSED = np.eye(len(MERGED_CHARS), dtype=bool)[merged_labels(EMNIST_CHARS)]
for _group in LOOK_ALIKES:
    _EXCUSED[np.ix_(char_index(_group), merged_labels(_group))] = True
