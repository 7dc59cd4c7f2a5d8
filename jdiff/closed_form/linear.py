"""The linear diffusion model of Kurt 2023, in closed form.

"Linear Diffusion: Building a Diffusion Model from linear Components" encodes an image
by PCA, z = P (x - mean) / scale, adds noise once, at one noise level, and predicts it
by linear regression:

    eps ~ [z', e, z' e_1, ..., z' e_k],   z' = z + eps,  eps ~ N(0, I)      (1)

with e the one-hot label, its first entry dropped. These features give every class an
affine map of its own, so Eq. 1 separates into one regression per class,

    A_k = Cov(eps, z') Cov(z')^-1,   b_k = E[eps] - A_k E[z']               (2)

which needs moments alone: no feature matrix is built. With the noise integrated out
the moments are known, Cov(z') = C_k + I and Cov(eps, z') = I, where m_k and C_k are
mean and covariance of the latents of class k. So

    A_k = (C_k + I)^-1,   b_k = -A_k m_k                                    (3)

is the regression on infinitely many draws of noise. An image is made from pure noise
in one step, x = decode(eps - (A_k eps + b_k)). `gaussian` generalises this map to
every noise level. `LinearDiffusion` has the interface of the article's own library.
"""

import contextlib
import functools
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import storage
from jdiff.closed_form.moments import collect, names_of, principal_axes
from jdiff.images import in_batches

_BATCH = 128  # images generated at once; their matrices take 10 MB


class LinearModel(NamedTuple):
    """The article's model of images of shape S, with L latents and K classes.

    Attributes:
        mean: of each pixel, float32[*S].
        scale: standard deviation of each pixel, float32[*S]; 1 where it is constant.
        components: orthonormal directions of the standardised pixels, float32[L, *S].
        weights: A_k of Eq. 2, float32[K, L, L].
        biases: b_k of Eq. 2, float32[K, L].
        labels: K hashable labels; labels[k] is the name of class k.
    """

    mean: np.ndarray
    scale: np.ndarray
    components: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    labels: tuple[Hashable, ...]


def fit(
    images: np.ndarray,
    labels: Sequence[Hashable],
    num_latents: int = 144,
    noise: Iterable[np.ndarray] | None = None,
) -> LinearModel:
    """Returns the article's model of labelled images, by Eq. 3.

    Args:
        images: [N, H, W] or [N, H, W, C], any real type and range.
        labels: N hashable labels, of at least 2 classes with 2 images each.
        num_latents: L, at most the number of pixels and of images.
        noise: draws of noise, each float[N, L], for the regression of Eq. 2; the
            article takes one draw. By default the noise is integrated out.

    Raises:
        ValueError: images or labels cannot be fitted; the message says why.
    """
    model = fit_blocks([(images, labels)], num_latents)
    return model if noise is None else _fit_noise(model, images, labels, noise)


def fit_blocks(
    blocks: Iterable[tuple[np.ndarray, Sequence[Hashable]]], num_latents: int = 144
) -> LinearModel:
    """Returns the model of `fit` from one pass over blocks of (images, labels)."""
    stats = collect(blocks)
    mean, scale, components = principal_axes(stats, num_latents)
    encoder = components.reshape(num_latents, -1) / scale.reshape(1, -1)
    weights, biases = [], []
    for center, covariance in zip(stats.means, stats.covariances, strict=True):
        cov_z = encoder @ covariance @ encoder.T + np.eye(num_latents)
        weights.append(np.linalg.inv(cov_z))
        biases.append(-weights[-1] @ (encoder @ (center - mean).ravel()))
    arrays = mean, scale, components, np.stack(weights), np.stack(biases)
    float32 = (array.astype(np.float32) for array in arrays)
    return LinearModel._make([*float32, stats.labels])


def encode(model: LinearModel, image: jax.Array) -> jax.Array:
    """Returns the latents of one image, z = P (x - mean) / scale, float[L]."""
    return jnp.tensordot(
        model.components, (image - model.mean) / model.scale, image.ndim
    )


def decode(model: LinearModel, latents: jax.Array) -> jax.Array:
    """Returns the image of latents, x = mean + scale P^T z, float[*S]."""
    return model.mean + model.scale * jnp.tensordot(latents, model.components, 1)


def generate(
    key: jax.Array, model: LinearModel, labels: Sequence[Hashable]
) -> np.ndarray:
    """Returns an image of each label, float32[N, *S], in the units of the training set.

    Image k depends on label k and on `jax.random.fold_in(key, k)` alone."""
    shape = model.biases.shape[1:]
    keys = jax.vmap(lambda k: jax.random.fold_in(key, k))(jnp.arange(len(labels)))
    return denoise(model, labels, jax.vmap(lambda k: jax.random.normal(k, shape))(keys))


def denoise(
    model: LinearModel, labels: Sequence[Hashable], eps: jax.typing.ArrayLike
) -> np.ndarray:
    """Returns the images of labels made from given noise, float32[N, *S].

    x = decode(eps - (A_k eps + b_k))

    Args:
        model: from `fit` or `load`.
        labels: N of the labels that were fitted.
        eps: float[N, L].

    Raises:
        ValueError: an unknown label, or noise of another shape.
    """
    index = find_labels(model.labels, labels)
    wanted = (len(index), model.biases.shape[1])
    if np.shape(eps) != wanted:
        raise ValueError(f"eps must be {list(wanted)}, got {list(np.shape(eps))}.")
    draw = functools.partial(_denoise_batch, model._replace(labels=()))
    eps = np.asarray(eps, np.float32)
    return join_batches(draw, _BATCH, model.mean.shape, index, eps)


def find_labels(known: tuple[Hashable, ...], labels: Sequence[Hashable]) -> np.ndarray:
    """Returns the index of each label among the known ones, int32[N].

    Raises:
        ValueError: an unknown label.
    """
    places, names = {label: k for k, label in enumerate(known)}, names_of(labels)
    for name in names:
        if name not in places:
            raise ValueError(
                f"labels must be among the {len(places)} that were fitted, "
                f"got {name!r}."
            )
    return np.array([places[name] for name in names], np.int32)


def join_batches(
    draw: Callable[..., jax.Array], size: int, shape: Sequence[int], *arrays: np.ndarray
) -> np.ndarray:
    """Returns images float32[N, *shape], drawn from rows of the arrays."""
    none = np.empty((0, *shape), np.float32)
    return np.concatenate([none, *in_batches(draw, size, *arrays)])


def save(path: str | Path, model: LinearModel) -> None:
    """Writes a model whose labels are str, int, float or tuples of them, in float16.

    Raises:
        ValueError: another label, or as `jdiff.storage.save_weights`.
    """
    arrays = dict(zip(LinearModel._fields[:-1], model[:-1], strict=True))
    description = {"model": "linear", "labels": labels_to_json(model.labels)}
    storage.save_weights(path, {"linear": arrays}, description)


def load(path: str | Path) -> LinearModel:
    """Returns the model in a file that `save` wrote.

    Raises:
        WeightsError: it holds another model, or tensors that do not fit one another.
    """
    params, description = storage.load_weights(path, "linear")
    labels = labels_from_description(description, path)
    arrays = params.get("linear", {})
    num_latents, *shape = np.shape(arrays.get("components")) or (0,)
    expected: dict[str, Sequence[int]] = {
        "mean": shape,
        "scale": shape,
        "components": (num_latents, *shape),
        "weights": (len(labels), num_latents, num_latents),
        "biases": (len(labels), num_latents),
    }
    storage.check_params(params, {"linear": as_structs(expected)}, path)
    return LinearModel(**arrays, labels=labels)


def as_structs(shapes: dict[str, Sequence[int]]) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns shapes by name as `jdiff.storage.check_params` compares them."""
    return {
        name: jax.ShapeDtypeStruct(tuple(shape), np.float32)
        for name, shape in shapes.items()
    }


def labels_to_json(label: Any) -> Any:
    """Returns a label, or a tuple of labels, with lists in the place of tuples."""
    if isinstance(label, tuple):
        return [labels_to_json(part) for part in label]
    if isinstance(label, str | int | float):
        return label
    raise ValueError(
        f"labels must be str, int, float or tuples of them to be saved, got {label!r}."
    )


def labels_from_description(
    description: dict[str, Any], path: str | Path
) -> tuple[Hashable, ...]:
    """Returns the labels that `labels_to_json` wrote, which must be distinct."""
    labels = _from_json(description.get("labels"))
    with contextlib.suppress(TypeError):  # not hashable
        if isinstance(labels, tuple) and len(labels) == len(set(labels)) > 0:
            return labels
    raise storage.WeightsError(
        f"the description must hold distinct labels, got {labels!r:.80} in {path}."
    )


class LinearDiffusion:
    """The article's model with the interface of its own library, `lineardiffusion`.

    Args:
        image_size: side of the images, in pixels; by default `fit` takes images of any
            shape.
        latent_size: square root of the number of latents.
    """

    def __init__(self, image_size: int | None = None, latent_size: int = 12):
        self.image_size, self.latent_size = image_size, latent_size
        self.model: LinearModel | None = None

    def fit(self, X: Sequence[Hashable], y: np.ndarray) -> "LinearDiffusion":
        """Fits the model to labels X and images y, and returns it; see `fit`."""
        shape, side = np.shape(y)[1:], self.image_size
        if side is not None and shape != (side, side):
            raise ValueError(f"images must be {side} x {side}, got {list(shape)}.")
        self.model = fit(y, X, self.latent_size**2)
        return self

    def predict(self, X: Sequence[Hashable], seed: int = 1337) -> np.ndarray:
        """Returns an image of each label, in the units of the training images.

        A seed draws the same noise, and so the same images, as the article's library.
        """
        if self.model is None:
            raise ValueError("fit must be called before predict.")
        size = len(X), self.latent_size**2
        eps = np.random.default_rng(seed).normal(size=size)
        return denoise(self.model, X, eps)


def _fit_noise(
    model: LinearModel, images: np.ndarray, labels: Sequence[Hashable], noise: Iterable
) -> LinearModel:
    """Returns the model with the regression of Eq. 2 on given draws of noise."""
    size = model.biases.shape[1]
    encode_all = jax.vmap(functools.partial(encode, model))
    latents = np.asarray(jax.jit(encode_all)(np.asarray(images)))

    def blocks():
        for eps in noise:
            if np.shape(eps) != latents.shape:
                raise ValueError(
                    f"noise must be draws of {list(latents.shape)}, "
                    f"got {list(np.shape(eps))}."
                )
            yield np.concatenate([latents + eps, eps], 1), labels

    stats = collect(blocks())
    weights, biases = [], []
    for mean, cov in zip(stats.means, stats.covariances, strict=True):
        # The shortest solution, where a class has fewer images than latents.
        inverse = np.linalg.pinv(cov[:size, :size], hermitian=True)
        weights.append(cov[size:, :size] @ inverse)
        biases.append(mean[size:] - weights[-1] @ mean[:size])
    return model._replace(
        weights=np.stack(weights).astype(np.float32),
        biases=np.stack(biases).astype(np.float32),
    )


def _from_json(label: Any) -> Any:
    return tuple(map(_from_json, label)) if isinstance(label, list) else label


@jax.jit
def _denoise_batch(model: LinearModel, index: jax.Array, eps: jax.Array) -> jax.Array:
    def one(k, eps):
        return decode(model, eps - (model.weights[k] @ eps + model.biases[k]))

    return jax.vmap(one)(index, eps)
