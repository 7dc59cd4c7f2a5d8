"""Images as mixtures of Gaussians, one for each class: diffusion in closed form.

The pixels are rotated to their principal axes. On the first L axes the latents of a
class are a mixture of Gaussians; all further axes share one variance. Nothing is
trained: k-means finds the cells, and the covariance of a cell is that of its images,
shrunk towards the mean over cells (`gaussian.fit_mixture`). The rotation is
orthonormal, so noise stays white in the latents, and the denoiser of `gaussian`, exact
at each noise level, holds for pixels. One cell of full rank is the best affine
denoiser.

A cell is signal plus white noise (Tipping & Bishop 1999a): its largest variances are
shapes, the others what no axis explains. As a density it needs both. An image shows the
signal alone: white noise would be speckle on the paper. And no Gaussian is black and
white, so a monotone curve gives the drawn pixels the grey values of the training images
(histogram specification, Gonzalez & Woods 2018, Sec. 3.3):

    image = tone(mean + axes^T z),   z ~ signal of a cell                    (1)
"""

import functools
import math
from collections import Counter
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import storage
from jdiff.closed_form import gaussian, linear, moments
from jdiff.closed_form.gaussian import Normal, from_covariance
from jdiff.sampling import Denoiser
from jdiff.schedules import Schedule

_MIN_VARIANCE = 1e-4  # a grey level of 256: the best likelihood of unseen digits
_BATCH = 256  # images drawn at once
_NUM_TONES = 2048  # images that the grey values are matched on


_PIXELS = "mean", "axes", "remainder", "tone"
_NO_TONE = np.array([[-1, 1], [-1, 1]], np.float32)


class MixtureModel(NamedTuple):
    """Mixtures of Gaussians of images of shape S in [-1, 1], one for each class.

    Attributes:
        mean: of all images, float32[*S].
        axes: orthonormal directions, float32[L, *S].
        remainder: variance in all other directions, float32[].
        tone: quantiles of the pixels of signals and of images, float32[2, Q]; Eq. 1
            maps the first to the second.
        mixtures: of the latents [L]; a `gaussian.Mixture` of K cells, whose arrays
            have a leading axis of classes.
        labels: hashable; labels[k] is the name of class k.
    """

    mean: jax.Array
    axes: jax.Array
    remainder: jax.Array
    tone: jax.Array
    mixtures: gaussian.Mixture
    labels: tuple[Hashable, ...]


def fit(
    images: np.ndarray,
    labels: Sequence[Hashable],
    num_cells: int = 64,
    num_latents: int = 150,
    rank: int = 30,
    shrinkage: float = 10.0,
    seed: int = 0,
) -> MixtureModel:
    """Returns the mixtures of labelled images.

    Args:
        images: uint8[N, H, W] or [N, H, W, C]; 0 becomes -1 and 255 becomes 1.
        labels: N hashable labels, of at least 2 classes with 2 images each.
        num_cells: Gaussians of a class, >= 1; small classes use fewer.
        num_latents: L, at most the number of pixels and of images.
        rank: variances kept in each cell, in [1, num_latents].
        shrinkage: n_0 of `gaussian.fit_mixture`, in images, > 0.
        seed: of the k-means, >= 0.

    Raises:
        ValueError: as `linear.fit`, or an argument is outside its range.
    """
    images = np.asarray(images)
    names = _check(images, labels, num_cells, num_latents, rank, shrinkage)
    known = moments.in_order(set(names))
    mean, axes, remainder = _principal_axes(images, num_latents)
    latents = _encode_all(images, mean, axes)
    index = linear.find_labels(known, names)
    rng = np.random.default_rng(seed)
    mixtures = [
        gaussian.fit_mixture(
            rng, latents[index == k], num_cells, rank, shrinkage, _MIN_VARIANCE
        )
        for k in range(len(known))
    ]
    model = MixtureModel(
        jnp.asarray(mean / 127.5 - 1, jnp.float32),
        jnp.asarray(axes.reshape(-1, *mean.shape)),
        jnp.float32(remainder),
        jnp.asarray(_NO_TONE),
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *mixtures),
        known,
    )
    rows = rng.permutation(len(images))[:_NUM_TONES]
    drawn = _draw_all(jax.random.key(seed), model, index[rows], _show_signal)
    pixels = drawn, images[rows] / 127.5 - 1
    levels = np.linspace(0, 1, 256)
    tone = np.stack([np.quantile(x, levels) for x in pixels])
    return model._replace(tone=jnp.asarray(tone, jnp.float32))


def denoiser(model: MixtureModel, schedule: Schedule, k: int) -> Denoiser:
    """Returns the exact denoiser of class k of the model, (x_t, t) -> E[x_0 | x_t]."""
    mixture = class_mixture(model, k)
    denoise_latents = gaussian.mixture_denoiser(mixture, schedule)

    def denoise(x_t, t):
        alpha, sigma = schedule.alpha[t], schedule.sigma[t]
        latents, rest = _split(model, x_t - alpha * model.mean)
        gain = alpha * model.remainder / (alpha**2 * model.remainder + sigma**2)
        x_0 = jnp.tensordot(denoise_latents(latents, t), model.axes, 1)
        return model.mean + x_0 + gain * rest

    return denoise


def apply(
    model: MixtureModel, z_t: jax.Array, log_snr: jax.Array, label: jax.Array
) -> jax.Array:
    """Returns the estimates of a signal's latents z_0, float[B, L], as a network does.

    For variance-preserving paths, where alpha^2 = sigmoid(log_snr) = 1 - sigma^2.

    Args:
        model: from `fit` or `load`; without labels, where it is an argument of jit.
        z_t: float[B, L].
        log_snr: float[B].
        label: int[B], in [0, number of classes).
    """

    def one(z_t, log_snr, k):
        squares = jax.nn.sigmoid(log_snr), jax.nn.sigmoid(-log_snr)
        step = Schedule(*(jnp.sqrt(square)[None] for square in squares))
        mixture = class_mixture(model, k)
        signal = mixture._replace(cells=_signal(mixture.cells))
        return gaussian.mixture_denoiser(signal, step)(z_t, jnp.int32(0))

    return jax.vmap(one)(z_t, log_snr, label)


def encode(model: MixtureModel, image: jax.Array) -> jax.Array:
    """Returns the latents of one image, float[L]."""
    return jnp.tensordot(model.axes, image - model.mean, image.ndim)


def decode(model: MixtureModel, latents: jax.Array) -> jax.Array:
    """Returns the image of latents by Eq. 1, float[*S] in [-1, 1]."""
    return jnp.interp(_show_signal(model, latents), *model.tone)


def draw(key: jax.Array, model: MixtureModel, k: int) -> jax.Array:
    """Returns a draw from the density of class k, noise and all, float32[*S]."""
    key_cell, key_latents, key_rest = jax.random.split(key, 3)
    normal = _draw_cell(key_cell, model, k)
    eps = jax.random.normal(key_latents, normal.mean.shape)
    _, rest = _split(model, jax.random.normal(key_rest, model.mean.shape))
    x = _show_signal(model, gaussian.colour(normal, eps))
    return x + jnp.sqrt(model.remainder) * rest


def generate(
    key: jax.Array, model: MixtureModel, labels: Sequence[Hashable]
) -> np.ndarray:
    """Returns an image of each label by Eq. 1, float32[N, *S] in [-1, 1], in one step.

    Image k depends on label k and on `jax.random.fold_in(key, k)` alone."""
    return _draw_all(key, model, linear.find_labels(model.labels, labels), decode)


def log_density(
    model: MixtureModel, schedule: Schedule, x_t: jax.Array, t: int, k: int
) -> jax.Array:
    """Returns log p(x_t | class k) in nats, exactly; t = 0 is data."""
    alpha, sigma = schedule.alpha[t], schedule.sigma[t]
    latents, rest = _split(model, x_t - alpha * model.mean)
    mixture = class_mixture(model, k)
    laws = jax.vmap(gaussian.marginal, (0, None, None))(mixture.cells, schedule, t)
    inside = gaussian.mixture_log_densities(mixture._replace(cells=laws), latents)
    variance = alpha**2 * model.remainder + sigma**2
    num_others = x_t.size - len(latents)
    outside = jnp.square(rest).sum() / variance
    outside = outside + num_others * jnp.log(2 * jnp.pi * variance)
    return jax.nn.logsumexp(inside) - 0.5 * outside


def class_mixture(model: MixtureModel, k: int) -> gaussian.Mixture:
    """Returns the mixture of the latents of class k."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf)[k], model.mixtures)


def class_normal(model: MixtureModel, k: int) -> Normal:
    """Returns the Gaussian with the mean and covariance of class k of a model.

    m = sum_i pi_i m_i,  C = sum_i pi_i (C_i + (m_i - m)(m_i - m)^T)

    Args:
        model: from `mixtures.fit` or `mixtures.load`.
        k: scalar int in [0, number of classes).
    """
    mixture = class_mixture(model, k)
    cells, weights = mixture.cells, jax.nn.softmax(mixture.log_weights)
    mean = weights @ cells.mean
    eye = jnp.eye(mean.size)

    def moment(cell):
        extra = cell.variances - cell.remainder
        inside = cell.vectors.T @ (extra[:, None] * cell.vectors)
        return inside + cell.remainder * eye + jnp.outer(cell.mean, cell.mean)

    square = jnp.tensordot(weights, jax.vmap(moment)(cells), 1)
    latent = from_covariance(mean, square - jnp.outer(mean, mean))
    return Normal(
        model.mean + jnp.tensordot(latent.mean, model.axes, 1),
        jnp.tensordot(latent.vectors, model.axes, 1),
        latent.variances,
        model.remainder,
    )


def save(path: str | Path, model: MixtureModel) -> None:
    """Writes a model in float16; see `linear.save`."""
    cells = {"log_weights": model.mixtures.log_weights}
    cells |= model.mixtures.cells._asdict()
    pixels = {name: getattr(model, name) for name in _PIXELS}
    labels = linear.labels_to_json(model.labels)
    description = {"model": "mixtures", "labels": labels}
    storage.save_weights(path, {"pixels": pixels, "cells": cells}, description)


def load(path: str | Path) -> MixtureModel:
    """Returns the model in a file that `save` wrote.

    Raises:
        WeightsError: it holds another model, tensors that do not fit one another or
            the labels, or a variance that is not > 0.
    """
    params, description = storage.load_weights(path, "mixtures")
    labels = linear.labels_from_description(description, path)
    params.get("pixels", {}).setdefault("tone", _NO_TONE)  # older files have none
    storage.check_params(params, _expected_shapes(params, len(labels)), path)
    cells, pixels = params["cells"], params["pixels"]
    variances = cells["variances"], cells["remainder"], pixels["remainder"]
    if not all((variance > 0).all() for variance in variances):
        raise storage.WeightsError(f"variances must be > 0, got others in {path}.")
    mixtures = gaussian.Mixture(cells.pop("log_weights"), gaussian.Normal(**cells))
    pixels["remainder"] = pixels["remainder"].reshape(())
    return MixtureModel(**pixels, mixtures=mixtures, labels=labels)


def _expected_shapes(params: dict[str, Any], num_classes: int) -> dict[str, Any]:
    """Returns the shapes of a model's tensors, by the sizes of two of them."""
    pixels, cells = params.get("pixels", {}), params.get("cells", {})
    num_latents, *shape = np.shape(pixels.get("axes")) or (0,)
    num_tones = np.size(pixels.get("tone", 0)) // 2
    num_cells, rank = [*np.shape(cells.get("variances")), 0, 0, 0][1:3]
    # Older files hold a vector in place of the scalar.
    remainder = (1,) if np.shape(pixels.get("remainder")) == (1,) else ()
    per_cell = num_classes, num_cells
    return {
        "pixels": linear.as_structs(
            {
                "mean": shape,
                "axes": (num_latents, *shape),
                "remainder": remainder,
                "tone": (2, num_tones),
            }
        ),
        "cells": linear.as_structs(
            {
                "log_weights": per_cell,
                "mean": (*per_cell, num_latents),
                "vectors": (*per_cell, rank, num_latents),
                "variances": (*per_cell, rank),
                "remainder": per_cell,
            }
        ),
    }


def _draw_all(key, model, index, show) -> np.ndarray:
    """Returns `show` of a signal of each class of the index, float32[N, *S]."""
    draw = functools.partial(_draw_batch, key, model._replace(labels=()), show=show)
    rows = np.arange(len(index))
    return linear.join_batches(draw, _BATCH, model.mean.shape, rows, index)


@functools.partial(jax.jit, static_argnames="show")
def _draw_batch(key, model, rows, classes, show):
    def one(row_and_class):
        row, k = row_and_class
        key_cell, key_eps = jax.random.split(jax.random.fold_in(key, row))
        signal = _signal(_draw_cell(key_cell, model, k))
        eps = jax.random.normal(key_eps, signal.mean.shape)
        return show(model, gaussian.colour(signal, eps))

    # Few at once: each copies the directions of its cell, 2 MB at full rank.
    return jax.lax.map(one, (rows, classes), batch_size=16)


def _draw_cell(key: jax.Array, model: MixtureModel, k: int) -> Normal:
    """Returns a cell of class k, by its weight."""
    leaves = jax.tree.map(jnp.asarray, model.mixtures)
    cell = jax.random.categorical(key, leaves.log_weights[k])
    return jax.tree.map(lambda leaf: leaf[k, cell], leaves.cells)


def _signal(cells: Normal) -> Normal:
    """Returns cells without their white noise; what is left of it nobody sees."""
    return cells._replace(remainder=jnp.full_like(cells.remainder, _MIN_VARIANCE))


def _show_signal(model: MixtureModel, latents: jax.Array) -> jax.Array:
    return model.mean + jnp.tensordot(latents, model.axes, 1)


def _check(images, labels, num_cells, num_latents, rank, shrinkage):
    names = moments.check_images(images, labels)
    if images.dtype != np.uint8:
        raise ValueError(f"images must be uint8, got {images.dtype}.")
    moments.check_classes(Counter(names), num_latents, math.prod(images.shape[1:]))
    if not 1 <= num_cells <= len(images):
        raise ValueError(f"num_cells must be in [1, {len(images)}], got {num_cells}.")
    if not 1 <= rank <= num_latents:
        raise ValueError(f"rank must be in [1, {num_latents}], got {rank}.")
    if not 0 < shrinkage < math.inf:
        raise ValueError(f"shrinkage must be > 0 and finite, got {shrinkage}.")
    return names


def _split(model: MixtureModel, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns the latents of x, and the part of x orthogonal to the axes."""
    latents = jnp.tensordot(model.axes, x, x.ndim)
    return latents, x - jnp.tensordot(latents, model.axes, 1)


def _principal_axes(images, num_latents):
    """Returns mean [*S] in 0 .. 255, axes [L, D], and the variance beyond them."""
    # As one class, because the moments of each class would take memory.
    whole = moments.collect([(images, [0] * len(images))])
    mean, covariance = moments.total_covariance(whole)
    variances, vectors = np.linalg.eigh(covariance / 127.5**2)
    axes = vectors[:, : -num_latents - 1 : -1].T.astype(np.float32)
    others = variances[:-num_latents]
    return mean, axes, max(others.mean() if others.size else 0.0, _MIN_VARIANCE)


def _encode_all(images: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> np.ndarray:
    latents = np.empty((len(images), len(axes)), np.float32)
    for start in range(0, len(images), 4096):
        rows = images[start : start + 4096] - mean.astype(np.float32)
        latents[start : start + 4096] = rows.reshape(len(rows), -1) @ axes.T / 127.5
    return latents
