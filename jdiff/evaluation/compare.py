"""The benchmark: samples beside real images, on every metric.

Three sets take part, with equally many images of each character:

    samples      what a model drew
    real         images of the test split: the floor of every figure
    reference    images of the training split, which both are compared with

so a figure of the samples and its floor differ in nothing but who drew the images.
"""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jdiff.data import EMNIST_CHARS, DataError, Dataset, check_labels, load
from jdiff.evaluation.bootstrap import Estimate
from jdiff.evaluation.distances import (
    frechet_distance,
    kernel_distance,
    precision_recall,
)
from jdiff.evaluation.judge import (
    Judge,
    Legibility,
    Reading,
    char_index,
    check_images,
    read_images,
    read_legibility,
)
from jdiff.evaluation.neighbours import Copying, copying, nearest


class Figures(NamedTuple):
    """What the metrics say of one set of images; see the functions of these names."""

    legibility: Legibility
    frechet_distance: Estimate
    kernel_distance: Estimate
    precision: Estimate
    recall: Estimate
    copying: Copying


class Evaluation(NamedTuple):
    """Samples beside real images.

    Attributes:
        samples: figures of the samples.
        real: figures of as many real test images, drawn the same way; shares of single
            characters are over all test images there are.
        num_samples: number of samples of each character.
        num_real: number of test images of each of these characters.
        neighbours: int[N], the nearest training image of each sample.
    """

    samples: Figures
    real: Figures
    num_samples: dict[str, int]
    num_real: dict[str, int]
    neighbours: np.ndarray


def evaluate(
    judge: Judge, samples: Dataset, train: Dataset, test: Dataset, seed: int = 0
) -> Evaluation:
    """Returns the figures of samples and of real images drawn the same way.

    Deterministic given the seed. Distances to training images are Euclidean, of
    pixels, over the whole training split; all other distances are of the judge's
    features. Where a split has too few images of a character, they are drawn with
    replacement.

    Args:
        judge: from `load_judge`.
        samples: images uint8[N, 28, 28, 1]; enough for a covariance of the features.
        train: the training split of the reference.
        test: its test split.
        seed: of the draws and the bootstraps, >= 0.

    Raises:
        ValueError: what `check` raises, or seed < 0.
    """
    check(judge, samples, train, test)
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}.")
    wanted = chars_of(samples)
    counts = Counter(wanted.tolist())
    rows_train, rows_test = (draw(split, counts, seed) for split in (train, test))
    found = {*chars_of(train), *chars_of(test)}
    allowed = "".join(char for char in EMNIST_CHARS if char in found)

    reading = read_images(judge, samples.images)
    reference = read_images(judge, train.images[rows_train]).features
    known = np.flatnonzero(np.isin(chars_of(test), sorted(counts)))
    reading_test = read_images(judge, test.images[known])
    real = Reading(*(x[np.searchsorted(known, rows_test)] for x in reading_test))

    pixels = _pixels(train.images)
    distances, neighbours = nearest(_pixels(samples.images), pixels)
    real_distances, _ = nearest(_pixels(test.images[rows_test]), pixels)
    figures = [
        _figures(*pair, reference, real_distances, chars, allowed, seed)
        for pair, chars in (
            ((reading, distances), wanted),
            ((real, real_distances), chars_of(test)[rows_test]),
        )
    ]
    every = read_legibility(reading_test.logits, chars_of(test)[known], seed, allowed)
    shares = figures[1].legibility._replace(
        per_class=every.per_class, per_class_in_context=every.per_class_in_context
    )
    return Evaluation(
        figures[0],
        figures[1]._replace(legibility=shares),
        dict(counts),
        dict(Counter(chars_of(test)[known].tolist())),
        neighbours[:, 0],
    )


_NAMES = ("samples", "training images", "test images")


def check(judge: Judge, samples: Dataset, train: Dataset, test: Dataset) -> None:
    """Raises an error unless `evaluate` can take its arguments.

    It does not look at the samples: blank ones stand for those still to be drawn.

    Raises:
        ValueError: images of another size or type, characters that the judge or the
            reference does not know, another number of labels, or too few samples for
            a covariance of the judge's features.
    """
    for name, split in zip(_NAMES, (samples, train, test), strict=True):
        try:
            check_images(split.images)
        except ValueError as error:
            raise ValueError(f"the {name}: {error}") from error
    check_labels(samples.labels, len(samples.images), samples.classes, "the samples")
    counts = Counter(chars_of(samples).tolist())
    char_index(sorted(counts))  # complains of characters that the judge does not know
    for split in (train, test):
        draw(split, counts, seed=0)  # complains of those that the reference lacks
    image = check_images(train.images[:1]).astype(np.float32)
    _, features = jax.eval_shape(judge.apply, judge.params, image)
    if len(samples.images) <= features.shape[-1]:
        raise ValueError(
            f"samples must be more than {features.shape[-1]} for a covariance of the "
            f"judge's features, got {len(samples.images)}."
        )


def reference_splits(
    name: str, data_dir: str | Path | None = None
) -> tuple[Dataset, Dataset]:
    """Returns the training and the test split of a reference.

    An .npz file has one split: every other image of each character tests, whatever
    the order in which the file holds them.

    Args:
        name: emnist/NAME, mnist or a FILE.npz, as `jdiff.data.load` takes it.
        data_dir: likewise.

    Raises:
        DataError: what `jdiff.data.load` raises.
    """
    if not name.endswith(".npz"):
        return load(name, "train", data_dir), load(name, "test", data_dir)
    images, labels, chars = load(name)
    order = np.argsort(labels, kind="stable")
    halves = [np.sort(order[k::2]) for k in (0, 1)]
    train, test = (Dataset(images[half], labels[half], chars) for half in halves)
    return train, test


def choose_labels(
    chars: str | tuple[str, ...], num: int, reference: Dataset, natural: bool = False
) -> np.ndarray:
    """Returns the labels to draw samples of, int32[num], in order of labels.

    Equally many of each class that model and reference have, or as frequent as in the
    reference; where that leaves a fraction, the largest fractions are rounded up.

    Args:
        chars: chars[k] is what label k of the model stands for.
        num: how many.
        reference: the training split.
        natural: whether to follow its frequencies.

    Raises:
        ValueError: num is less than one for each class, or the reference has none of
            them.
    """
    found = Counter(chars_of(reference).tolist())
    shares = np.array([found[char] for char in chars], float)
    if not shares.any():
        raise ValueError(f"the reference must have images of {chars}, got none.")
    if num < (least := np.count_nonzero(shares)):
        raise ValueError(f"--num must be >= {least}, the classes, got {num}.")
    if not natural:
        shares = np.sign(shares)
    exact = num * shares / shares.sum()
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind="stable")[: num - counts.sum()]] += 1
    return np.repeat(np.arange(len(chars), dtype=np.int32), counts)


def chars_of(dataset: Dataset) -> np.ndarray:
    """Returns the character of each image, str[N]."""
    return np.array(list(dataset.classes))[dataset.labels]


def draw(dataset: Dataset, counts: dict[str, int], seed: int) -> np.ndarray:
    """Returns rows of a data set, so many of each character, in order of characters.

    The rows of one character do not depend on the others that are asked for.

    Raises:
        DataError: the data set has no image of a character.
    """
    chars, rows = chars_of(dataset), []
    for char in sorted(counts):
        places = np.flatnonzero(chars == char)
        if not len(places):
            raise DataError(
                f"the reference must have images of {char!r}, got none: it has "
                f"{''.join(sorted(set(chars)))}."
            )
        rng = np.random.default_rng([seed, ord(char)])
        replace = len(places) < counts[char]
        rows.append(rng.choice(places, counts[char], replace))
    return np.concatenate(rows)


def _figures(reading, distances, reference, real_distances, chars, allowed, seed):
    features = reading.features
    return Figures(
        read_legibility(reading.logits, chars, seed, allowed),
        frechet_distance(features, reference, seed),
        kernel_distance(features, reference, seed),
        *precision_recall(features, reference, seed),
        copying(distances[:, 0], real_distances[:, 0], seed),
    )


def _pixels(images):
    return images.reshape(len(images), -1).astype(np.float32) / 255.0
