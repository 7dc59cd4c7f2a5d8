"""Judges, small classifiers that read handwriting, and legibility by them.

Two ship, of different architecture, each trained by `scripts/train_judge.py` on its own
half of the training images, so that no figure rests on what one network overlooks. They
know the 47 classes of EMNIST's bymerge, where the small letters that look like their
capital count as that capital.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from jdiff import storage
from jdiff.data import EMNIST_CHARS
from jdiff.evaluation.bootstrap import Estimate, bootstrap_fraction
from jdiff.images import in_batches
from jdiff.networks import PatchClassifier, PlainClassifier, as_pair

_WEIGHTS = Path(__file__).parents[1] / "weights"
# By architecture: "patch" normalises every image by its own moments, "plain" does not.
SHIPPED_JUDGES = {
    "patch": _WEIGHTS / "judge_patch_emnist.safetensors",
    "plain": _WEIGHTS / "judge_plain_emnist.safetensors",
}
ARCHITECTURES = {"patch": PatchClassifier, "plain": PlainClassifier}
IMAGE_SHAPE = (28, 28, 1)
_BATCH = 256  # images of a compiled call

# The small letters whose shape is that of their capital, so EMNIST merges the two.
FOLDED_CHARS = "cijklmopsuvwxyz"
MERGED_CHARS = "".join(char for char in EMNIST_CHARS if char not in FOLDED_CHARS)


class Judge(NamedTuple):
    """A classifier of characters.

    Attributes:
        apply: (params, images float[B, 28, 28, 1] in [-1, 1]) ->
            (logits [B, 47], features [B, F]).
        params: the weights.
    """

    apply: Callable[..., tuple[jax.Array, jax.Array]]
    params: Any


class Reading(NamedTuple):
    """What a judge makes of images: logits float32[N, 47], features float32[N, F]."""

    logits: np.ndarray
    features: np.ndarray


def merged_labels(chars: Sequence[str] | np.ndarray) -> np.ndarray:
    """Returns the class of each character, int32[N], an index into MERGED_CHARS.

    Args:
        chars: N characters of 0-9, A-Z, a-z.

    Raises:
        ValueError: another character.

    Examples:
        >>> from jdiff import evaluation
        >>> [evaluation.MERGED_CHARS[k] for k in evaluation.merged_labels("Aac0o")]
        ['A', 'a', 'C', '0', 'O']
    """
    return _MERGED[char_index(chars)]


@functools.cache
def make_classifier(
    architecture: Callable[..., Any], num_channels: int, num_features: int
) -> hk.Transformed:
    """Returns a judge's network as a pair of pure functions (init, apply).

    init(key, images) -> params;  apply(params, images) -> (logits, features).

    Args:
        architecture: `PatchClassifier` or `PlainClassifier`.
        num_channels: its width at its first resolution.
        num_features: width of its penultimate layer.
    """
    return as_pair(architecture, len(MERGED_CHARS), num_channels, num_features)


def load_judges() -> dict[str, Judge]:
    """Returns the judges that ship, by the names of their architectures."""
    return {name: load_judge(path) for name, path in SHIPPED_JUDGES.items()}


def load_judge(path: str | Path = "patch") -> Judge:
    """Returns a judge: "patch" and "plain" ship, anything else is a weights file.

    Raises:
        WeightsError: the file is missing, truncated, not weights, or not a judge.
    """
    path = SHIPPED_JUDGES.get(str(path), path)
    params, description = storage.load_weights(path)
    architecture = ARCHITECTURES.get(str(description.get("architecture")))
    if architecture is None or description.get("chars") != MERGED_CHARS:
        raise storage.WeightsError(
            f"a judge must be a classifier of the {len(MERGED_CHARS)} classes of "
            f"EMNIST bymerge, got {path}, which is something else."
        )
    with storage.reading(path, "weights that describe a judge", storage.WeightsError):
        sizes = description["num_channels"], description["num_features"]
        network = make_classifier(architecture, *sizes)
        images = jnp.zeros((1, *IMAGE_SHAPE))
        expected = jax.eval_shape(network.init, jax.random.key(0), images)
    storage.check_params(params, expected, path)
    return Judge(network.apply, params)


def read_images(judge: Judge, images: np.ndarray) -> Reading:
    """Returns the judge's logits and features of images; argmax of the logits reads.

    It compiles once and needs the same memory for any number of images.

    Args:
        judge: from `load_judge`.
        images: uint8[N, 28, 28] or [N, 28, 28, 1], upright, 255 is ink.

    Raises:
        ValueError: images of another size or type, or none.
    """
    images = check_images(images)
    read = functools.partial(_read_batch, judge.params, apply=judge.apply)
    outputs = zip(*in_batches(read, _BATCH, images), strict=True)
    return Reading(*map(np.concatenate, outputs))


def check_images(images: np.ndarray) -> np.ndarray:
    """Returns the images as [N, 28, 28, 1], or raises a ValueError."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        floating = np.issubdtype(images.dtype, np.floating)
        nan = " with NaN" if floating and np.isnan(images).any() else ""
        raise ValueError(
            "images must be uint8 (0 is paper, 255 is ink; jdiff.images.to_uint8 makes "
            f"them from [-1, 1]), got {images.dtype}{nan}."
        )
    if images.shape[1:] not in (IMAGE_SHAPE[:2], IMAGE_SHAPE):
        raise ValueError(
            f"images must be [N, 28, 28] or [N, 28, 28, 1], got {list(images.shape)}."
        )
    if not len(images):
        raise ValueError("images must be at least one, got none.")
    return images.reshape(-1, *IMAGE_SHAPE)


def char_index(chars: Sequence[str] | np.ndarray) -> np.ndarray:
    """Returns int32[N], the place of each character in EMNIST_CHARS."""
    places = {char: place for place, char in enumerate(EMNIST_CHARS)}
    unknown = sorted({str(char) for char in chars} - places.keys())
    if unknown:
        raise ValueError(
            f"chars must be of 0-9, A-Z, a-z, got {', '.join(map(repr, unknown[:5]))}."
        )
    return np.array([places[char] for char in chars], np.int32)


@functools.partial(jax.jit, static_argnames="apply")
def _read_batch(params, images, *, apply):
    return apply(params, images.astype(jnp.float32) / 127.5 - 1.0)


_MERGED = np.array(
    [
        MERGED_CHARS.index(char.upper() if char in FOLDED_CHARS else char)
        for char in EMNIST_CHARS
    ],
    np.int32,
)

# Characters that people write alike, and tell apart by the word around them. On real
# test images a judge takes l for 1 in 81 of 100, f for F in 64, O for 0 in 56, I for
# 1 in 52, o for 0 in 42, q for 9 in 39, i for 1 in 37, g for 9 in 19. Next come y for 4
# (17), z for 2 (13) and S for 5 (11), which a careful hand keeps apart: not excused.
# Groups of the 62 characters, not of the 47 classes: a small l may be read as 1, a
# capital L, which has a foot, may not.
LOOK_ALIKES = ("0Oo", "1Iil", "Ff", "9gq")


class Legibility(NamedTuple):
    """How often a judge reads images as what they should be.

    Attributes:
        strict: fraction of the images read as their class of 47.
        merged: the same, with look-alikes (`LOOK_ALIKES`) merged into one class.
        per_class: strict fraction by character, for the characters that occur.
        per_class_merged: the same, with look-alikes merged.
    """

    strict: Estimate
    merged: Estimate
    per_class: dict[str, float]
    per_class_merged: dict[str, float]


def legibility(
    reading: Reading,
    chars: Sequence[str] | np.ndarray,
    seed: int = 0,
    allowed: str = EMNIST_CHARS,
) -> Legibility:
    """Returns how often a judge reads images as the characters they should be.

    It can tell whether a model draws what it is asked for, class by class. It cannot
    tell whether the images look real or differ from one another: one clean image per
    character, copied a hundred times, reads better than real handwriting. So a figure
    above that of real images is no proof of quality, one below it is a defect. Nor can
    the strict figure reach 100%: some characters have one shape. The merged one allows
    for that, and so it overlooks an i without its dot.

    Args:
        reading: `read_images(judge, images)`.
        chars: what each image should be, N characters of 0-9, A-Z, a-z.
        seed: of the bootstrap, >= 0; equal seeds give equal intervals.
        allowed: the characters that the judge chooses from; "0123456789" for MNIST.

    Raises:
        ValueError: unknown characters, or another number of them; a character that is
            not allowed.
    """
    logits = reading.logits
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
        bootstrap_fraction(right, index, seed),
        bootstrap_fraction(excused, index, seed),
        per_class(right),
        per_class(excused),
    )


# _EXCUSED[i, k]: whether character i may be read as class k, look-alikes merged.
_EXCUSED = np.eye(len(MERGED_CHARS), dtype=bool)[merged_labels(EMNIST_CHARS)]
for _group in LOOK_ALIKES:
    _EXCUSED[np.ix_(char_index(_group), merged_labels(_group))] = True
