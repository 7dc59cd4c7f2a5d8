"""The affine denoiser as a network, to be trained where it could be computed."""

import dataclasses

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass
class AffineDenoiser(hk.Module):
    """One affine map of x_t for each class and each interval of log-SNR.

    f(x_t) = W x_t + b, interpolated linearly in the log-SNR.

    Trained by least squares on x_0 it tends to the Gaussian posterior mean at each of
    its log-SNRs, `jdiff.closed_form.gaussian.denoiser`: its optimum is known.

    Attributes:
        num_classes: labels are 0 .. num_classes - 1.
        log_snrs: of the maps, ascending; outside their range the nearest is taken.
    """

    num_classes: int
    log_snrs: tuple[float, ...]
    name: str | None = None

    def __call__(
        self, x_t: jax.Array, log_snr: jax.Array, label: jax.Array
    ) -> jax.Array:
        """Returns x_0 float[B, *S] from x_t [B, *S], log_snr [B] and label int[B]."""
        size, num_maps = int(np.prod(x_t.shape[1:])), len(self.log_snrs)
        shape = (num_maps, self.num_classes, size)
        weights = hk.get_parameter("w", (*shape, size), init=jnp.zeros)
        biases = hk.get_parameter("b", shape, init=jnp.zeros)
        place = jnp.interp(log_snr, jnp.array(self.log_snrs), jnp.arange(num_maps))
        distance = jnp.abs(place[:, None] - jnp.arange(num_maps)[None])
        weight = jnp.maximum(1.0 - distance, 0.0)  # hat functions: at most two maps
        class_of = jax.nn.one_hot(label, self.num_classes)
        x = x_t.reshape(len(x_t), size)
        mapped = jnp.einsum("lcij,bj,bl,bc->bi", weights, x, weight, class_of)
        moved = jnp.einsum("lci,bl,bc->bi", biases, weight, class_of)
        return (mapped + moved).reshape(x_t.shape)
