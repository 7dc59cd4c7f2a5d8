"""Solvers: ways to go from step t to an earlier step s, each a pair of pure functions.

With D the denoiser's estimate of x_0 and eps = (x_t - alpha_t D) / sigma_t, both the
probability flow (Song et al. 2021, Eq. 13) and the reverse diffusions of the same
marginals are solved, for a D that is constant from t to s, by

    x_s = alpha_s D + sigma_s (sqrt(1 - eta^2 + eta^2 r) eps + eta sqrt(1 - r) z)  (9)

with r = SNR_t / SNR_s and z ~ N(0, I) (Song et al. 2020b, Eq. 12). That is `ddim`; the
others better the constant: `dpmpp_2m` and `unipc` by the estimates of earlier steps,
`heun` by a second one at s. Nothing divides by alpha_T, which may be 0, or by
sigma_0, which is. At s = 0 Eq. 9 is x_0 = D.

`churned` and `corrected` (`jdiff.renoising`) make a stochastic solver of another one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from jdiff.diffusion import noise, q_posterior, snr_ratio
from jdiff.sampling import Solver, SolverState, start_from_noise
from jdiff.schedules import Schedule, log_snr


class MultistepState(NamedTuple):
    """The state of a solver that remembers its last step.

    Attributes:
        x: the current sample.
        x_0: the estimate at the step before.
        gap: half the log-SNR that the last step gained, h in the papers; +inf at first.
    """

    x: jax.Array
    x_0: jax.Array
    gap: jax.Array


class UniPCState(NamedTuple):
    """`MultistepState`, and x as the corrector will have it once D at x is known.

    corrected x = base + weight (D - x_0)
    """

    x: jax.Array
    x_0: jax.Array
    gap: jax.Array
    base: jax.Array
    weight: jax.Array


def ddpm(schedule: Schedule) -> Solver:
    """Returns ancestral sampling: x_s ~ q(x_s | x_t, x_0 = denoise(x_t, t)).

    Ho et al. 2020, Algorithm 2, for any s < t. The last step adds no noise, because
    the posterior's variance at s = 0 is 0.
    """

    def step(key, denoise, state, t, s):
        posterior = q_posterior(schedule, state.x, denoise(state.x, t), t, s)
        eps = jax.random.normal(key, state.x.shape, state.x.dtype)
        return SolverState(posterior.mean + jnp.sqrt(posterior.variance) * eps)

    return start_from_noise(schedule, SolverState, step)


def ddim(schedule: Schedule, eta: float = 0.0) -> Solver:
    """Returns denoising diffusion implicit sampling (Song et al. 2020b, Eq. 12).

    x_s = alpha_s x_0 + sigma_s (sqrt(1 - eta^2 + eta^2 r) eps + eta sqrt(1 - r) z)
    x_0 = denoise(x_t, t),  eps = (x_t - alpha_t x_0) / sigma_t,  r = SNR_t / SNR_s

    The paper's 1 - alpha_bar_s - var is a sum of non-negative terms here: its
    difference cancels at eta = 1 and can turn negative.

    With eta = 0 this is the Euler method of other papers, too: of Karras et al. 2022
    on a variance-exploding path and of flow matching (Lipman et al. 2022) on the flow,
    where x_s = x_t + (s - t) / T (eps - x_0). It is of order 1.

    Args:
        schedule: float32[T + 1] tables.
        eta: share of fresh noise, in [0, 1]; 0 is deterministic, 1 is `ddpm`.

    Raises:
        ValueError: eta is outside [0, 1].
    """
    _check_share("eta", eta)

    def step(key, denoise, state, t, s):
        x_0 = denoise(state.x, t)
        return SolverState(_constant_step(key, schedule, state.x, x_0, t, s, eta))

    return start_from_noise(schedule, SolverState, step)


def heun(schedule: Schedule) -> Solver:
    """Returns Heun's method, of order 2: two calls a step, one in the last.

    x' = alpha_s x_0 + sigma_s eps                                   (Euler)
    x_s = x' + ((alpha_s - alpha_t) (x_0' - x_0) + (sigma_s - sigma_t) (eps' - eps)) / 2

    with x_0', eps' at x', s. On a variance-exploding path this is Karras et al. 2022,
    Algorithm 1; on the flow, Heun's method in flow time. Algorithm 1 leaves the
    path's derivatives open; they are the differences of the tables here.
    `churned(heun(schedule), schedule)` is Algorithm 2.
    """

    def step(key, denoise, state, t, s):
        x_0 = denoise(state.x, t)
        eps = noise(schedule, state.x, x_0, t)
        euler = schedule.alpha[s] * x_0 + schedule.sigma[s] * eps

        def trapezoid(x_s):
            x_0_s = denoise(x_s, s)
            eps_s = noise(schedule, x_s, x_0_s, s)
            signal = (schedule.alpha[s] - schedule.alpha[t]) * (x_0_s - x_0)
            return x_s + 0.5 * (
                signal + (schedule.sigma[s] - schedule.sigma[t]) * (eps_s - eps)
            )

        # "if t_{i+1} != 0" in the paper: data has no noise level to call D at.
        return SolverState(jax.lax.cond(s > 0, trapezoid, lambda x_s: x_s, euler))

    return start_from_noise(schedule, SolverState, step)


def dpmpp_2m(schedule: Schedule, eta: float = 0.0) -> Solver:
    """Returns DPM-Solver++(2M), of order 2 by one call a step (Lu et al. 2022, Alg. 2).

    Eq. 9 with D = x_0 + h / (2 h') (x_0 - x_0'),  lambda_t = log(alpha_t / sigma_t),
    h = lambda_s - lambda_t, h' that of the step before and x_0' the estimate there

    eta = 1 is the paper's SDE-DPM-Solver++(2M); between 0 and 1 lie the diffusions
    of `ddim`. A step of infinite length in lambda (the last one; the first on the
    flow) is of order 1, as the authors' code has it: no line can be drawn that far.

    Args:
        schedule: float32[T + 1] tables.
        eta: share of fresh noise, in [0, 1]; 0 is deterministic.

    Raises:
        ValueError: eta is outside [0, 1].
    """
    _check_share("eta", eta)

    def init(x_T):
        gap = jnp.full((), jnp.inf, schedule.alpha.dtype)
        return MultistepState(x_T, jnp.zeros_like(x_T), gap)

    def step(key, denoise, state, t, s):
        x_0, gap = denoise(state.x, t), _gap(schedule, t, s)
        ahead = x_0 + 0.5 * _ratio(gap, state.gap) * (x_0 - state.x_0)
        x_s = _constant_step(key, schedule, state.x, ahead, t, s, eta)
        return MultistepState(x_s, x_0, gap)

    return start_from_noise(schedule, init, step)


def unipc(schedule: Schedule) -> Solver:
    """Returns UniPC-2 with B_2(h), one call a step (Zhao et al. 2023, Alg. 5 and 6).

    The predictor is `dpmpp_2m`. Its estimate at s, which the next step needs anyway,
    then corrects x_s before the next prediction:

    x_s = sigma_s / sigma_t x_t + alpha_s e (x_0 + rho_1 q (x_0 - x_0')
                                             + rho_2 (x_0_s - x_0))
    e = 1 - exp(-h),  q = h / h',  b_1 = 1 / e - 1 / h,  b_2 = 1 / e - 2 b_1 / h
    rho_1 = (b_1 - b_2) q / (1 + q),  rho_2 = b_1 - rho_1

    in the letters of `dpmpp_2m`; where q = 0, rho_2 = 1/2 as in the paper. The
    path shows predictions; there is no estimate at 0 to correct the last one by.
    """

    def init(x_T):
        zero = jnp.zeros((), schedule.alpha.dtype)
        return UniPCState(x_T, jnp.zeros_like(x_T), zero + jnp.inf, x_T, zero)

    def step(key, denoise, state, t, s):
        x_0, gap = denoise(state.x, t), _gap(schedule, t, s)
        x_t = state.base + state.weight * (x_0 - state.x_0)
        ratio = _ratio(gap, state.gap)
        slope = ratio * (x_0 - state.x_0)
        x_s = _constant_step(key, schedule, x_t, x_0 + 0.5 * slope, t, s)
        rho_1, rho_2 = _unic_weights(gap, ratio)
        e = -jnp.expm1(-gap)
        # Of the gain alpha_s e, all that multiplies x_0_s - x_0 waits for x_0_s.
        base = _constant_step(key, schedule, x_t, x_0 + rho_1 * slope, t, s)
        return UniPCState(x_s, x_0, gap, base, schedule.alpha[s] * e * rho_2)

    return start_from_noise(schedule, init, step)


def _constant_step(
    key: jax.Array,
    schedule: Schedule,
    x_t: jax.Array,
    x_0: jax.Array,
    t: jax.Array,
    s: jax.Array,
    eta: float = 0.0,
) -> jax.Array:
    """Returns x_s by Eq. 9, for an estimate of x_0 that is constant from t to s."""
    ratio = snr_ratio(schedule, t, s)
    kept = jnp.sqrt((1.0 - eta**2) + eta**2 * ratio)
    eps = kept * noise(schedule, x_t, x_0, t)
    if eta:
        fresh = jax.random.normal(key, x_t.shape, x_t.dtype)
        eps = eps + eta * jnp.sqrt(1.0 - ratio) * fresh
    return schedule.alpha[s] * x_0 + schedule.sigma[s] * eps


def _unic_weights(gap: jax.Array, ratio: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Returns rho_1 and rho_2 of `unipc`: R rho = b (Zhao et al. 2023, Eq. 8)."""
    e = -jnp.expm1(-gap)
    b_1 = 1.0 / e - 1.0 / gap
    b_2 = 1.0 / e - 2.0 * b_1 / gap
    rho_1 = (b_1 - b_2) * ratio / (1.0 + ratio)
    return rho_1, jnp.where(ratio > 0, b_1 - rho_1, 0.5)


def _gap(schedule: Schedule, t: jax.Array, s: jax.Array) -> jax.Array:
    """Returns lambda_s - lambda_t = h > 0, +inf at s = 0 and where alpha_t = 0."""
    return 0.5 * (log_snr(schedule, s) - log_snr(schedule, t))


def _ratio(gap: jax.Array, previous: jax.Array) -> jax.Array:
    """Returns h / h', or 0, which is order 1, for a step that is infinitely long."""
    return jnp.where(jnp.isfinite(gap), gap / previous, 0.0)


def _check_share(name: str, share: float) -> None:
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"{name} must be in [0, 1], got {share}.")
