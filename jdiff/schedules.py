"""Noise schedules: how much signal and how much noise at each step.

    x_t = alpha_t x_0 + sigma_t eps,    t = 0 .. T,  eps ~ N(0, I)          (1)

Step 0 is data (alpha_0 = 1, sigma_0 = 0). Variance-preserving, flow and
variance-exploding paths are tables of one type. Tables are built in float64 and
stored in float32, because 1 - alpha^2 in float32 is off by 2e-4 at t = 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

MAX_STEPS = 100_000


class Schedule(NamedTuple):
    """The coefficients of Eq. 1.

    Attributes:
        alpha: signal level, float32[T + 1], alpha[0] = 1.
        sigma: noise level (a standard deviation), float32[T + 1], sigma[0] = 0.
    """

    alpha: jax.Array
    sigma: jax.Array


def from_betas(betas: np.ndarray) -> Schedule:
    """Returns the variance-preserving schedule of per-step noise variances.

    alpha_t^2 = prod_{i <= t} (1 - beta_i),  sigma_t^2 = 1 - alpha_t^2
    (Ho et al. 2020, Eq. 4; alpha_t is sqrt(alpha_bar_t) there).

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
    return _schedule(np.append(1.0, alpha), np.append(0.0, sigma))


def linear_schedule(
    num_steps: int, beta_1: float = 1e-4, beta_T: float = 0.02
) -> Schedule:
    """Returns the schedule with linearly growing variances (Ho et al. 2020, Sec. 4).

    beta_t = beta_1 + (beta_T - beta_1) (t - 1) / (T - 1)

    The default range is meant for T = 1000. With fewer steps it ends before the
    signal is gone: raise beta_T, or look at `log_snr(schedule, T)`.

    Args:
        num_steps: T, the number of noising steps, in [1, 100000].
        beta_1: variance of the first step, in (0, 1).
        beta_T: variance of the last step, in (0, 1).

    Raises:
        ValueError: an argument is outside its range.

    >>> linear_schedule(1000).alpha.shape
    (1001,)
    """
    return from_betas(beta_1 + (beta_T - beta_1) * _ramp(num_steps, beta_1, beta_T))


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
        num_steps: T, the number of noising steps, in [1, 100000].
        s: offset that keeps the first variances from vanishing, >= 0.
        beta_max: upper bound of the variances, in (0, 1).

    Raises:
        ValueError: an argument is outside its range.

    >>> schedule = cosine_schedule(1000)
    >>> float(schedule.alpha[0]), float(schedule.sigma[0])
    (1.0, 0.0)
    """
    _check_steps(num_steps)
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

    Args:
        num_steps: T, the number of noising steps, in [1, 100000].

    Raises:
        ValueError: num_steps is outside its range.
    """
    _check_steps(num_steps)
    sigma = np.arange(num_steps + 1, dtype=np.float64) / num_steps
    return _schedule(1 - sigma, sigma)


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
        num_steps: T, the number of noising steps, in [1, 100000].
        sigma_min: noise level at t = 1, > 0.
        sigma_max: noise level at t = T, > sigma_min.
        rho: curvature, > 0; 1 is uniform in sigma.

    Raises:
        ValueError: an argument is outside its range.
    """
    _check_steps(num_steps)
    if not 0 < sigma_min < sigma_max < np.inf:
        raise ValueError(
            "sigma_min and sigma_max must satisfy 0 < sigma_min < sigma_max, "
            f"got {sigma_min} and {sigma_max}."
        )
    if not 0 < rho < np.inf:
        raise ValueError(f"rho must be > 0, got {rho}.")
    roots = np.linspace(sigma_max ** (1 / rho), sigma_min ** (1 / rho), num_steps)
    sigma = np.append(0.0, roots[::-1] ** rho)
    return _schedule(np.ones(num_steps + 1), sigma)


def log_snr(schedule: Schedule, t: jax.typing.ArrayLike) -> jax.Array:
    """Returns the log signal-to-noise ratio at step t (Kingma et al. 2021, Eq. 3).

    lambda_t = 2 log(alpha_t / sigma_t);  +inf at t = 0, -inf where alpha_t = 0.

    Args:
        schedule: float32[T + 1] tables.
        t: int[...], in [0, T].
    """
    return 2.0 * (jnp.log(schedule.alpha[t]) - jnp.log(schedule.sigma[t]))


def _schedule(alpha: np.ndarray, sigma: np.ndarray) -> Schedule:
    return Schedule(jnp.asarray(alpha, jnp.float32), jnp.asarray(sigma, jnp.float32))


def _ramp(num_steps: int, beta_1: float, beta_T: float) -> np.ndarray:
    """Returns (t - 1) / (T - 1) for t = 1 .. T, once the arguments are known good."""
    _check_steps(num_steps)
    for name, beta in (("beta_1", beta_1), ("beta_T", beta_T)):
        if not 0 < beta < 1:
            raise ValueError(f"{name} must be in (0, 1), got {beta}.")
    return np.linspace(0.0, 1.0, num_steps)


def _check_steps(num_steps: int) -> None:
    if not 1 <= num_steps <= MAX_STEPS:
        raise ValueError(f"num_steps must be in [1, {MAX_STEPS}], got {num_steps}.")
