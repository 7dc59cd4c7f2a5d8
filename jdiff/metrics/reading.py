"""Legibility: can a judge that reads handwriting read the images?"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jdiff.data.dataset import EMNIST_CHARS
from jdiff.judge import MERGED_CHARS, Judge, char_index, merged_labels, read_images
from jdiff.metrics.bootstrap import Estimate, bootstrap_share

# Characters that people write alike, and tell apart by the word around them. On real
# test images the judge takes l for 1 in 81 of 100, f for F in 64, O for 0 in 56, I for
# 1 in 52, o for 0 in 42, q for 9 in 39, i for 1 in 37, g for 9 in 19. Next come y for 4
# (17), z for 2 (13) and S for 5 (11), which a careful hand keeps apart: not excused.
# Groups of the 62 characters, not of the 47 classes: a small l may be read as 1, a
# capital L, which has a foot, may not.
LOOK_ALIKES = ("0Oo", "1Iil", "Ff", "9gq")


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
    judge: Judge,
    images: np.ndarray,
    chars: Sequence[str] | np.ndarray,
    seed: int = 0,
    allowed: str = EMNIST_CHARS,
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
        allowed: the characters that the judge chooses from; "0123456789" for MNIST.

    Raises:
        ValueError: images of another size or type, or none; unknown characters, or
            another number of them; a character that is not allowed.
    """
    return read_legibility(read_images(judge, images).logits, chars, seed, allowed)


def read_legibility(
    logits: np.ndarray,
    chars: Sequence[str] | np.ndarray,
    seed: int = 0,
    allowed: str = EMNIST_CHARS,
) -> Legibility:
    """Returns `legibility` of images whose logits [N, 47] are known."""
    index = char_index(chars)
    if len(index) != len(logits):
        raise ValueError(
            f"chars must be one for each image, got {len(index)} for {len(logits)}."
        )
    choice = np.unique(merged_labels(allowed))
    wanted = merged_labels(chars)
    strange = sorted(set(np.array(list(chars))[~np.isin(wanted, choice)]))
    if strange:
        raise ValueError(f"chars must be of {allowed}, got {', '.join(strange[:5])}.")
    read = choice[logits[:, choice].argmax(-1)]
    right, excused = read == wanted, _EXCUSED[index, read]

    def per_class(hits):
        present = np.unique(index)
        return {EMNIST_CHARS[k]: float(hits[index == k].mean()) for k in present}

    return Legibility(
        bootstrap_share(right, index, seed),
        bootstrap_share(excused, index, seed),
        per_class(right),
        per_class(excused),
    )


# _EXCUSED[i, k]: whether to read character i as class k is right in context.
_EXCUSED = np.eye(len(MERGED_CHARS), dtype=bool)[merged_labels(EMNIST_CHARS)]
for _group in LOOK_ALIKES:
    _EXCUSED[np.ix_(char_index(_group), merged_labels(_group))] = True
