"""Solvers: ways to go from step t to an earlier step s, each a pair of pure functions.

With D the denoiser's estimate of x_0 and eps = (x_t - alpha_t D) / sigma_t, both the
probability flow (Song et al. 2021, Eq. 13) and the reverse diffusions of the same
marginals are solved, for a D that is constant from t to s, by

    x_s = alpha_s D + sigma_s (sqrt(1 - eta^2 + eta^2 r) eps + eta sqrt(1 - r) z)  (9)

with r = SNR_t / SNR_s and z ~ N(0, I) (Song et al. 2020b, Eq. 12). That is `ddim`. The
others improve on a constant estimate: `dpmpp_2m` and `unipc` by the estimates of
earlier steps, `heun` by a second one at s. Nothing divides by alpha_T, which may be 0,
or by sigma_0 = 0. At s = 0 Eq. 9 is x_0 = D.

`with_churn` and `with_corrector` take a solver without memory and return one that adds
fresh noise before every step, so they compose. In the limit of small steps both keep
every marginal of the path, and they wash out earlier errors.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff.checks import check_step_back
from jdiff.diffusion import noise, q_posterior, snr_ratio
from jdiff.sampling import Solver, SolverState, start_from_noise
from jdiff.schedules import Schedule, log_snr


class MultistepState(NamedTuple):
    """The state of a solver that remembers its last step."""

    x: jax.Array  # the current sample
    x_0: jax.Array  # the estimate at the step before
    gap: jax.Array  # half the log-SNR gained in it, h in the papers; +inf at first


class UniPCState(NamedTuple):
    """`MultistepState`, and what the corrector needs once D at x is known.

    corrected x = base + weight (D - x_0)
    """

    x: jax.Array
    x_0: jax.Array
    gap: jax.Array
    base: jax.Array
    weight: jax.Array


def ddpm(schedule: Schedule) -> Solver:
    """Returns ancestral sampling (Ho et al. 2020, Algorithm 2, for any s < t).

    x_s ~ q(x_s | x_t, x_0 = denoise(x_t, t))

    The last step adds no noise, because the posterior's variance at s = 0 is 0.
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

    The paper's 1 - alpha_bar_s - var is written as a sum of non-negative terms, because
    its difference cancels at eta = 1 and can turn negative.

    With eta = 0 this is the Euler method, of order 1, of Karras et al. 2022 on a
    variance-exploding path and of flow matching (Lipman et al. 2022) on the flow, where
    x_s = x_t + (s - t) / T (eps - x_0).

    Args:
        schedule: float32[T + 1] tables.
        eta: fraction of fresh noise, in [0, 1]; 0 is deterministic, 1 is `ddpm`.

    Raises:
        ValueError: eta is outside [0, 1].
    """
    _check_eta(eta)

    def step(key, denoise, state, t, s):
        x_0 = denoise(state.x, t)
        return SolverState(_constant_step(key, schedule, state.x, x_0, t, s, eta))

    return start_from_noise(schedule, SolverState, step)


def heun(schedule: Schedule) -> Solver:
    """Returns Heun's method, of order 2, with two calls a step and one in the last.

    x' = alpha_s x_0 + sigma_s eps                                   (Euler)
    x_s = x' + ((alpha_s - alpha_t) (x_0' - x_0) + (sigma_s - sigma_t) (eps' - eps)) / 2

    with x_0', eps' at x', s. On a variance-exploding path this is Karras et al. 2022,
    Algorithm 1; on the flow, Heun's method in flow time. Where Algorithm 1 has the
    path's derivatives, these are differences of the tables.
    `with_churn(heun(schedule), schedule)` is Algorithm 2.
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

        # "if t_{i+1} != 0" in the paper: at s = 0 eps divides by 0.
        return SolverState(jax.lax.cond(s > 0, trapezoid, lambda x_s: x_s, euler))

    return start_from_noise(schedule, SolverState, step)


def dpmpp_2m(schedule: Schedule, eta: float = 0.0) -> Solver:
    """Returns DPM-Solver++(2M), of order 2, one call a step (Lu et al. 2022, Alg. 2).

    Eq. 9 with D = x_0 + h / (2 h') (x_0 - x_0'),  lambda_t = log(alpha_t / sigma_t),
    h = lambda_s - lambda_t, h' that of the step before and x_0' the estimate there

    eta = 1 is the paper's SDE-DPM-Solver++(2M); between 0 and 1 are the diffusions of
    `ddim`. A step of infinite length in lambda (the last one; the first on the flow)
    cannot be extrapolated and is of order 1, as in the authors' code.

    Args:
        schedule: float32[T + 1] tables.
        eta: fraction of fresh noise, in [0, 1]; 0 is deterministic.

    Raises:
        ValueError: eta is outside [0, 1].
    """
    _check_eta(eta)

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

    in the letters of `dpmpp_2m`; where q = 0, rho_2 = 1/2 as in the paper. The path
    holds predictions. The last one is not corrected, for want of an estimate at 0.
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
        # The term in x_0_s - x_0 is added at the next step, when x_0_s is known.
        base = _constant_step(key, schedule, x_t, x_0 + rho_1 * slope, t, s)
        return UniPCState(x_s, x_0, gap, base, schedule.alpha[s] * e * rho_2)

    return start_from_noise(schedule, init, step)


def with_churn(
    solver: Solver,
    schedule: Schedule,
    churn: float = 0.1,
    noise_range: tuple[float, float] = (0.05, 50.0),
    inflation: float = 1.0,
) -> Solver:
    """Returns a solver that adds noise before each step (Karras et al. 2022, Alg. 2).

    n_u = (1 + churn) n_t,  x_u ~ q(x_u | x_t),  x_s = step(x_u, u, s)

    with the noise level n = sigma / alpha; Algorithm 2 has the step of `heun`. Steps
    are ints, so u is the step of the nearest noise level, and the noise added is that
    of u.

    Args:
        solver: one without memory: `heun`, `ddim`, `with_corrector(...)`.
        schedule: float32[T + 1] tables.
        churn: gamma of the paper, min(S_churn / N, sqrt(2) - 1), in [0, sqrt(2) - 1].
        noise_range: S_tmin and S_tmax, the noise levels between which noise is added.
        inflation: S_noise, > 0; above 1 it compensates a denoiser that removes too
            much noise.

    Raises:
        ValueError: an argument is outside its range, the solver has a memory, or the
            schedule has no step within half the churn of the level wanted.
    """
    low, high = noise_range
    if not 0.0 <= churn <= math.sqrt(2.0) - 1.0:
        raise ValueError(f"churn must be in [0, sqrt(2) - 1], got {churn}.")
    if not 0.0 <= low < high:
        raise ValueError(f"noise_range must be 0 <= low < high, got {noise_range}.")
    if not 0.0 < inflation < math.inf:
        raise ValueError(f"inflation must be > 0, got {inflation}.")
    check_memory(solver)
    _check_churn(schedule, churn, low, high)

    def step(key, denoise, state, t, s):
        key_churn, key_step = jax.random.split(key)
        snr_root = schedule.alpha / schedule.sigma
        inside = (low * snr_root[t] <= 1.0) & (high * snr_root[t] >= 1.0)
        noisier = jnp.argmin(jnp.abs(snr_root - snr_root[t] / (1.0 + churn)))
        u = jnp.where(inside, noisier, t)
        # Outside the range u is t, and alpha_u / alpha_t is 1 even where alpha is 0.
        kept = jnp.where(inside, schedule.alpha[u] / schedule.alpha[t], 1.0)
        added = jnp.where(inside, 1.0 - snr_ratio(schedule, u, t), 0.0)
        z = jax.random.normal(key_churn, state.x.shape, state.x.dtype)
        x_u = kept * state.x + inflation * schedule.sigma[u] * jnp.sqrt(added) * z
        return solver.step(key_step, denoise, SolverState(x_u), u, s)

    return solver._replace(step=step)


def with_corrector(solver: Solver, schedule: Schedule, fraction: float = 0.3) -> Solver:
    """Returns a predictor-corrector: Langevin noise, then the solver's step.

    x_t <- alpha_t x_0 + sigma_t (sqrt(1 - f^2) eps + f z),  z ~ N(0, I)
    (Song et al. 2021, Algorithms 4 and 5, with f = 2 r for their signal-to-noise
    ratio r)

    It costs one more call of the denoiser a step. Applied twice, it corrects twice.

    Their explicit Euler step adds variance at each correction, and its length depends
    on the sample. The rotation here is the exact solution for a constant estimate.

    Args:
        solver: one without memory: `ddim`, `ddpm`, `heun`.
        schedule: float32[T + 1] tables.
        fraction: f, of fresh noise, in [0, 1]; 0 leaves the solver as it is.

    Raises:
        ValueError: fraction is outside [0, 1], or the solver has a memory.
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"fraction must be in [0, 1], got {fraction}.")
    check_memory(solver)

    def step(key, denoise, state, t, s):
        key_correct, key_step = jax.random.split(key)
        x_0 = denoise(state.x, t)
        z = jax.random.normal(key_correct, state.x.shape, state.x.dtype)
        kept = math.sqrt(1.0 - fraction**2)
        eps = kept * noise(schedule, state.x, x_0, t) + fraction * z
        x_t = schedule.alpha[t] * x_0 + schedule.sigma[t] * eps
        return solver.step(key_step, denoise, SolverState(x_t), t, s)

    return solver._replace(step=step)


def check_memory(solver: Solver) -> None:
    """Raises ValueError if the state of a solver is more than its sample."""
    if solver.init is not SolverState:
        raise ValueError(
            "solver must have no memory, because new noise makes what it remembers "
            "wrong: take ddim, ddpm or heun, got one with a state of its own."
        )


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
    check_step_back(schedule, t, s)
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


def _check_eta(eta: float) -> None:
    if not 0.0 <= eta <= 1.0:
        raise ValueError(f"eta must be in [0, 1], got {eta}.")


def _check_churn(schedule: Schedule, churn: float, low: float, high: float) -> None:
    if isinstance(schedule.alpha, jax.core.Tracer) or churn == 0.0:
        return
    alpha, sigma = (np.asarray(table, np.float64) for table in schedule)
    with np.errstate(divide="ignore"):
        noise_level = sigma / alpha
    is_inside = (low <= noise_level) & (noise_level <= high) & (noise_level > 0)
    inside = np.flatnonzero(is_inside)
    wanted = (1.0 + churn) * noise_level[inside]
    above = np.searchsorted(noise_level, wanted).clip(1, len(noise_level) - 1)
    nearest = noise_level[[above - 1, above]]
    miss = abs(nearest - wanted[None]).min(0)
    coarse = inside[miss > 0.5 * churn * noise_level[inside]]
    if coarse.size:
        t = int(coarse[-1])
        raise ValueError(
            f"churn must reach another step of the schedule, got {churn}: no step is "
            f"near {1 + churn:g} times the noise level {noise_level[t]:.3g} of "
            f"t = {t}. Take a schedule of more steps or a narrower noise_range."
        )
