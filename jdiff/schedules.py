"""Noise schedules: signal and noise at each step; and grids of steps.

    x_t = alpha_t x_0 + sigma_t eps,    t = 0 .. T,  eps ~ N(0, I)          (1)

Step 0 is data (alpha_0 = 1, sigma_0 = 0). Variance-preserving, flow and
variance-exploding paths are tables of one type. Tables are built in float64 and
stored in float32, because 1 - alpha^2 in float32 is off by 2e-4 at t = 1.

A grid lists the steps at which a solver calls the denoiser: a vector of ints that
descends from the first step of sampling, usually T, to 0. Any such vector will do. The
grids here are made by NumPy, before tracing, so another grid of the same length does
not recompile the sampler.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff.checks import (
    MAX_STEPS,
    check_num_steps,
    check_schedule,
    check_step,
    warn_of_signal,
)


class Schedule(NamedTuple):
    """The coefficients of Eq. 1.

    Attributes:
        alpha: factor of the data, float32[T + 1], alpha[0] = 1.
        sigma: standard deviation of the noise, float32[T + 1], sigma[0] = 0.
    """

    alpha: jax.Array
    sigma: jax.Array


def from_sigmas(
    sigmas: jax.typing.ArrayLike, alphas: jax.typing.ArrayLike = 1.0
) -> Schedule:
    """Returns the schedule of given tables, by default variance-exploding (Eq. 1).

    Warns if x_T keeps more than a tenth of the signal, because sampling starts from
    noise alone.

    Args:
        sigmas: standard deviation of the noise at steps 1 .. T, float[T].
        alphas: factor of the data there, float[T]; by default 1.

    Raises:
        ValueError: the tables are not vectors of 1 to 100000 steps, not finite in
            float32, or their SNR rises with t.

    The log-linear noise levels of Permenter & Yuan 2023:

    Examples:
        >>> import numpy as np
        >>> schedule = from_sigmas(np.geomspace(0.02, 10.0, 200))
        >>> schedule.sigma[np.array([0, 1, 200])].round(2).tolist()
        [0.0, 0.019999999552965164, 10.0]
    """
    sigmas = np.asarray(sigmas, np.float64)
    alphas = np.broadcast_to(np.asarray(alphas, np.float64), sigmas.shape)
    if sigmas.ndim != 1 or not 1 <= sigmas.size <= MAX_STEPS:
        raise ValueError(
            f"sigmas must be a vector of 1 to {MAX_STEPS} steps, "
            f"got shape {sigmas.shape}."
        )
    tables = (np.append(1.0, alphas), np.append(0.0, sigmas))
    with np.errstate(over="ignore"):
        alpha, sigma = (table.astype(np.float32) for table in tables)
    if not (np.isfinite(alpha) & np.isfinite(sigma)).all() or min(*alpha, *sigma) < 0:
        raise ValueError("alphas and sigmas must be finite and >= 0 in float32.")
    check_schedule((alpha, sigma))
    warn_of_signal((alpha, sigma))
    return Schedule(jnp.asarray(alpha), jnp.asarray(sigma))


def from_log_snr(log_snrs: jax.typing.ArrayLike) -> Schedule:
    """Returns the variance-preserving schedule of log signal-to-noise ratios.

    alpha_t^2 = sigmoid(lambda_t),  sigma_t^2 = sigmoid(-lambda_t)
    (Kingma et al. 2021, Eq. 3-4)

    Args and Raises: as `from_sigmas`, for lambda at steps 1 .. T, which falls.
    """
    log_snrs = np.asarray(log_snrs, np.float64)
    alphas, sigmas = (np.exp(-0.5 * np.logaddexp(0, x)) for x in (-log_snrs, log_snrs))
    return from_sigmas(sigmas, alphas)


def from_betas(betas: np.ndarray) -> Schedule:
    """Returns the variance-preserving schedule of per-step noise variances.

    alpha_t^2 = prod_{i <= t} (1 - beta_i),  sigma_t^2 = 1 - alpha_t^2
    (Ho et al. 2020, Eq. 4, where alpha_t is sqrt(alpha_bar_t)).

    Warns as `from_sigmas`.

    Args:
        betas: variance added by steps 1 .. T, float[T], each in (0, 1).

    Raises:
        ValueError: betas is not a vector, leaves (0, 1), or destroys the signal
            beyond the range of float32.
    """
    betas = np.asarray(betas, np.float64)
    if betas.ndim != 1 or betas.size == 0:
        raise ValueError(f"betas must be a non-empty vector, got shape {betas.shape}.")
    if not np.all((betas > 0) & (betas < 1)):
        raise ValueError(
            f"betas must lie in (0, 1), got {betas.min()} .. {betas.max()}."
        )
    log_alpha_bar = np.cumsum(np.log1p(-betas))
    alpha = np.exp(0.5 * log_alpha_bar)
    if alpha[-1] < np.finfo(np.float32).tiny:
        raise ValueError(
            "betas must leave a signal that float32 can hold (1e-38), "
            f"got alpha_T = {alpha[-1]:.1e}: take fewer steps or smaller betas."
        )
    sigma = np.sqrt(-np.expm1(log_alpha_bar))
    return from_sigmas(sigma, alpha)


def linear_schedule(
    num_steps: int, beta_1: float = 1e-4, beta_T: float = 0.02
) -> Schedule:
    """Returns the schedule of linearly growing variances (Ho et al. 2020, Sec. 4).

    beta_t = beta_1 + (beta_T - beta_1) (t - 1) / (T - 1)

    The default range is meant for T = 1000. With fewer steps signal remains at t = T:
    raise beta_T until no warning says so.

    Args:
        num_steps: T, the number of noising steps, in [1, 100000].
        beta_1: variance of the first step, in (0, 1).
        beta_T: variance of the last step, in (0, 1).

    Raises:
        ValueError: an argument is outside its range.

    Examples:
        >>> linear_schedule(1000).alpha.shape
        (1001,)
    """
    u = _ramp(num_steps, beta_1, beta_T)
    return from_betas(beta_1 + (beta_T - beta_1) * u)


def quadratic_schedule(
    num_steps: int, beta_1: float = 1e-4, beta_T: float = 0.02
) -> Schedule:
    """Returns the schedule whose sqrt(beta) grows linearly (Song et al. 2020a).

    beta_t = (sqrt(beta_1) + (sqrt(beta_T) - sqrt(beta_1)) (t - 1) / (T - 1))^2

    Args and Raises: as `linear_schedule`.
    """
    u = _ramp(num_steps, beta_1, beta_T)
    root_1, root_T = np.sqrt([beta_1, beta_T])
    return from_betas((root_1 + (root_T - root_1) * u) ** 2)


def sigmoid_schedule(
    num_steps: int, beta_1: float = 1e-4, beta_T: float = 0.02
) -> Schedule:
    """Returns the schedule whose variances follow a sigmoid (Xu et al. 2022).

    beta_t = beta_1 + (beta_T - beta_1) sigmoid(u_t),  u_t linear from -6 to 6

    Args and Raises: as `linear_schedule`.
    """
    u = _ramp(num_steps, beta_1, beta_T)
    return from_betas(beta_1 + (beta_T - beta_1) / (1 + np.exp(6 - 12 * u)))


def cosine_schedule(
    num_steps: int, s: float = 0.008, beta_max: float = 0.999
) -> Schedule:
    """Returns the cosine schedule (Nichol & Dhariwal 2021, Eq. 17).

    alpha_bar(t) = f(t) / f(0),  f(t) = cos^2((t / T + s) / (1 + s) pi / 2)
    beta_t = min(1 - alpha_bar(t) / alpha_bar(t - 1), beta_max)

    Args:
        num_steps: as in `linear_schedule`.
        s: offset that keeps the first variances from vanishing, >= 0.
        beta_max: upper bound of the variances, in (0, 1).

    Raises:
        ValueError: an argument is outside its range.

    Examples:
        >>> schedule = cosine_schedule(1000)
        >>> float(schedule.alpha[0]), float(schedule.sigma[0])
        (1.0, 0.0)
    """
    check_num_steps(num_steps)
    if not s >= 0:
        raise ValueError(f"s must be >= 0, got {s}.")
    if not 0 < beta_max < 1:
        raise ValueError(f"beta_max must be in (0, 1), got {beta_max}.")
    u = np.arange(num_steps + 1, dtype=np.float64) / num_steps
    alpha_bar = np.cos((u + s) / (1 + s) * np.pi / 2) ** 2
    return from_betas(np.minimum(1 - alpha_bar[1:] / alpha_bar[:-1], beta_max))


def flow_schedule(num_steps: int) -> Schedule:
    """Returns the straight path (Liu et al. 2022; Lipman et al. 2022).

    alpha_t = 1 - t / T,  sigma_t = t / T

    Here alpha_T = 0: predict x_0, v or the flow. The noise and the score do not
    determine x_0 at t = T.

    Args and Raises: num_steps as in `linear_schedule`.
    """
    check_num_steps(num_steps)
    sigma = np.arange(1, num_steps + 1, dtype=np.float64) / num_steps
    return from_sigmas(sigma, 1 - sigma)


def karras_schedule(
    num_steps: int,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
    rho: float = 7.0,
) -> Schedule:
    """Returns the variance-exploding schedule of Karras et al. 2022, Eq. 5.

    alpha_t = 1,  sigma_t^(1/rho) linear in t from sigma_min^(1/rho) at t = 1 to
    sigma_max^(1/rho) at t = T; sigma_0 = 0. (The paper counts steps downwards.)

    Args:
        num_steps: as in `linear_schedule`.
        sigma_min: sigma_1, at least 1.2e-38, the smallest normal float32.
        sigma_max: sigma_T, in (sigma_min, 3.4e38].
        rho: curvature, in [0.1, 1000]; 1 is uniform in sigma.

    Raises:
        ValueError: an argument is outside its range.
    """
    check_num_steps(num_steps)
    float32 = np.finfo(np.float32)
    if not float(float32.tiny) <= sigma_min < sigma_max <= float(float32.max):
        raise ValueError(
            "sigma_min and sigma_max must satisfy 0 < sigma_min < sigma_max in "
            f"float32, got {sigma_min} and {sigma_max}."
        )
    if not 0.1 <= rho <= 1000:
        raise ValueError(f"rho must be in [0.1, 1000], got {rho}.")
    roots = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), num_steps)
    return from_sigmas(roots[::-1] ** rho)


def log_snr(schedule: Schedule, t: jax.typing.ArrayLike) -> jax.Array:
    """Returns the log signal-to-noise ratio at step t (Kingma et al. 2021, Eq. 3).

    lambda_t = 2 log(alpha_t / sigma_t);  +inf at t = 0, -inf where alpha_t = 0.

    Args:
        schedule: float32[T + 1] tables.
        t: int[...], in [0, T].

    Raises:
        ValueError: a concrete t is outside its range.
    """
    check_step(schedule, t)
    return 2.0 * (jnp.log(schedule.alpha[t]) - jnp.log(schedule.sigma[t]))


def timesteps(schedule: Schedule, num_steps: int) -> np.ndarray:
    """Returns a grid of steps, uniform in t, from T down to 0: int32[num_steps + 1].

    Args:
        schedule: float32[T + 1] tables.
        num_steps: number of solver steps, in [1, T]; T visits every step.

    Raises:
        ValueError: num_steps is outside [1, T].

    Examples:
        >>> timesteps(linear_schedule(1000), 4).tolist()
        [1000, 750, 500, 250, 0]
    """
    last = len(schedule.alpha) - 1
    check_num_steps(num_steps, last)
    return np.round(np.linspace(last, 0, num_steps + 1)).astype(np.int32)


def spaced_timesteps(
    schedule: Schedule,
    num_steps: int,
    spacing: Callable[[Schedule, np.ndarray], jax.typing.ArrayLike] = log_snr,
    sigma_min: float = 0.002,
    sigma_max: float = 80.0,
) -> np.ndarray:
    """Returns a grid of steps, uniform in f = spacing(t), from T down, then 0.

    f(times[i]) = f(a) + i / (num_steps - 1) (f(b) - f(a)),  i = 0 .. num_steps - 1

    a and b are the last and the first step whose noise level sigma_t / alpha_t is in
    [sigma_min, sigma_max]. Steps are rounded and kept distinct. times[0] is T, because
    x_T and x_a are both noise, and the log-SNR at T may be infinite.

    Args:
        schedule: float32[T + 1] tables.
        num_steps: number of solver steps, in [1, T - b + 1].
        spacing: (schedule, t) -> f, strictly monotone in t: `log_snr` (Lu et al. 2022)
            or `karras_spacing` (Karras et al. 2022).
        sigma_min: noise level of the last step before 0, >= 0.
        sigma_max: noise level that f(a) stands for, > sigma_min.

    Raises:
        ValueError: a number is outside its range, or spacing is not monotone.

    Examples:
        >>> spaced_timesteps(flow_schedule(1000), 5).tolist()
        [1000, 845, 281, 27, 2, 0]
    """
    last = len(schedule.alpha) - 1
    t = np.arange(1, last + 1)
    # Under jit, indexing even a concrete table gives a tracer.
    with jax.ensure_compile_time_eval():
        values = np.asarray(spacing(schedule, t), np.float64)
    alpha, sigma = (np.asarray(table, np.float64)[1:] for table in schedule)
    inside = (sigma_min * alpha <= sigma) & (sigma <= sigma_max * alpha)
    if not inside.any():
        raise ValueError(
            "sigma_min and sigma_max must have steps of the schedule between them, "
            f"got {sigma_min} and {sigma_max}."
        )
    t, values = t[inside], values[inside]
    check_num_steps(num_steps, last - int(t[0]) + 1)
    gaps = np.diff(values)
    if not np.isfinite(values).all() or not (np.all(gaps > 0) or np.all(gaps < 0)):
        raise ValueError("spacing must be finite and strictly monotone in t.")
    targets = np.linspace(values[-1], values[0], num_steps)
    rising = 1.0 if values[-1] > values[0] else -1.0
    nearest = np.round(np.interp(rising * targets, rising * values, t))
    return _grid(nearest, last)


def karras_spacing(
    schedule: Schedule, t: jax.typing.ArrayLike, rho: float = 7.0
) -> jax.Array:
    """Returns (sigma_t / alpha_t)^(1/rho), a spacing (Karras et al. 2022, Eq. 5).

    `functools.partial(karras_spacing, rho=...)` sets the curvature; rho = 1 is uniform
    in the noise level sigma / alpha.
    """
    return (schedule.sigma[t] / schedule.alpha[t]) ** (1.0 / rho)


def karras_timesteps(
    schedule: Schedule, num_steps: int, rho: float = 2.0, sigma_max: float = 12.0
) -> np.ndarray:
    """Returns a grid for few solver steps, from T down to 0: int32[num_steps + 1].

    sigma_t / alpha_t = sigma_max (1 - i / num_steps)^rho,  i = 0 .. num_steps
    (Karras et al. 2022, Eq. 5, with sigma_min = 0, so that data is the last term)

    times[0] is T, as there. The paper's sigma_max = 80 and rho = 7 are for 18 steps and
    more. The defaults here are those with which ten steps come nearest to the exact
    flow, measured on letters in the features of `jdiff.evaluation`.

    Args:
        schedule: float32[T + 1] tables.
        num_steps: number of solver steps, in [1, T].
        rho: curvature, in [1, 1000]; 1 is uniform in the noise level.
        sigma_max: noise level that i = 0 stands for, > 0.

    Raises:
        ValueError: a number is outside its range.

    Examples:
        >>> karras_timesteps(cosine_schedule(1000), 5).tolist()
        [1000, 917, 854, 692, 279, 0]
    """
    last = len(schedule.alpha) - 1
    check_num_steps(num_steps, last)
    if not 1 <= rho <= 1000 or not 0 < sigma_max < np.inf:
        raise ValueError(
            "rho must be in [1, 1000] and sigma_max finite and > 0, "
            f"got {rho} and {sigma_max}."
        )
    alpha, sigma = (np.asarray(table, np.float64)[1:] for table in schedule)
    # Where alpha_T = 0 the noise level is infinite; times[0] is T in any case.
    values = (sigma / np.maximum(alpha, 1e-9)) ** (1.0 / rho)
    targets = sigma_max ** (1.0 / rho) * (1.0 - np.arange(num_steps) / num_steps)
    nearest = np.interp(targets, values, np.arange(1, last + 1))
    return _grid(np.round(nearest), last)


def _ramp(num_steps: int, beta_1: float, beta_T: float) -> np.ndarray:
    """Returns (t - 1) / (T - 1) for t = 1 .. T, after checking the arguments."""
    check_num_steps(num_steps)
    for name, beta in (("beta_1", beta_1), ("beta_T", beta_T)):
        if not 0 < beta < 1:
            raise ValueError(f"{name} must be in (0, 1), got {beta}.")
    return np.linspace(0.0, 1.0, num_steps)


def _grid(nearest: np.ndarray, last: int) -> np.ndarray:
    """Returns distinct steps near to those given, from T down, then 0."""
    num_steps = len(nearest)
    nearest[0] = last
    # From the smallest upwards, each step exceeds the one before ...
    rank = np.arange(num_steps)
    steps = np.maximum.accumulate(nearest[::-1] - rank) + rank
    # ... and leaves room for the steps above it.
    steps = np.minimum(steps, last - num_steps + 1 + rank)
    return np.append(steps[::-1], 0).astype(np.int32)
