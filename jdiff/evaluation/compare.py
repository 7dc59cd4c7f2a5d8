"""The benchmark: samples beside real images, on every metric.

Three sets take part, with equally many images of each character:

    samples      what a model drew
    real         images of the test split: the floor of every figure
    reference    images of the training split, which both are compared with

so a figure of the samples and its floor differ in nothing but who drew the images.
"""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import jax
import numpy as np

from jdiff.data import EMNIST_CHARS, Dataset, check_labels, select
from jdiff.evaluation.appearance import Appearance, measure_appearance, measure_looks
from jdiff.evaluation.bootstrap import NUM_RESAMPLES, Estimate
from jdiff.evaluation.distances import (
    compare_manifolds,
    direction_distance,
    frechet_distance,
    kernel_distance,
)
from jdiff.evaluation.judge import (
    Judge,
    Legibility,
    char_index,
    check_images,
    legibility,
    read_images,
)
from jdiff.evaluation.neighbours import (
    Copying,
    companions,
    copying,
    nearest,
    repetition,
)
from jdiff.evaluation.selection import chars_of, draw


class FeatureDistances(NamedTuple):
    """Distances between features of samples and of the reference; see these functions.

    `frechet_distance`, `direction_distance` (of "looks" None: they have no length),
    `kernel_distance` (None if left out) and `compare_manifolds`.
    """

    frechet_distance: Estimate
    direction_distance: Estimate | None
    kernel_distance: Estimate | None
    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


class Figures(NamedTuple):
    """What is known of one set of images.

    Attributes:
        legibility: by the name of the judge.
        distances: by the name of the features: those of each judge, and "looks", which
            nobody trained (`measure_looks`).
        appearance: distances that no features take part in.
        repeated: fraction of images that repeat another, see `repetition`.
        copying: None if that was left out.
    """

    legibility: dict[str, Legibility]
    distances: dict[str, FeatureDistances]
    appearance: Appearance
    repeated: Estimate
    copying: Copying | None


class Evaluation(NamedTuple):
    """Samples beside real images.

    Attributes:
        samples: figures of the samples.
        real: figures of as many real test images, drawn the same way; fractions of
            single characters are over all test images there are.
        num_samples: number of samples of each character.
        num_real: number of test images of each of these characters.
        missing: characters of the reference that no sample stands for.
        neighbours: int[N], the nearest training image of each sample; None if that
            was left out.
    """

    samples: Figures
    real: Figures
    num_samples: dict[str, int]
    num_real: dict[str, int]
    missing: str
    neighbours: np.ndarray | None


class Reference(NamedTuple):
    """What samples are compared with; from `make_reference`.

    Attributes:
        images: uint8[M, 28, 28, 1], of the training split.
        chars: str[M], the character of each.
        allowed: the characters that the judges choose from.
        features: float32[M, F] by name.
        mean: and
        std: of the "looks", by which they are standardised.
        real_companions: `companions` of different test images.
        train_pixels: float32[T, 784], the whole training split; None: not searched.
        real_distances: float[N] of test images to the nearest of these, or None.
    """

    images: np.ndarray
    chars: np.ndarray
    allowed: str
    features: dict[str, np.ndarray]
    mean: np.ndarray
    std: np.ndarray
    real_companions: np.ndarray
    train_pixels: np.ndarray | None
    real_distances: np.ndarray | None


def evaluate(
    judges: Mapping[str, Judge],
    samples: Dataset,
    train: Dataset,
    test: Dataset,
    seed: int = 0,
    fast: bool = False,
) -> Evaluation:
    """Returns the figures of samples and of real images drawn the same way.

    Deterministic given the seed. Distances to training images are Euclidean, of
    pixels, over the whole training split; the judges' are of their features. Where a
    split has too few images of a character, they are drawn with replacement.

    Args:
        judges: by name, from `load_judges`.
        samples: images uint8[N, 28, 28, 1]; enough for a covariance of the features.
        train: the training split of the reference.
        test: its test split.
        seed: of the draws and the bootstraps, >= 0.
        fast: leaves out the kernel distance and the search of the training images.

    Raises:
        ValueError: what `check` raises, or seed < 0.
    """
    check(judges, samples, train, test)
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}.")
    counts = Counter(chars_of(samples).tolist())
    reference, real = make_reference(judges, counts, train, test, seed, fast)
    figures, neighbours = measure(judges, samples, reference, seed)
    of_real, _ = measure(judges, real, reference, seed)
    # Test images that were drawn twice repeat nothing.
    companion = reference.real_companions
    of_real = of_real._replace(repeated=repetition(companion, companion, seed))
    # There are few images of a character among these: take all of the test split.
    known = np.flatnonzero(np.isin(chars_of(test), sorted(counts)))
    chars = chars_of(test)[known]
    for name, judge in judges.items():
        reading = read_images(judge, test.images[known])
        every = legibility(reading, chars, seed, reference.allowed)
        strict, merged = of_real.legibility[name][:2]
        of_real.legibility[name] = every._replace(strict=strict, merged=merged)
    return Evaluation(
        figures,
        of_real,
        dict(counts),
        dict(Counter(chars.tolist())),
        "".join(char for char in reference.allowed if char not in counts),
        neighbours,
    )


def make_reference(
    judges: Mapping[str, Judge],
    counts: Mapping[str, int],
    train: Dataset,
    test: Dataset,
    seed: int = 0,
    fast: bool = False,
) -> tuple[Reference, Dataset]:
    """Returns what to compare with, and the real images that make the floor.

    Args: as `evaluate`; counts say how many images of each character. The reference is
    drawn of the training split, the real images of the test split.

    Raises:
        DataError: a split has no image of a character.
    """
    rows_train, rows_test = (draw(split, counts, seed) for split in (train, test))
    found = {*chars_of(train), *chars_of(test)}
    images = train.images[rows_train]
    features = {
        name: read_images(judge, images).features for name, judge in judges.items()
    }
    looks = measure_looks(images)
    mean, std = looks.mean(0), looks.std(0)
    std = np.where(std > 0, std, 1)
    features["looks"] = (looks - mean) / std
    pixels = None if fast else _pixels(train.images)
    real = _pixels(test.images[rows_test])
    reference = Reference(
        images,
        chars_of(train)[rows_train],
        "".join(char for char in EMNIST_CHARS if char in found),
        features,
        mean,
        std,
        companions(_pixels(test.images[np.unique(rows_test)])),
        pixels,
        None if pixels is None else nearest(real, pixels)[0][:, 0],
    )
    return reference, select(test, rows_test)


def measure(
    judges: Mapping[str, Judge],
    samples: Dataset,
    reference: Reference,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[Figures, np.ndarray | None]:
    """Returns the figures of one set, and the nearest training image of each.

    Args: as `evaluate`, and
        reference: from `make_reference`.
        num_resamples: of the bootstraps, >= 0; 0 gives intervals without width.
    """
    chars, fast = chars_of(samples), reference.train_pixels is None
    bootstrap = seed, num_resamples
    readings = {name: read_images(x, samples.images) for name, x in judges.items()}
    features = {name: reading.features for name, reading in readings.items()}
    features["looks"] = (measure_looks(samples.images) - reference.mean) / reference.std
    read = {
        name: legibility(reading, chars, seed, reference.allowed)
        for name, reading in readings.items()
    }
    distances = {}
    for name, x in features.items():
        pair = x, reference.features[name]
        distances[name] = FeatureDistances(
            frechet_distance(*pair, *bootstrap),
            direction_distance(*pair, *bootstrap) if name in judges else None,
            None if fast else kernel_distance(*pair, *bootstrap),
            *compare_manifolds(*pair, *bootstrap),
        )
    appearance = measure_appearance(
        samples.images, chars, reference.images, reference.chars, *bootstrap
    )
    pixels = _pixels(samples.images)
    beside = companions(pixels)
    repeated = repetition(beside, reference.real_companions, *bootstrap)
    figures = Figures(read, distances, appearance, repeated, None)
    if reference.train_pixels is None or reference.real_distances is None:
        return figures, None
    nearby, places = nearest(pixels, reference.train_pixels)
    copies = copying(nearby[:, 0], reference.real_distances, *bootstrap)
    return figures._replace(copying=copies), places[:, 0]


_SETS = ("samples", "training images", "test images")
# More than half of a page is paper; inverted paper is as bright as this.
_INVERTED = 192


def check(
    judges: Mapping[str, Judge], samples: Dataset, train: Dataset, test: Dataset
) -> None:
    """Raises an error unless `evaluate` can take its arguments.

    Blank images stand for samples that are still to be drawn.

    Raises:
        ValueError: images of another size or type, or inverted; characters that the
            judges or the reference do not know, another number of labels, or fewer
            samples than a view needs.
    """
    for name, split in zip(_SETS, (samples, train, test), strict=True):
        try:
            check_images(split.images)
        except ValueError as error:
            raise ValueError(f"the {name}: {error}") from error
        medians = np.median(split.images.reshape(len(split.images), -1), axis=1)
        if np.mean(medians >= _INVERTED) > 0.75:
            raise ValueError(
                f"the {name} must be ink of 255 on paper of 0, got images that are "
                "inverted: take 255 - images."
            )
    check_labels(samples.labels, len(samples.images), samples.classes, "the samples")
    counts = Counter(chars_of(samples).tolist())
    char_index(sorted(counts))  # complains of characters that no judge knows
    for split in (train, test):
        draw(split, counts, seed=0)  # complains of those that the reference lacks
    image = check_images(train.images[:1])
    widths = {"looks": measure_looks(image).shape[-1]}
    for name, judge in judges.items():
        pixels = image.astype(np.float32)
        widths[name] = jax.eval_shape(judge.apply, judge.params, pixels)[1].shape[-1]
    name = max(widths, key=widths.__getitem__)
    if len(samples.images) <= widths[name]:
        raise ValueError(
            f"the Frechet distance (a covariance of {widths[name]} features, {name}) "
            f"needs at least {widths[name] + 1} samples, got {len(samples.images)}."
        )


def _pixels(images):
    return images.reshape(len(images), -1).astype(np.float32) / 255.0
