"""The judge: a small classifier that reads handwriting.

Trained on real EMNIST by `scripts/train_judge.py`. It knows the 47 classes of EMNIST's
bymerge, where the small letters that look like their capital count as that capital.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from jdiff import checkpoints
from jdiff.data.dataset import EMNIST_CHARS
from jdiff.networks.classifier import Classifier

SHIPPED_JUDGE = Path(__file__).parent / "weights" / "judge_emnist.safetensors"
IMAGE_SHAPE = (28, 28, 1)

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

    >>> import jdiff
    >>> [jdiff.MERGED_CHARS[k] for k in jdiff.merged_labels("Aac0o")]
    ['A', 'a', 'C', '0', 'O']
    """
    return _MERGED[char_index(chars)]


@functools.cache
def make_classifier(num_channels: int, num_features: int) -> hk.Transformed:
    """Returns the judge's network as a pair of pure functions (init, apply).

    init(key, images) -> params;  apply(params, images) -> (logits, features).
    """

    def network(images):
        return Classifier(len(MERGED_CHARS), num_channels, num_features)(images)

    return hk.without_apply_rng(hk.transform(network))


def load_judge(path: str | Path = SHIPPED_JUDGE) -> Judge:
    """Returns the judge in a weights file; by default the one that ships.

    Raises:
        WeightsError: the file is missing, truncated, not weights, or not a judge.
    """
    params, description = checkpoints.load_weights(path)
    if description.get("chars") != MERGED_CHARS or "num_features" not in description:
        raise checkpoints.WeightsError(
            f"a judge must be a classifier of the {len(MERGED_CHARS)} classes of "
            f"EMNIST bymerge, got {path}, which is something else."
        )
    network = make_classifier(description["num_channels"], description["num_features"])
    images = jnp.zeros((1, *IMAGE_SHAPE))
    expected = jax.eval_shape(network.init, jax.random.key(0), images)
    checkpoints.check_params(params, expected, path)
    return Judge(network.apply, params)


def read_images(judge: Judge, images: np.ndarray, batch_size: int = 256) -> Reading:
    """Returns the judge's logits and features of images; argmax of the logits reads.

    Batches have one size (the last is padded), so this compiles once and needs the
    same memory for any number of images.

    Args:
        judge: from `load_judge`.
        images: uint8[N, 28, 28] or [N, 28, 28, 1], upright, 255 is ink.
        batch_size: images per compiled call, >= 1; it changes nothing but speed.

    Raises:
        ValueError: images of another size or type, or none.
    """
    images = check_images(images)
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}.")
    readings = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        padded = np.zeros((batch_size, *IMAGE_SHAPE), np.uint8)
        padded[: len(batch)] = batch
        outputs = _read_batch(judge.params, padded, apply=judge.apply)
        readings.append([np.asarray(output)[: len(batch)] for output in outputs])
    return Reading(*map(np.concatenate, zip(*readings, strict=True)))


def check_images(images: np.ndarray) -> np.ndarray:
    """Returns the images as [N, 28, 28, 1], or raises a ValueError."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        floating = np.issubdtype(images.dtype, np.floating)
        nan = " with NaN" if floating and np.isnan(images).any() else ""
        raise ValueError(
            "images must be uint8 (0 is paper, 255 is ink; jdiff.to_uint8 makes them "
            f"from [-1, 1]), got {images.dtype}{nan}."
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
