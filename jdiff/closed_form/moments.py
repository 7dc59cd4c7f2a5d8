"""Mean and covariance of every class, from one pass over labelled images.

The closed-form models (`linear`, `gaussian`, `mixtures`) learn nothing from data but
these moments, so fitting takes O(D^2) memory for each class.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

_ROWS = 512  # images per matrix product


class Moments(NamedTuple):
    """First and second moments of the examples of K classes, of shape S and size D."""

    labels: tuple[Hashable, ...]  # sorted if they can be, else in order of appearance
    counts: np.ndarray  # of examples, int[K]
    means: np.ndarray  # float64[K, *S]
    covariances: np.ndarray  # divided by the count, float64[K, D, D]


def collect(blocks: Iterable[tuple[np.ndarray, Sequence[Hashable]]]) -> Moments:
    """Returns mean and covariance of each class, from one pass over the blocks.

    Blocks are pairs of examples [N, ...] and N hashable labels. Products of 512 images
    are float32, their sums float64. An estimate of the mean is subtracted from all
    images, so that large means do not cancel small variances.
    """
    origin, sums = np.zeros(0), {}  # type: tuple[np.ndarray, dict[Any, list[Any]]]
    for images, labels in blocks:
        images = np.asarray(images)
        names = check_images(images, labels)
        if not len(images):
            continue
        if not sums:
            origin = _center(images[:4096].astype(np.float64))
        if images.shape[1:] != origin.shape:
            raise ValueError(
                f"images must be of one shape in all blocks, got {images.shape[1:]} "
                f"after {origin.shape}."
            )
        _add_block(sums, images.reshape(len(images), -1), names, origin.ravel())
    if not sums:
        raise ValueError("images must be at least one, got none.")
    labels = in_order(sums)
    counts = np.array([sums[label][0] for label in labels])
    means = np.stack([sums[label][1] / sums[label][0] for label in labels])
    covariances = np.stack([sums[label][2] / sums[label][0] for label in labels])
    for mean, covariance in zip(means, covariances, strict=True):
        covariance -= np.outer(mean, mean)
    means = means.reshape(-1, *origin.shape) + origin[None]
    return Moments(labels, counts, means, covariances)


def total_covariance(stats: Moments) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean [*S] and covariance [D, D] of the examples of all classes.

    Raises:
        ValueError: all examples are equal.
    """
    fractions = stats.counts / stats.counts.sum()
    mean = np.tensordot(fractions, stats.means, 1)
    offsets = (stats.means - mean[None]).reshape(len(fractions), -1)
    covariance = np.tensordot(fractions, stats.covariances, 1)
    covariance += (offsets * fractions[:, None]).T @ offsets
    if not np.diag(covariance).any():
        raise ValueError("images must differ from one another, got equal ones.")
    return mean, covariance


def principal_axes(
    stats: Moments, num_axes: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns mean [*S] and scale [*S] of each pixel, and principal components.

    The components [num_axes, *S] are the orthonormal directions in which pixels of
    mean 0 and variance 1 vary most. Constant pixels have scale 1.
    """
    shape, size = stats.means.shape[1:], stats.covariances.shape[-1]
    counts = dict(zip(stats.labels, stats.counts, strict=True))
    check_classes(counts, num_axes, size)
    mean, covariance = total_covariance(stats)
    variance = np.diag(covariance)
    scale = np.sqrt(np.where(variance > 0, variance, 1.0))
    vectors = np.linalg.eigh(covariance / np.outer(scale, scale))[1]
    components = vectors[:, : -num_axes - 1 : -1].T
    # The sign of an axis is free: the largest entry is positive, as in scikit-learn.
    largest = np.abs(components).argmax(1)[:, None]
    components = components * np.sign(np.take_along_axis(components, largest, 1))
    return mean, scale.reshape(shape), components.reshape(-1, *shape)


def names_of(labels: Sequence[Hashable]) -> list[Any]:
    """Returns labels as a list of Python objects: 3, not np.int64(3)."""
    return labels.tolist() if isinstance(labels, np.ndarray) else list(labels)


def check_images(images: np.ndarray, labels: Sequence[Hashable]) -> list[Any]:
    """Returns the labels as a list, if they and the images can be fitted."""
    names = names_of(labels)
    if images.ndim < 2:
        raise ValueError(f"images must be [N, H, W, ...], got {list(images.shape)}.")
    if len(names) != len(images):
        raise ValueError(
            f"labels must be one for each image, got {len(names)} for {len(images)}."
        )
    if not np.issubdtype(images.dtype, np.number) or np.iscomplexobj(images):
        raise ValueError(f"images must be real numbers, got {images.dtype}.")
    if np.issubdtype(images.dtype, np.floating) and not np.isfinite(images).all():
        raise ValueError("images must be finite, got NaN or infinity.")
    for name in names:
        if not isinstance(name, Hashable):
            raise ValueError(f"labels must be hashable, got {name!r}.")
    return names


def check_classes(counts: Mapping[Any, int], num_latents: int, num_pixels: int) -> None:
    """Raises ValueError unless the classes have enough images for the latents."""
    if len(counts) < 2:
        raise ValueError(f"labels must be of at least 2 classes, got {len(counts)}.")
    for name, count in counts.items():
        if count < 2:
            raise ValueError(
                f"each class must have at least 2 images, got {count} of {name!r}."
            )
    most = min(num_pixels, sum(counts.values()))
    if not 1 <= num_latents <= most:
        raise ValueError(
            f"num_latents must be in [1, {most}], the number of pixels or of images, "
            f"got {num_latents}."
        )


def in_order(labels: Iterable[Any]) -> tuple[Any, ...]:
    """Returns labels sorted if they can be, else as they come."""
    try:
        return tuple(sorted(labels))
    except TypeError:  # 2 < "two"
        return tuple(labels)


def _center(images: np.ndarray) -> np.ndarray:
    # Exact for constant pixels, which would vary if the mean were off by one bit.
    constant = (images == images[0][None]).all(0)
    return np.where(constant, images[0], images.mean(0))


def _add_block(
    sums: dict[Any, list[Any]], flat: np.ndarray, names: list[Any], origin: np.ndarray
) -> None:
    """Adds counts, sums and sums of products of a block to those of its classes."""
    places: dict[Any, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    for name, rows in places.items():
        size = origin.size
        part = sums.setdefault(name, [0, np.zeros(size), np.zeros((size, size))])
        part[0] += len(rows)
        for start in range(0, len(rows), _ROWS):
            some = flat[rows[start : start + _ROWS]] - origin
            # Padded to one size, so that it compiles once; zeros add nothing.
            padded = np.zeros((_ROWS, size), np.float32)
            padded[: len(some)] = some
            part[1] += padded.sum(0, dtype=np.float64)
            part[2] += np.asarray(_products(padded))


@jax.jit
def _products(rows: jax.Array) -> jax.Array:
    # The default precision of accelerators is less than float32.
    return jnp.matmul(rows.T, rows, precision=jax.lax.Precision.HIGHEST)
