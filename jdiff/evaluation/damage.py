"""Known damage to real images: what a figure has to see to be worth printing.

Each kind is a function of one strength, (random, dataset, train, strength) -> dataset.
`LADDER` names fifteen of them with five strengths each, and says from which on a person
notices, comparing sheets of samples or, where labels or other images matter, sheets
with their labels or beside their nearest training images.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from jdiff.data import Dataset, select
from jdiff.evaluation.selection import chars_of


class Damage(NamedTuple):
    """One kind of damage.

    Attributes:
        name: in words.
        apply: (random, dataset, train, strength) -> the damaged dataset.
        strengths: five, from weak to strong.
        noticed: the weakest of these that a person notices.
    """

    name: str
    apply: Callable[[np.random.Generator, Dataset, Dataset, float], Dataset]
    strengths: tuple[float, ...]
    noticed: float


def _of_ink(change):
    """Returns as a damage what changes ink, float32[N, H, W] in [0, 255]."""

    @functools.wraps(change)
    def apply(random, dataset, train, strength):
        return _with_ink(dataset, change(random, _ink(dataset), strength))

    return apply


@_of_ink
def speckle(random, ink, strength):
    """Adds Gaussian noise with this standard deviation in grey values."""
    return ink + random.normal(0, strength, ink.shape)


@_of_ink
def salt_and_pepper(random, ink, strength):
    """Makes this fraction of the pixels black or white."""
    value = 255.0 * (random.random(ink.shape) < 0.5)
    return np.where(random.random(ink.shape) < strength, value, ink)


@_of_ink
def blur(random, ink, strength):
    """Blurs by a Gaussian with this standard deviation in pixels."""
    return ndimage.gaussian_filter(ink, (0, strength, strength))


@_of_ink
def thin(random, ink, strength):
    """Goes this far from the image to its erosion by 3 x 3 pixels."""
    return (1 - strength) * ink + strength * ndimage.grey_erosion(ink, (1, 3, 3))


@_of_ink
def thicken(random, ink, strength):
    """Goes this far from the image to its dilation by 3 x 3 pixels."""
    return (1 - strength) * ink + strength * ndimage.grey_dilation(ink, (1, 3, 3))


@_of_ink
def break_strokes(random, ink, strength):
    """Wipes a disc of this diameter in pixels off each image, somewhere on its ink."""
    chance = random.random(ink.shape) * (ink >= 128)
    places = chance.reshape(len(ink), -1).argmax(1)
    y, x = np.unravel_index(places, ink.shape[1:])
    rows, columns = np.indices(ink.shape[1:])
    distance = np.hypot(rows - y[:, None, None], columns - x[:, None, None])
    return ink * np.clip(distance - strength / 2 + 0.5, 0, 1)


def lose_dots(random, dataset, train, strength):
    """Wipes the dot off this fraction of the letters i and j that have one."""
    images = dataset.images.copy()
    dotted = np.isin(chars_of(dataset), ["i", "j"])
    for row in np.flatnonzero(dotted & (random.random(len(images)) < strength)):
        parts, num = ndimage.label(images[row, ..., 0] >= 64, np.ones((3, 3)))
        if num < 2:
            continue
        stem = np.bincount(parts.ravel())[1:].argmax() + 1
        top = np.flatnonzero((parts == stem).any(1))[0]
        for part in {*range(1, num + 1)} - {stem}:
            if np.flatnonzero((parts == part).any(1))[-1] <= top + 1:
                dot = ndimage.binary_dilation(parts == part, np.ones((3, 3)), 2)
                images[row, dot & (parts != stem)] = 0
    return dataset._replace(images=images)


@_of_ink
def lower_contrast(random, ink, strength):
    """Multiplies the ink by this."""
    return ink * strength


@_of_ink
def rotate(random, ink, strength):
    """Turns each image by this many degrees, to the left or to the right."""
    angles = strength * random.choice([1.0, -1.0], len(ink))
    turn = functools.partial(ndimage.rotate, reshape=False, order=1)
    return np.stack([turn(x, angle) for x, angle in zip(ink, angles, strict=True)])


@_of_ink
def warp(random, ink, strength):
    """Moves pixels by smooth noise of this standard deviation (Simard et al. 2003)."""
    noise = random.normal(size=(len(ink), 2, *ink.shape[1:]))
    noise = ndimage.gaussian_filter(noise, (0, 0, 4, 4), mode="wrap")
    noise *= strength / noise.std((2, 3), keepdims=True)
    places = np.indices(ink.shape[1:]) + noise
    move = functools.partial(ndimage.map_coordinates, order=1)
    return np.stack([move(x, place) for x, place in zip(ink, places, strict=True)])


def swap_labels(random, dataset, train, strength):
    """Gives this fraction of the images the label of any other image."""
    labels = dataset.labels.copy()
    rows = np.flatnonzero(random.random(len(labels)) < strength)
    labels[rows] = dataset.labels[random.integers(len(labels), size=len(rows))]
    return dataset._replace(labels=labels)


def lose_classes(random, dataset, train, strength):
    """Leaves out so many classes; images of the others stand there twice instead."""
    lost = random.choice(np.unique(dataset.labels), int(strength), replace=False)
    kept = np.flatnonzero(~np.isin(dataset.labels, lost))
    more = random.choice(kept, len(dataset.labels) - len(kept))
    return select(dataset, np.concatenate([kept, more]))


def repeat_images(random, dataset, train, strength):
    """Has this fraction of the images repeat another one of their class."""
    rows = _others(random, dataset.labels)
    repeats = random.random(len(rows)) < strength
    return select(dataset, np.where(repeats, rows, np.arange(len(rows))))


def copy_training_images(random, dataset, train, strength):
    """Replaces this fraction of the images by training images of their class."""
    places = np.array([train.classes.index(char) for char in dataset.classes])
    labels = places[dataset.labels]
    images = dataset.images.copy()
    copied = random.random(len(labels)) < strength
    for label in np.unique(labels[copied]):
        rows = np.flatnonzero(copied & (labels == label))
        known = np.flatnonzero(train.labels == label)
        images[rows] = train.images[random.choice(known, len(rows))]
    return dataset._replace(images=images)


def blend(random, dataset, train, strength):
    """Averages each image with another of its class, which has this weight."""
    ink = _ink(dataset)
    other = ink[_others(random, dataset.labels)]
    return _with_ink(dataset, (1 - strength) * ink + strength * other)


LADDER = (
    Damage("white speckle", speckle, (4, 8, 16, 32, 64), 8),
    Damage(
        "salt and pepper", salt_and_pepper, (0.001, 0.002, 0.005, 0.01, 0.03), 0.001
    ),
    Damage("blur", blur, (0.4, 0.6, 0.8, 1.2, 2.0), 0.8),
    Damage("thinning", thin, (0.1, 0.2, 0.4, 0.7, 1.0), 0.2),
    Damage("thickening", thicken, (0.1, 0.2, 0.4, 0.7, 1.0), 0.2),
    Damage("gaps in strokes", break_strokes, (2, 3, 4, 6, 8), 2),
    Damage("missing dots", lose_dots, (0.1, 0.2, 0.4, 0.7, 1.0), 0.4),
    Damage("lower contrast", lower_contrast, (0.95, 0.9, 0.8, 0.6, 0.3), 0.8),
    Damage("rotation", rotate, (3, 6, 12, 20, 30), 12),
    Damage("warp", warp, (0.3, 0.6, 1.0, 1.5, 2.5), 1.0),
    Damage("swapped labels", swap_labels, (0.01, 0.02, 0.05, 0.1, 0.3), 0.05),
    Damage("missing classes", lose_classes, (1, 2, 5, 10, 20), 1),
    Damage("repeated images", repeat_images, (0.02, 0.05, 0.1, 0.3, 0.8), 0.1),
    Damage(
        "copied training images", copy_training_images, (0.02, 0.05, 0.1, 0.3, 1), 0.1
    ),
    Damage("means of two images", blend, (0.05, 0.1, 0.2, 0.35, 0.5), 0.1),
)


def _ink(dataset):
    """Returns a copy of the images as float32[N, H, W] in [0, 255]."""
    return dataset.images[..., 0].astype(np.float32)


def _with_ink(dataset, ink):
    images = np.clip(np.round(ink), 0, 255).astype(np.uint8)
    return dataset._replace(images=images[..., None])


def _others(random, labels):
    """Returns for each image another one of its class; itself, if there is no other."""
    rows = np.arange(len(labels))
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        shift = random.integers(1, max(len(places), 2), len(places))
        rows[places] = places[(np.arange(len(places)) + shift) % len(places)]
    return rows
