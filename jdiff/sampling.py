"""From noise to data: denoisers, solvers, and the one loop.

A `Denoiser` maps a noisy example and its step to an estimate of x_0. A `Solver`
uses that estimate to go from step t to an earlier step s (`jdiff.solvers`). `sample`
scans a solver over a grid of steps (`jdiff.schedules`). All is written for ONE example;
`jax.vmap` over keys and labels makes a batch, in which example k depends on key k and
label k alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp

from jdiff.checks import check_schedule, check_times
from jdiff.diffusion import Prediction, check_determined
from jdiff.schedules import Schedule, log_snr

Denoiser = Callable[[jax.Array, jax.Array], jax.Array]


class SolverState(NamedTuple):
    """The state of a solver without memory: the current sample."""

    x: jax.Array


class Sample(NamedTuple):
    """A sample and its path.

    Attributes:
        x_0: the sample, float[*shape].
        path: x_t at each step, float[len(times), *shape]; under jit it costs nothing
            unless it is used.
    """

    x_0: jax.Array
    path: jax.Array


class Solver(NamedTuple):
    """A way from noise to data: a pair of pure functions, and where to start.

    Attributes:
        init: x_T -> state; state.x is the current sample.
        step: (key, denoise, state, t, s) -> state at the earlier step s.
        prior: (key, shape, t) -> x_t at the first step of the grid. The solvers of
            jdiff draw N(0, sigma_t^2 I), also on variance-exploding paths.
        last: T, the highest step of a grid; None if it is not known.
    """

    init: Callable[[jax.Array], Any]
    step: Callable[[jax.Array, Denoiser, Any, jax.Array, jax.Array], Any]
    prior: Callable[..., jax.Array] = lambda key, shape, t: jax.random.normal(
        key, shape
    )
    last: int | None = None


def start_from_noise(
    schedule: Schedule, init: Callable[..., Any], step: Callable[..., Any]
) -> Solver:
    """Returns the solver (init, step) with the prior N(0, sigma_t^2 I) of a schedule.

    Raises:
        ValueError: step 0 is not data, or the SNR rises with t.
    """
    check_schedule(schedule)

    def prior(key, shape, t):
        return schedule.sigma[t] * jax.random.normal(key, shape, schedule.sigma.dtype)

    return Solver(init, step, prior, len(schedule.alpha) - 1)


def make_denoiser(
    apply: Callable[..., jax.Array],
    params: Any,
    schedule: Schedule,
    prediction: Prediction,
    label: Any = None,
    clip: float | None = None,
) -> Denoiser:
    """Returns the denoiser (x_t, t) -> x_0 of a trained network.

    Args:
        apply: (params, x_t [1, ...], log_snr [1], label [1]) -> output [1, ...];
            without a label, (params, x_t, log_snr) -> output.
        params: the network's weights.
        schedule: float32[T + 1] tables.
        prediction: what the network predicts.
        label: class of the example, scalar int; the null label for no condition. Or a
            pytree of what the network takes, such as a `Condition`.
        clip: the estimate is clipped to [-clip, clip], for data that lie there, such as
            images in [-1, 1].

    Raises:
        ValueError: step 0 of the schedule is not data, its SNR rises with t, or the
            prediction does not determine x_0 at t = T, where alpha_T = 0.
    """
    check_schedule(schedule)
    check_determined(schedule, prediction)
    condition = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (label,))
    condition = condition if label is not None else ()

    def denoise(x_t, t):
        output = apply(params, x_t[None], log_snr(schedule, t)[None], *condition)[0]
        return prediction.x_0(schedule, x_t, output, t)

    return denoise if clip is None else clip_x_0(denoise, clip)


def clip_x_0(denoise: Denoiser, bound: float = 1.0) -> Denoiser:
    """Returns the denoiser clipped to [-bound, bound].

    Clip AFTER guidance, which amplifies the difference of two unclipped estimates.
    """
    return lambda x_t, t: jnp.clip(denoise(x_t, t), -bound, bound)


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
        solver: from `ddpm`, `ddim`, `dpmpp_2m`, ...
        times: descending steps, int[n + 1], from `timesteps`, `spaced_timesteps` or
            your own. Another traced grid of the same length does not recompile.
        shape: of one example.
        x_T: the start, of that shape; by default drawn from the solver's prior.

    Raises:
        ValueError: times is not a strictly descending grid of steps in [0, T].

    Examples:
        >>> import jax, jdiff
        >>> schedule = jdiff.linear_schedule(1000)
        >>> point = lambda x_t, t: jax.numpy.full(2, 0.5)   # data: a single point
        >>> times = jdiff.timesteps(schedule, 10)
        >>> solver = jdiff.ddpm(schedule)
        >>> jdiff.sample(jax.random.key(0), point, solver, times, (2,)).x_0.tolist()
        [0.5, 0.5]
    """
    check_times(times, solver.last)
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
