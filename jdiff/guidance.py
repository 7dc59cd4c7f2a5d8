"""Guidance: functions from denoisers to a denoiser, so they compose.

One convention: at scale 0 the unconditional denoiser is left, at scale 1 the
conditional one, and more is guided. `clip_x_0` comes last. For instance

    guided = guide(letter, any_letter, 3.0)
    guided = guide_interval(guided, letter, 100, 900)
    guided = clip_x_0(rescale_guidance(guided, letter))
"""

import jax
import jax.numpy as jnp

from jdiff.sampling import Denoiser


def guide(
    conditional: Denoiser, unconditional: Denoiser, scale: jax.typing.ArrayLike
) -> Denoiser:
    """Returns the denoiser of classifier-free guidance (Ho & Salimans 2022, Eq. 6).

    x_0 = unconditional + scale (conditional - unconditional)

    0 is unconditional, 1 conditional, more is guided: 1 + w in the paper's letters.
    Guiding x_0, eps, v or score is one thing: at a given x_t each is affine in x_0.

    With a good model and a bad version of it, smaller or trained for less long, in
    the place of the unconditional one, this is autoguidance (Karras et al. 2024).

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

    Only the one that is asked is computed (unless t itself is vmapped), so steps
    outside the interval cost half.

    Args:
        guided: from `guide`.
        conditional: the denoiser of scale 1.
        first: earliest step with guidance, scalar int in [0, T].
        last: latest step with guidance, scalar int in [0, T].
    """
    return lambda x_t, t: jax.lax.cond(
        (first <= t) & (t <= last), guided, conditional, x_t, t
    )


def rescale_guidance(
    guided: Denoiser, conditional: Denoiser, share: float = 0.7
) -> Denoiser:
    """Returns guidance without its gain of contrast (Lin et al. 2023, Eq. 14-16).

    x_0 = share (std(conditional) / std(guided)) guided + (1 - share) guided

    with the standard deviation over one example. The paper rescales the network's
    output; here, as everywhere in jdiff, it is the estimate of x_0.

    Args:
        guided: from `guide`.
        conditional: the denoiser of scale 1. Under jit its second call is merged with
            the one in `guided`.
        share: phi of the paper, in [0, 1]; 0 leaves the guided estimate as it is.

    Raises:
        ValueError: share is outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be in [0, 1], got {share}.")

    def denoise(x_t, t):
        x_0 = guided(x_t, t)
        std, wanted = jnp.std(x_0), jnp.std(conditional(x_t, t))
        # What is constant has no contrast to give back.
        gain = jnp.where(std > 0, wanted / std, 1.0)
        return (share * gain + (1.0 - share)) * x_0

    return denoise


def dynamic_threshold(
    denoise: Denoiser, percentile: float = 99.5, bound: float = 1.0
) -> Denoiser:
    """Returns a denoiser with loud estimates scaled (Saharia et al. 2022, Sec. 2.3).

    s = max(bound, percentile of |x_0|),  x_0 <- bound / s clip(x_0, -s, s)

    In place of `clip_x_0`, after guidance: it keeps differences that clipping flattens.

    Args:
        denoise: a guided denoiser.
        percentile: p of the paper, in [0, 100]; 100 only scales.
        bound: of the data, > 0.

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
