"""Stochastic solvers that put new noise on before every step.

`churned` and `corrected` take a solver without memory and give one, so they compose.
Both leave every marginal of the path as it is, in the limit of small steps, and forget
errors made earlier on the way. `consistency` forgets all but the estimate of x_0: it is
for networks that are distilled to see the end of the path from anywhere on it.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jdiff.diffusion import noise, q_sample, snr_ratio
from jdiff.sampling import Solver, SolverState, start_from_noise
from jdiff.schedules import Schedule


def churned(
    solver: Solver,
    schedule: Schedule,
    churn: float = 0.1,
    noise_range: tuple[float, float] = (0.05, 50.0),
    inflation: float = 1.0,
) -> Solver:
    """Returns a solver that takes each step from a louder level (Karras et al. 2022).

    n_u = (1 + churn) n_t,  x_u ~ q(x_u | x_t),  x_s = step(x_u, u, s)

    where n = sigma / alpha: Algorithm 2, if the solver is `heun`. Steps are ints, so u
    is the step whose level is nearest; noise is added up to exactly that level.

    Args:
        solver: one without memory: `heun`, `ddim`, `corrected(...)`.
        schedule: float32[T + 1] tables.
        churn: gamma of the paper, min(S_churn / N, sqrt(2) - 1), in [0, sqrt(2) - 1].
        noise_range: S_tmin and S_tmax, the levels n between which noise is added.
        inflation: S_noise, > 0, which makes up for a denoiser that removes too much.

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
    _check_levels(schedule, churn, low, high)

    def step(key, denoise, state, t, s):
        key_churn, key_step = jax.random.split(key)
        snr_root = schedule.alpha / schedule.sigma
        inside = (low * snr_root[t] <= 1.0) & (high * snr_root[t] >= 1.0)
        louder = jnp.argmin(jnp.abs(snr_root - snr_root[t] / (1.0 + churn)))
        u = jnp.where(inside, louder, t)
        # Outside the range u is t, and alpha_u / alpha_t is 1 even where alpha is 0.
        kept = jnp.where(inside, schedule.alpha[u] / schedule.alpha[t], 1.0)
        added = jnp.where(inside, 1.0 - snr_ratio(schedule, u, t), 0.0)
        z = jax.random.normal(key_churn, state.x.shape, state.x.dtype)
        x_u = kept * state.x + inflation * schedule.sigma[u] * jnp.sqrt(added) * z
        return solver.step(key_step, denoise, SolverState(x_u), u, s)

    return solver._replace(step=step)


def corrected(solver: Solver, schedule: Schedule, share: float = 0.3) -> Solver:
    """Returns a predictor-corrector: Langevin noise, then the solver's step.

    x_t <- alpha_t x_0 + sigma_t (sqrt(1 - share^2) eps + share z)

    (Song et al. 2021, Algorithms 4 and 5; share = 2 r for their signal-to-noise ratio
    r.) It costs one more call of the denoiser a step; `corrected(corrected(...))`
    corrects twice.

    Their explicit Euler step adds variance at each correction, and its length depends
    on the sample; the rotation here is the exact solution for a constant estimate.

    Args:
        solver: one without memory: `ddim`, `ddpm`, `heun`.
        schedule: float32[T + 1] tables.
        share: of fresh noise, in [0, 1]; 0 leaves the solver as it is.

    Raises:
        ValueError: share is outside [0, 1], or the solver has a memory.
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"share must be in [0, 1], got {share}.")
    check_memory(solver)

    def step(key, denoise, state, t, s):
        key_correct, key_step = jax.random.split(key)
        x_0 = denoise(state.x, t)
        z = jax.random.normal(key_correct, state.x.shape, state.x.dtype)
        kept = math.sqrt(1.0 - share**2)
        eps = kept * noise(schedule, state.x, x_0, t) + share * z
        x_t = schedule.alpha[t] * x_0 + schedule.sigma[t] * eps
        return solver.step(key_step, denoise, SolverState(x_t), t, s)

    return solver._replace(step=step)


def consistency(schedule: Schedule) -> Solver:
    """Returns multistep consistency sampling (Song et al. 2023, Algorithm 1).

    x_s = alpha_s f(x_t, t) + sigma_s z,  z ~ N(0, I)

    for a consistency function f, which maps every x_t to the end x_0 of its path, as a
    network does that `make_consistency_loss` has distilled. One step is x_0 itself;
    each further one noises it anew and lets f mend it. With the mean of x_0 given x_t
    for f, as other networks have it, the samples are too smooth.
    """

    def step(key, denoise, state, t, s):
        z = jax.random.normal(key, state.x.shape, state.x.dtype)
        return SolverState(q_sample(schedule, denoise(state.x, t), s, z))

    return start_from_noise(schedule, SolverState, step)


def check_memory(solver: Solver) -> None:
    """Raises a ValueError if the state of a solver is more than its sample."""
    if solver.init is not SolverState:
        raise ValueError(
            "solver must have no memory, for what it remembers is not true of a sample "
            "with new noise: take ddim, ddpm or heun, got one with a state of its own."
        )


def _check_levels(schedule: Schedule, churn: float, low: float, high: float) -> None:
    if isinstance(schedule.alpha, jax.core.Tracer) or churn == 0.0:
        return
    alpha, sigma = (np.asarray(table, np.float64) for table in schedule)
    with np.errstate(divide="ignore"):
        level = sigma / alpha
    inside = np.flatnonzero((low <= level) & (level <= high) & (level > 0))
    wanted = (1.0 + churn) * level[inside]
    above = np.searchsorted(level, wanted).clip(1, len(level) - 1)
    miss = np.minimum(abs(level[above] - wanted), abs(level[above - 1] - wanted))
    coarse = inside[miss > 0.5 * churn * level[inside]]
    if coarse.size:
        t = int(coarse[-1])
        raise ValueError(
            f"churn must be one that the schedule's steps can honour, got {churn}: no "
            f"step is near {1 + churn:g} times the noise level {level[t]:.3g} of "
            f"t = {t}. Take a schedule of more steps or a narrower noise_range."
        )
