"""Which images take part: splits of a reference, and how many of each character."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jdiff.data import DataError, Dataset, load, select


def reference_splits(
    name: str, data_dir: str | Path | None = None
) -> tuple[Dataset, Dataset]:
    """Returns the training and the test split of a reference.

    An .npz file has one split: every other image of each character tests, whatever
    the order in which the file holds them.

    Args and Raises: as `jdiff.data.load`.
    """
    if not name.endswith(".npz"):
        return load(name, "train", data_dir), load(name, "test", data_dir)
    dataset = load(name)
    order = np.argsort(dataset.labels, kind="stable")
    train, test = (select(dataset, np.sort(order[k::2])) for k in (0, 1))
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
    weights = np.array([found[char] for char in chars], float)
    if not weights.any():
        raise ValueError(f"the reference must have images of {chars}, got none.")
    if num < (least := np.count_nonzero(weights)):
        raise ValueError(f"--num must be >= {least}, the classes, got {num}.")
    if not natural:
        weights = np.sign(weights)
    exact = num * weights / weights.sum()
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
