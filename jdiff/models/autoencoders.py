"""Autoencoders: images as a few numbers, whose distribution diffusion learns.

    z = (e - m) / s,  e ~ q(e | image);      image = decode(m + s z)         (1)

m and s are mean and standard deviation of the aggregate posterior, E_x q(e | x): they
give latents the scale of the noise that diffusion adds (Rombach et al. 2022, App. G,
with one s for all). Here an autoencoder is any map from images to numbers and back: the
networks of `jdiff.networks.vae`, or the axes of a PCA. Equal arguments give the same
functions, so compiled ones are found again.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from jdiff import networks
from jdiff.closed_form import collect, total_covariance
from jdiff.diffusion import Gaussian
from jdiff.images import from_uint8

NUM_TONES = 33  # knots of a curve of grey values
Params = dict[str, Any]
ImageShape = tuple[int, int, int]


class Autoencoder(NamedTuple):
    """Pure functions between ONE image and its latents.

    Attributes:
        num_latents: L.
        init: key -> params, nested dict as Haiku makes them.
        encode: (params, image float[H, W, C]) -> q(z | image), moments float[L].
        decode: (params, z float[L]) -> p(image | z): its mean, float[H, W, C] in
            [-1, 1] or near it, and its variance, a scalar.
    """

    num_latents: int
    init: Callable[[jax.Array], Params]
    encode: Callable[[Params, jax.Array], Gaussian]
    decode: Callable[[Params, jax.Array], Gaussian]


@functools.cache
def make_vae(
    num_latents: int, image_shape: ImageShape, widths: tuple[int, ...] = (256, 128)
) -> Autoencoder:
    """Returns the autoencoder of two perceptrons; widths are the encoder's."""
    encoder = networks.as_pair(networks.Encoder, num_latents, widths)
    decoder = networks.as_pair(networks.Decoder, image_shape, widths[::-1])
    return _of_networks(encoder, decoder, num_latents, image_shape)


@functools.cache
def make_conv_vae(
    num_latents: int, image_shape: ImageShape, widths: tuple[int, ...] = (32, 64)
) -> Autoencoder:
    """Returns the autoencoder of convolutions; widths at half and quarter resolution.

    Raises:
        ValueError: widths are not two, or an image is not made of 4 x 4 patches.
    """
    if len(widths) != 2:
        raise ValueError(f"widths must be two for convolutions, got {list(widths)}.")
    height, width, _ = image_shape
    if height % 4 or width % 4:
        raise ValueError(
            f"height and width must be divisible by 4, got {height} x {width}."
        )
    encoder = networks.as_pair(networks.ConvEncoder, num_latents, widths)
    decoder = networks.as_pair(networks.ConvDecoder, image_shape, widths[::-1])
    return _of_networks(encoder, decoder, num_latents, image_shape)


@functools.cache
def make_affine(
    num_latents: int, image_shape: ImageShape, widths: tuple[int, ...] = ()
) -> Autoencoder:
    """Returns the autoencoder of affine maps, whose weights `fit_pca` finds.

    image = mean + U^T (w z) + std eps,  z ~ N(0, I),  eps ~ N(0, I)

    with orthonormal axes U: probabilistic PCA (Tipping & Bishop 1999). Its posterior,
    of mean w U (image - mean) / (w^2 + std^2) and variance std^2 / (w^2 + std^2), is
    exact, so its evidence bound is the likelihood itself. Where std = 0 it is PCA.
    """

    def init(key):
        axes, mean = jnp.zeros((num_latents, *image_shape)), jnp.zeros(image_shape)
        scale, std = jnp.ones(num_latents), jnp.ones(1)
        return {"affine": {"axes": axes, "mean": mean, "scale": scale, "std": std}}

    def encode(params, image):
        axes, mean, scale, std = (params["affine"][name] for name in _AFFINE)
        variance = jnp.square(scale) + jnp.square(std)
        z = jnp.tensordot(axes, image - mean, image.ndim) * scale / variance
        return Gaussian(z, jnp.square(std) / variance)

    def decode(params, z):
        axes, mean, scale, std = (params["affine"][name] for name in _AFFINE)
        return Gaussian(mean + jnp.tensordot(scale * z, axes, 1), jnp.square(std[0]))

    return Autoencoder(num_latents, init, encode, decode)


_AFFINE = ("axes", "mean", "scale", "std")


def fit_pca(images: np.ndarray, num_latents: int) -> Params:
    """Returns the likeliest weights of `make_affine` (ibid., Eqs. 7 and 8).

    The axes are the first eigenvectors of the covariance, std^2 is the mean of the
    other eigenvalues, and w^2 + std^2 are the first ones.

    Args:
        images: uint8[N, H, W, C].
        num_latents: L, less than the number of pixels.

    Raises:
        ValueError: num_latents is outside its range, or all images are equal.
    """
    size = math.prod(images.shape[1:])
    if not 1 <= num_latents < size:
        raise ValueError(f"num_latents must be in [1, {size - 1}], got {num_latents}.")
    labels = [0] * len(images)  # one class
    mean, covariance = total_covariance(collect([(images, labels)]))
    values, vectors = np.linalg.eigh(covariance / 127.5**2)
    axes = vectors[:, : -num_latents - 1 : -1].T.reshape(-1, *mean.shape)
    variance = max(values[:-num_latents].mean(), 0.0)
    scale = np.sqrt(np.maximum(values[: -num_latents - 1 : -1] - variance, 0.0))
    arrays = axes, mean / 127.5 - 1.0, scale, np.sqrt([variance])
    float32 = (jnp.asarray(array, jnp.float32) for array in arrays)
    return {"affine": dict(zip(_AFFINE, float32, strict=True))}


# By their names in weights files and on the command line.
AUTOENCODERS = {"mlp": make_vae, "conv": make_conv_vae, "pca": make_affine}


@functools.cache
def standardized(autoencoder: Autoencoder) -> Autoencoder:
    """Returns the autoencoder of Eq. 1: latents of mean 0 and standard deviation 1.

    Its params also hold m and s, "latents": {"mean", "std"}, float[L] each, as
    `aggregate_posterior` finds them.
    """

    def init(key):
        mean = jnp.zeros(autoencoder.num_latents)
        latents = {"mean": mean, "std": jnp.ones_like(mean)}
        return autoencoder.init(key) | {"latents": latents}

    def encode(params, image):
        mean, variance = autoencoder.encode(params, image)
        center, scale = params["latents"]["mean"], params["latents"]["std"]
        return Gaussian((mean - center) / scale, variance / jnp.square(scale))

    def decode(params, z):
        latents = params["latents"]
        return autoencoder.decode(params, latents["mean"] + latents["std"] * z)

    return autoencoder._replace(init=init, encode=encode, decode=decode)


@functools.cache
def image_decoder(autoencoder: Autoencoder) -> Callable[[Params, jax.Array], jax.Array]:
    """Returns (params, z) -> image float[H, W, C] in [-1, 1].

    It is the decoder's mean, in the grey values of params["tone"] if there are some.
    """

    def to_image(params, z):
        image = jnp.clip(autoencoder.decode(params, z).mean, -1.0, 1.0)
        return tone(params["tone"]["grey"], image) if "tone" in params else image

    return to_image


def tone(grey: jax.Array, image: jax.Array) -> jax.Array:
    """Returns an image in other grey values, by a curve that is linear between knots.

    Args:
        grey: what evenly spaced grey values from -1 to 1 become, float[K], K >= 2.
        image: float[...] in [-1, 1].
    """
    knots = jnp.linspace(-1.0, 1.0, len(grey))
    distance = jnp.abs(image.reshape(-1, 1) - knots[None]) * (len(grey) - 1) / 2
    share = jnp.maximum(1.0 - distance, 0.0)
    return (share @ grey[:, None]).reshape(image.shape)


def fit_tone(drawn: np.ndarray, images: np.ndarray) -> Params:
    """Returns the curve that gives drawn images the grey values of real ones.

    A decoder returns the mean of many images, which is smoother than any of them. A
    grey value becomes the real one with as many darker pixels: the monotone curve that
    makes both distributions equal.

    Args:
        drawn: float[N, H, W, C] in [-1, 1], without a curve.
        images: as many real ones, of the same classes, uint8[N, H, W, C].
    """
    values, knots = np.sort(drawn, None), np.linspace(-1.0, 1.0, NUM_TONES)
    below, above = (np.searchsorted(values, knots, side) for side in ("left", "right"))
    levels = 0.5 * (below + above) / len(values)
    grey = np.quantile(images, levels) / 127.5 - 1.0
    return {"tone": {"grey": grey.astype(np.float32)}}


def aggregate_posterior(mean: np.ndarray, variance: np.ndarray) -> Params:
    """Returns mean and standard deviation of the latents of all images together.

    m = E[mean],  s^2 = E[variance] + Var[mean]    (the law of total variance)

    They are what `standardized` calls "latents"; std is 1 where a latent is constant.

    Args:
        mean: of q(z | image), of the training images, float[N, L].
        variance: likewise.
    """
    center = mean.mean(0, np.float64)
    std = np.sqrt(variance.mean(0, np.float64) + mean.var(0, np.float64))
    std = np.where(std > 0.0, std, 1.0)
    return {"mean": center.astype(np.float32), "std": std.astype(np.float32)}


def encode_images(
    autoencoder: Autoencoder, params: Params, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns mean and variance of q(z | image), float32[N, L], of uint8 images."""
    mean, variance = _encode_all(params, images, encode=autoencoder.encode)
    return np.asarray(mean), np.asarray(variance)


@functools.partial(jax.jit, static_argnames="encode")
def _encode_all(params, images, *, encode):
    def one(image):
        return encode(params, from_uint8(image))

    return jax.lax.map(one, images, batch_size=4096)


def build_autoencoder(description: dict[str, Any]) -> Autoencoder:
    """Returns the `standardized` autoencoder that `jdiff train autoencoder` wrote.

    Raises:
        KeyError: a part of the description is missing or not known here.
    """
    make = AUTOENCODERS[description["autoencoder"]]
    shape, widths = tuple(description["image_shape"]), tuple(description["widths"])
    return standardized(make(description["num_latents"], shape, widths))


def _of_networks(
    to_latents: hk.Transformed,
    to_images: hk.Transformed,
    num_latents: int,
    image_shape: ImageShape,
) -> Autoencoder:
    """Returns the autoencoder of two Haiku networks, which take batches."""

    def init(key):
        key_encoder, key_decoder = jax.random.split(key)
        image, z = jnp.zeros((1, *image_shape)), jnp.zeros((1, num_latents))
        return {**to_latents.init(key_encoder, image), **to_images.init(key_decoder, z)}

    def encode(params, image):
        mean, log_variance = to_latents.apply(params, image[None])
        return Gaussian(mean[0], jnp.exp(log_variance[0]))

    def decode(params, z):
        mean, std = to_images.apply(params, z[None])
        return Gaussian(mean[0], jnp.square(std[0]))

    return Autoencoder(num_latents, jax.jit(init), encode, decode)
