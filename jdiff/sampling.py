"""From noise to data: denoisers, guidance, solvers and the one loop.

A `Denoiser` maps a noisy example and its step to an estimate of x_0. A `Solver`
uses that estimate to go from step t to an earlier step s. `sample` scans a solver
over a grid of steps. All of it is written for ONE example; `jax.vmap` over keys and
labels makes a batch, in which example k depends on key k and label k alone.
"""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jdiff.diffusion import Prediction, noise, q_posterior, snr_ratio
from jdiff.schedules import Schedule, log_snr

Denoiser = Callable[[jax.Array, jax.Array], jax.Array]


class SolverState(NamedTuple):
    """The state of a solver without memory: the current sample."""

    x: jax.Array


class Sample(NamedTuple):
    """A sample x_0, of the shape asked for, and how it came about.

    path is x_t at each step, [len(times), *shape]; under jit it is free unless used.
    """

    x_0: jax.Array
    path: jax.Array


class Solver(NamedTuple):
    """A way to walk from noise to data: a pair of pure functions, and where to start.

    Attributes:
        init: x_T -> state; state.x is the current sample.
        step: (key, denoise, state, t, s) -> state at the earlier step s.
        prior: (key, shape, t) -> x_t at the first step of the grid. The solvers
            here draw N(0, sigma_t^2 I), which serves variance-exploding paths too.
    """

    init: Callable[[jax.Array], Any]
    step: Callable[[jax.Array, Denoiser, Any, jax.Array, jax.Array], Any]
    prior: Callable[..., jax.Array] = lambda key, shape, t: jax.random.normal(
        key, shape
    )


def make_denoiser(
    apply: Callable[..., jax.Array],
    params: Any,
    schedule: Schedule,
    prediction: Prediction,
    label: jax.typing.ArrayLike | None = None,
    clip: float | None = 1.0,
) -> Denoiser:
    """Returns the denoiser (x_t, t) -> x_0 of a trained network.

    Args:
        apply: (params, x_t [1, ...], log_snr [1], label [1]) -> output [1, ...];
            without a label, (params, x_t, log_snr) -> output.
        params: the network's weights.
        schedule: float32[T + 1] tables.
        prediction: what the network predicts.
        label: class of the example, scalar int; the null label for no condition.
        clip: the estimate is clipped to [-clip, clip]; None leaves it as it is.

    Raises:
        ValueError: the prediction does not determine x_0 at t = T, where alpha_T = 0.
    """
    _check_determined(schedule, prediction)
    condition = () if label is None else (jnp.asarray(label)[None],)

    def denoise(x_t, t):
        output = apply(params, x_t[None], log_snr(schedule, t)[None], *condition)[0]
        return prediction.x_0(schedule, x_t, output, t)

    return denoise if clip is None else clip_x_0(denoise, clip)


def clip_x_0(denoise: Denoiser, bound: float = 1.0) -> Denoiser:
    """Returns the denoiser clipped to [-bound, bound]; clip AFTER guidance.

    The difference that guidance amplifies should be whole."""
    return lambda x_t, t: jnp.clip(denoise(x_t, t), -bound, bound)


def guide(
    conditional: Denoiser, unconditional: Denoiser, scale: jax.typing.ArrayLike
) -> Denoiser:
    """Returns the denoiser of classifier-free guidance (Ho & Salimans 2022, Eq. 6).

    x_0 = unconditional + scale (conditional - unconditional)

    0 is unconditional, 1 conditional, more is guided: 1 + w in the paper's letters.
    Guiding x_0, eps, v or score is one thing: at a given x_t each is affine in x_0.

    >>> import jdiff
    >>> denoise = jdiff.guide(lambda x_t, t: 0.5, lambda x_t, t: 0.2, 2.0)
    >>> round(denoise(None, 1), 6)
    0.8
    """

    def denoise(x_t, t):
        base = unconditional(x_t, t)
        return base + scale * (conditional(x_t, t) - base)

    return denoise


def ddpm(schedule: Schedule) -> Solver:
    """Returns ancestral sampling: x_s ~ q(x_s | x_t, x_0 = denoise(x_t, t)).

    Ho et al. 2020, Algorithm 2, for any s < t. The last step adds no noise, because
    the posterior's variance at s = 0 is 0.
    """

    def step(key, denoise, state, t, s):
        posterior = q_posterior(schedule, state.x, denoise(state.x, t), t, s)
        eps = jax.random.normal(key, state.x.shape)
        return SolverState(posterior.mean + jnp.sqrt(posterior.variance) * eps)

    return Solver(SolverState, step, _prior(schedule))


def ddim(schedule: Schedule, eta: float = 0.0) -> Solver:
    """Returns denoising diffusion implicit sampling (Song et al. 2020b, Eq. 12).

    x_s = alpha_s x_0 + sigma_s (sqrt(1 - eta^2 + eta^2 r) eps + eta sqrt(1 - r) z)
    x_0 = denoise(x_t, t),  eps = (x_t - alpha_t x_0) / sigma_t,  r = SNR_t / SNR_s

    The paper's 1 - alpha_bar_s - var is a sum of non-negative terms here: its
    difference cancels at eta = 1 and can turn negative.

    Args:
        schedule: float32[T + 1] tables.
        eta: share of fresh noise, in [0, 1]; 0 is deterministic, 1 is `ddpm`.

    Raises:
        ValueError: eta is outside [0, 1].
    """
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"eta must be in [0, 1], got {eta}.")

    def step(key, denoise, state, t, s):
        x_0 = denoise(state.x, t)
        ratio = snr_ratio(schedule, t, s)
        kept = jnp.sqrt((1.0 - eta**2) + eta**2 * ratio)
        eps = kept * noise(schedule, state.x, x_0, t)
        if eta:
            fresh = jax.random.normal(key, state.x.shape)
            eps = eps + eta * jnp.sqrt(1.0 - ratio) * fresh
        return SolverState(schedule.alpha[s] * x_0 + schedule.sigma[s] * eps)

    return Solver(SolverState, step, _prior(schedule))


def sample(
    key: jax.Array,
    denoise: Denoiser,
    solver: Solver,
    times: jax.typing.ArrayLike,
    shape: tuple[int, ...],
    x_T: jax.Array | None = None,
) -> Sample:
    """Returns one sample: a solver scanned over a grid of steps.

    Args:
        key: random key; the same key gives the same sample.
        denoise: (x_t, t) -> x_0.
        solver: from `ddpm`, `ddim`, ...
        times: descending steps, int[n + 1], usually `timesteps(schedule, n)`. A traced
            grid of the same length does not recompile.
        shape: of one example.
        x_T: where to start, of that shape; by default drawn from the solver's prior.

    Raises:
        ValueError: times is not a strictly descending grid of steps >= 0.

    >>> import jax, jdiff
    >>> schedule = jdiff.linear_schedule(1000)
    >>> point = lambda x_t, t: jax.numpy.full(2, 0.5)   # data: a single point
    >>> times = jdiff.timesteps(schedule, 10)
    >>> solver = jdiff.ddpm(schedule)
    >>> jdiff.sample(jax.random.key(0), point, solver, times, (2,)).x_0.tolist()
    [0.5, 0.5]
    """
    _check_times(times)
    key_T, key_steps = jax.random.split(key)
    times = jnp.asarray(times)
    if x_T is None:
        x_T = solver.prior(key_T, shape, times[0])
    chex.assert_shape(x_T, shape)

    def step(state, inputs):
        key, t, s = inputs
        state = solver.step(key, denoise, state, t, s)
        return state, state.x

    keys = jax.random.split(key_steps, len(times) - 1)
    steps = (keys, times[:-1], times[1:])
    state, path = jax.lax.scan(step, solver.init(x_T), steps)
    return Sample(state.x, jnp.concatenate([x_T[None], path]))


def _prior(schedule: Schedule) -> Callable[..., jax.Array]:
    if not isinstance(schedule.alpha, jax.core.Tracer):
        # By NumPy: under jit, indexing even a concrete jax.Array gives a tracer.
        alpha_T, sigma_T = (float(np.asarray(table)[-1]) for table in schedule)
        if alpha_T > 0.1 * sigma_T:
            warnings.warn(
                f"the schedule keeps {alpha_T:.2f} of the signal at t = T, so samples, "
                "which start from pure noise, are off: use larger betas or more steps.",
                stacklevel=3,
            )
    return lambda key, shape, t: schedule.sigma[t] * jax.random.normal(key, shape)


def _check_determined(schedule: Schedule, prediction: Prediction) -> None:
    if isinstance(schedule.alpha, jax.core.Tracer):
        return
    with np.errstate(divide="ignore"):
        tables = jax.tree.map(np.asarray, schedule)
        factor = prediction.x_0(tables, np.float32(0), np.float32(1), -1)
    if not np.isfinite(factor):
        raise ValueError(
            "alpha must be > 0 at t = T for a network that predicts noise or score, "
            "which do not determine x_0 there, got 0: predict x_0, v or the flow."
        )


def _check_times(times: jax.typing.ArrayLike) -> None:
    if isinstance(times, jax.core.Tracer):
        return
    times = np.asarray(times)
    if times.ndim != 1 or times.size < 2 or not np.issubdtype(times.dtype, np.integer):
        raise ValueError(
            "times must be a vector of at least 2 int steps, "
            f"got {times.dtype}[{', '.join(map(str, times.shape))}]."
        )
    if times.min() < 0 or np.any(np.diff(times) >= 0):
        raise ValueError(f"times must descend strictly to >= 0, got {times.tolist()}.")
