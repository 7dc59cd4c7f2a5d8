"""A network that sees and makes numbers of unit size, at any noise level."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def precondition(
    apply: Callable[..., jax.Array], sigma_data: float = 0.5
) -> Callable[..., jax.Array]:
    """Returns apply with the preconditioning of Karras et al. 2022, Eq. 7 and Table 1.

    x_0 = c_skip x_t + c_out apply(params, c_in x_t, log_snr, ...),  sigma = sigma_t
    c_skip = sigma_data^2 / (sigma^2 + sigma_data^2)
    c_out = sigma sigma_data / sqrt(sigma^2 + sigma_data^2)
    c_in = 1 / sqrt(sigma^2 + sigma_data^2)

    For a variance-exploding path (alpha = 1), where sigma = exp(-log_snr / 2). The
    result estimates x_0: train and sample it with `PREDICT_X_0`, and with `edm_weight`.
    c_noise = log(sigma) / 4 of the paper is -log_snr / 8, and networks of jdiff embed
    the log-SNR themselves, so it is handed on as it is.

    Args:
        apply: (params, x_t [B, ...], log_snr [B], ...) -> output [B, ...].
        sigma_data: standard deviation of the data, > 0.

    Raises:
        ValueError: sigma_data is not > 0.
    """
    if not sigma_data > 0:
        raise ValueError(f"sigma_data must be > 0, got {sigma_data}.")

    def preconditioned(params: Any, x_t: jax.Array, log_snr: jax.Array, *condition):
        variance = jnp.exp(-log_snr).reshape(-1, *[1] * (x_t.ndim - 1))
        total = variance + sigma_data**2
        output = apply(params, x_t * jax.lax.rsqrt(total), log_snr, *condition)
        c_out = sigma_data * jnp.sqrt(variance / total)
        return sigma_data**2 / total * x_t + c_out * output

    return preconditioned
