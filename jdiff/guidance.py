"""Guidance: functions from denoisers to a denoiser, so they compose.

One convention: scale 0 is the unconditional denoiser, scale 1 the conditional one, and
more is guided. `clip_x_0` comes last. For instance

    guided = guide(letter, any_letter, 3.0)
    guided = guide_interval(guided, letter, 100, 900)
    guided = clip_x_0(rescale_guidance(guided, letter))
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jdiff.sampling import Denoiser
from jdiff.schedules import Schedule


def guide(
    conditional: Denoiser, unconditional: Denoiser, scale: jax.typing.ArrayLike
) -> Denoiser:
    """Returns the denoiser of classifier-free guidance (Ho & Salimans 2022, Eq. 6).

    x_0 = unconditional + scale (conditional - unconditional)

    The scale is 1 + w in the paper's letters. Guiding x_0, eps, v or score is the same,
    because each is affine in x_0 at a given x_t.

    With a smaller or less trained model in place of the unconditional one, this is
    autoguidance (Karras et al. 2024).

    Args:
        conditional: (x_t, t) -> x_0, of the label that is wanted.
        unconditional: (x_t, t) -> x_0, of the null label.
        scale: any number; 0 is unconditional, 1 conditional, more is guided.

    Examples:
        >>> import jdiff
        >>> denoise = jdiff.guide(lambda x_t, t: 0.5, lambda x_t, t: 0.2, 2.0)
        >>> round(denoise(None, 1), 6)
        0.8
    """

    def denoise(x_t, t):
        base = unconditional(x_t, t)
        return base + scale * (conditional(x_t, t) - base)

    return denoise


def guide_interval(
    guided: Denoiser,
    conditional: Denoiser,
    first: jax.typing.ArrayLike,
    last: jax.typing.ArrayLike,
) -> Denoiser:
    """Returns guidance at some noise levels only (Kynkäänniemi et al. 2024, Eq. 6).

    x_0 = guided if first <= t <= last, else conditional

    Only one of the two is computed (unless t itself is vmapped), so steps outside the
    interval cost half.

    Args:
        guided: from `guide`.
        conditional: the denoiser of scale 1.
        first: earliest step with guidance, scalar int in [0, T].
        last: latest step with guidance, scalar int in [0, T].
    """
    return lambda x_t, t: jax.lax.cond(
        (first <= t) & (t <= last), guided, conditional, x_t, t
    )


def guide_by(
    denoise: Denoiser,
    schedule: Schedule,
    loss: Callable[[jax.Array, jax.Array], jax.Array],
    scale: jax.typing.ArrayLike = 1.0,
) -> Denoiser:
    """Returns the denoiser guided by a loss of x_0 (Chung et al. 2023, DPS, Eq. 10-11).

    x_0 = D - scale sigma_t^2 / alpha_t grad_(x_t) loss(D, t),  D = denoise(x_t, t)

    For inverse problems, y = A x_0 + n: where loss(D, t) = -log p(y | x_t), up to a
    constant, and scale = 1, it is the denoiser of p(x_0 | y), because that gradient is
    the difference of their scores. For n ~ N(0, std^2 I) and x_0 within r of D,

    loss = |y - A D|^2 / (2 (std^2 + r^2)),  r^2 = sigma_t^2 / (alpha_t^2 + sigma_t^2)

    (Song et al. 2023b, Eq. 7), which is exact if the data are N(0, I) and A has
    orthonormal rows. Chung et al. have r = 0, with a scale of its own for each problem,
    and subtract after the step of `ddpm`.
    Where alpha_t = 0, x_t tells nothing of x_0 and nothing is added.

    Args:
        denoise: (x_t, t) -> x_0, differentiable, so not clipped.
        schedule: float32[T + 1] tables.
        loss: (x_0, t) -> scalar.
        scale: strength, >= 0.
    """

    def guided(x_t, t):
        def of_estimate(x_t):
            x_0 = denoise(x_t, t)
            return loss(x_0, t), x_0

        gradient, x_0 = jax.grad(of_estimate, has_aux=True)(x_t)
        alpha, sigma = schedule.alpha[t], schedule.sigma[t]
        factor = jnp.where(alpha > 0, sigma**2 / jnp.where(alpha > 0, alpha, 1.0), 0.0)
        return x_0 - scale * factor * gradient

    return guided


def rescale_guidance(
    guided: Denoiser, conditional: Denoiser, phi: float = 0.7
) -> Denoiser:
    """Returns guidance without its gain of contrast (Lin et al. 2023, Eq. 14-16).

    x_0 = phi (std(conditional) / std(guided)) guided + (1 - phi) guided

    with the standard deviation over one example. The paper rescales the network's
    output, this function the estimate of x_0.

    Args:
        guided: from `guide`.
        conditional: the denoiser of scale 1. Under jit its second call is merged with
            the one in `guided`.
        phi: strength, in [0, 1]; 0 leaves the guided estimate as it is.

    Raises:
        ValueError: phi is outside [0, 1].
    """
    if not 0.0 <= phi <= 1.0:
        raise ValueError(f"phi must be in [0, 1], got {phi}.")

    def denoise(x_t, t):
        x_0 = guided(x_t, t)
        std, wanted = _std(x_0), _std(conditional(x_t, t))
        # A constant estimate has no contrast to rescale.
        gain = jnp.where(std > 0, wanted / jnp.where(std > 0, std, 1.0), 1.0)
        return (phi * gain + (1.0 - phi)) * x_0

    return denoise


def dynamic_threshold(
    denoise: Denoiser, percentile: float = 99.5, bound: float = 1.0
) -> Denoiser:
    """Returns a denoiser with dynamic thresholding (Saharia et al. 2022, Sec. 2.3).

    s = max(bound, percentile of |x_0|),  x_0 <- bound / s clip(x_0, -s, s)

    It replaces `clip_x_0` after guidance and keeps differences that clipping removes.

    Args:
        denoise: a guided denoiser.
        percentile: p of the paper, in [0, 100]; 100 only scales.
        bound: largest magnitude of the data, > 0.

    Raises:
        ValueError: percentile or bound is outside its range.
    """
    if not 0.0 <= percentile <= 100.0:
        raise ValueError(f"percentile must be in [0, 100], got {percentile}.")
    if not bound > 0:
        raise ValueError(f"bound must be > 0, got {bound}.")

    def thresholded(x_t, t):
        x_0 = denoise(x_t, t)
        s = jnp.maximum(jnp.percentile(jnp.abs(x_0), percentile), bound)
        return jnp.clip(x_0, -s, s) * (bound / s)

    return thresholded


def _std(x: jax.Array) -> jax.Array:
    """Returns the standard deviation; its gradient is 0, not NaN, where x is flat."""
    variance = jnp.var(x)
    is_flat = variance == 0
    return jnp.where(is_flat, 0.0, jnp.sqrt(jnp.where(is_flat, 1.0, variance)))
