"""The benchmark: samples beside real images, on every metric.

Three sets take part, with equally many images of each character:

    samples      what a model drew
    real         images of the test split: the floor of every figure
    reference    images of the training split, which both are compared with

so a figure of the samples and its floor differ in nothing but who drew the images.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jdiff.data import EMNIST_CHARS, DataError, Dataset, check_labels, load
from jdiff.evaluation.appearance import Appearance, measure_appearance, measure_looks
from jdiff.evaluation.bootstrap import Estimate
from jdiff.evaluation.distances import (
    compare_manifolds,
    frechet_distance,
    kernel_distance,
    neighbour_radii,
)
from jdiff.evaluation.judge import (
    Judge,
    Legibility,
    char_index,
    check_images,
    read_images,
    read_legibility,
)
from jdiff.evaluation.neighbours import (
    NUM_RESAMPLES,
    Copying,
    companions,
    copying,
    nearest,
    repetition,
)


class FeatureDistances(NamedTuple):
    """Distances between features of samples and of the reference; see these functions.

    `frechet_distance`, `kernel_distance` (None if left out) and `compare_manifolds`.
    """

    frechet_distance: Estimate
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
        radii: `neighbour_radii` of the features.
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
    radii: dict[str, np.ndarray]
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
        logits = read_images(judge, test.images[known]).logits
        every = read_legibility(logits, chars, seed, reference.allowed)
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

    Args:
        judges: by name, from `load_judges`.
        counts: how many images of each character.
        train: the training split, of which the reference is drawn.
        test: the test split, of which the real images are drawn.
        seed: of both draws, >= 0.
        fast: leaves out the training images, which takes a search to compare with.

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
        {name: neighbour_radii(x) for name, x in features.items()},
        companions(_pixels(test.images[np.unique(rows_test)])),
        pixels,
        None if pixels is None else nearest(real, pixels)[0][:, 0],
    )
    return reference, Dataset(
        test.images[rows_test], test.labels[rows_test], test.classes
    )


def measure(
    judges: Mapping[str, Judge],
    samples: Dataset,
    reference: Reference,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[Figures, np.ndarray | None]:
    """Returns the figures of one set, and the nearest training image of each.

    Args:
        judges: by name, as in the reference.
        samples: images uint8[N, 28, 28, 1].
        reference: from `make_reference`.
        seed: of the bootstraps, >= 0.
        num_resamples: of the bootstraps, >= 0; 0 gives intervals without width.
    """
    chars, fast = chars_of(samples), reference.train_pixels is None
    bootstrap = seed, num_resamples
    readings = {name: read_images(x, samples.images) for name, x in judges.items()}
    features = {name: reading.features for name, reading in readings.items()}
    features["looks"] = (measure_looks(samples.images) - reference.mean) / reference.std
    legibility = {
        name: read_legibility(reading.logits, chars, seed, reference.allowed)
        for name, reading in readings.items()
    }
    distances = {}
    for name, x in features.items():
        pair = x, reference.features[name]
        distances[name] = FeatureDistances(
            frechet_distance(*pair, *bootstrap),
            None if fast else kernel_distance(*pair, *bootstrap),
            *compare_manifolds(*pair, *bootstrap, reference.radii[name]),
        )
    appearance = measure_appearance(
        samples.images, chars, reference.images, reference.chars, *bootstrap
    )
    pixels = _pixels(samples.images)
    beside = companions(pixels)
    repeated = repetition(beside, reference.real_companions, *bootstrap)
    figures = Figures(legibility, distances, appearance, repeated, None)
    if reference.train_pixels is None or reference.real_distances is None:
        return figures, None
    nearby, places = nearest(pixels, reference.train_pixels)
    copies = copying(nearby[:, 0], reference.real_distances, *bootstrap)
    return figures._replace(copying=copies), places[:, 0]


def headline(figures: Figures) -> dict[str, Estimate]:
    """Returns the figures of the table by name, in its order; all judges, all views."""
    rows = {}
    for title, get in _READ:
        for name, legibility in figures.legibility.items():
            rows[f"{title}, {name}"] = get(legibility)
    for title, get in _COMPARED:
        for name, distances in figures.distances.items():
            rows[f"{title}, {name}"] = get(distances)
    for title, estimate in zip(_SEEN, figures.appearance, strict=True):
        rows[title] = estimate
    rows["repeated"] = figures.repeated
    if figures.copying is not None:
        rows["nearer to training"] = figures.copying.nearer
        rows["among the nearest 1%"] = figures.copying.closest
    return rows


def outside(samples: Figures, real: Figures) -> list[str]:
    """Returns the names of the figures that lie outside the real images' interval."""
    found, floor = headline(samples), headline(real)
    return [
        name
        for name, estimate in found.items()
        if not floor[name].low <= estimate.value <= floor[name].high
    ]


def worst_view(samples: Figures, real: Figures) -> tuple[str, float]:
    """Returns the distance that is the largest multiple of its floor, and how large."""
    found, floor = headline(samples), headline(real)
    ratios = {
        name: found[name].value / floor[name].value
        for name in found
        if name.startswith(_DISTANCES) and floor[name].value > 0
    }
    name = max(ratios, key=ratios.__getitem__)
    return name, ratios[name]


_READ = (
    ("legible", lambda legibility: legibility.strict),
    ("look-alikes merged", lambda legibility: legibility.merged),
)
_COMPARED = (
    ("Frechet distance", lambda distances: distances.frechet_distance),
    ("precision", lambda distances: distances.precision),
    ("recall", lambda distances: distances.recall),
    ("density", lambda distances: distances.density),
    ("coverage", lambda distances: distances.coverage),
)
_SEEN = ("pyramid", "spectrum", "grey areas", "stroke width", "connected parts")
_DISTANCES = ("Frechet distance", *_SEEN)
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
    needs = {"density and coverage need": 6, "the distances of appearance need": 2}
    widths = {"looks": measure_looks(image).shape[-1]}
    for name, judge in judges.items():
        pixels = image.astype(np.float32)
        widths[name] = jax.eval_shape(judge.apply, judge.params, pixels)[1].shape[-1]
    for name, width in widths.items():
        view = f"the Frechet distance (a covariance of {width} features, {name}) needs"
        needs[view] = width + 1
    view = max(needs, key=needs.__getitem__)
    if len(samples.images) < needs[view]:
        raise ValueError(
            f"{view} at least {needs[view]} samples, got {len(samples.images)}."
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


def draw(dataset: Dataset, counts: Mapping[str, int], seed: int) -> np.ndarray:
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


def _pixels(images):
    return images.reshape(len(images), -1).astype(np.float32) / 255.0
