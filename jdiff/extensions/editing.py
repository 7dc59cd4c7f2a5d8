"""New images from given ones, with denoisers, solvers and `sample`.

`invert` finds the noise from which the flow leads to an image; `slerp` interpolates
between two noises. `sdedit` adds noise to an image and samples from there. `repaint`
makes a solver that keeps known pixels. All is for ONE example of any shape; `jax.vmap`
makes batches.
"""

import chex
import jax
import jax.numpy as jnp

from jdiff.checks import check_times
from jdiff.diffusion import q_sample, snr_ratio
from jdiff.likelihood import check_grid, flow_upwards
from jdiff.sampling import Denoiser, Sample, Solver, SolverState, sample
from jdiff.schedules import Schedule
from jdiff.solvers import check_memory


def invert(
    denoise: Denoiser,
    schedule: Schedule,
    x_0: jax.Array,
    times: jax.typing.ArrayLike,
) -> jax.Array:
    """Returns x_T, from which the probability flow leads back to x_0.

    "DDIM inversion" (Song et al. 2020b, Sec. 4.3), by Heun's method, of order 2.

    Args:
        denoise: (x_t, t) -> x_0, not clipped, so that it can be inverted.
        schedule: float32[T + 1] tables.
        x_0: one example.
        times: descending steps, int[n + 1], to 0, n at least 2; taken upwards.

    Raises:
        ValueError: times is not such a grid.
    """
    check_grid(schedule, times, 2)

    def no_trace(key, function, x):
        return function(x), jnp.zeros(())

    upwards = jnp.asarray(times)[::-1]
    x_T, _ = flow_upwards(None, denoise, schedule, x_0, upwards, no_trace)
    return x_T


def slerp(x: jax.Array, y: jax.Array, u: jax.typing.ArrayLike) -> jax.Array:
    """Returns the spherical interpolation from x to y (Shoemake 1985).

    sin((1 - u) w) / sin w x + sin(u w) / sin w y,  w the angle between x and y

    Points of the straight line between two noises are too short to be noise; those of
    this arc are not.

    Args:
        x: float[*S], not parallel to y.
        y: float[*S].
        u: fraction of the angle, scalar; 0 gives x, 1 gives y.
    """
    chex.assert_equal_shape([x, y])
    cosine = jnp.vdot(x, y) / (jnp.linalg.norm(x.ravel()) * jnp.linalg.norm(y.ravel()))
    angle = jnp.arccos(cosine)
    return (jnp.sin((1.0 - u) * angle) * x + jnp.sin(u * angle) * y) / jnp.sin(angle)


def sdedit(
    key: jax.Array,
    denoise: Denoiser,
    solver: Solver,
    schedule: Schedule,
    x_0: jax.Array,
    times: jax.typing.ArrayLike,
) -> Sample:
    """Returns a variation of x_0: noised to times[0], then sampled (Meng et al. 2021).

    SDEdit. The higher times[0], the less of x_0 remains; at T nearly nothing.

    Args:
        key: random key.
        denoise: (x_t, t) -> x_0.
        solver: from `ddim`, `unipc`, ...
        schedule: float32[T + 1] tables.
        x_0: one example.
        times: descending steps, int[n + 1].

    Raises:
        ValueError: times is not a grid.
    """
    check_times(times, len(schedule.alpha) - 1)
    key_eps, key_sample = jax.random.split(key)
    eps = jax.random.normal(key_eps, x_0.shape, x_0.dtype)
    x_t = q_sample(schedule, x_0, jnp.asarray(times)[0], eps)
    return sample(key_sample, denoise, solver, times, x_0.shape, x_t)


def repaint(
    solver: Solver,
    schedule: Schedule,
    known: jax.Array,
    mask: jax.Array,
    num_rounds: int = 1,
) -> Solver:
    """Returns a solver that keeps the known part of an example (Lugmayr et al. 2022).

    x_s <- mask q_sample(known, s) + (1 - mask) x_s      after each step from t to s
    x_t ~ q(x_t | x_s)                                   before the step is repeated

    One round is replacement (Song et al. 2021, App. I.2). More rounds are RePaint,
    Algorithm 1, in which the unknown part adapts to the known one. At s = 0 known
    pixels have their exact values.

    Args:
        solver: one without memory: `ddpm`, `ddim`, `heun`.
        schedule: float32[T + 1] tables.
        known: one example.
        mask: of its shape, 1 where it is known, else 0.
        num_rounds: repetitions of each step, >= 1; the last step is done once.

    Raises:
        ValueError: num_rounds is below 1, or the solver has a memory.
    """
    if num_rounds < 1:
        raise ValueError(f"num_rounds must be >= 1, got {num_rounds}.")
    check_memory(solver)
    chex.assert_equal_shape([known, mask])

    def once(key, denoise, state, t, s):
        key_step, key_known, key_up = jax.random.split(key, 3)
        x_s = solver.step(key_step, denoise, state, t, s).x
        eps = jax.random.normal(key_known, known.shape, known.dtype)
        x_s = mask * q_sample(schedule, known, s, eps) + (1.0 - mask) * x_s
        z = jax.random.normal(key_up, known.shape, known.dtype)
        added = schedule.sigma[t] * jnp.sqrt(1.0 - snr_ratio(schedule, t, s))
        return x_s, schedule.alpha[t] / schedule.alpha[s] * x_s + added * z

    def step(key, denoise, state, t, s):
        def again(i, carry):
            x_s, x_t = carry
            round_key = jax.random.fold_in(key, i)
            return once(round_key, denoise, SolverState(x_t), t, s)

        rounds = jnp.where(s > 0, num_rounds, 1)
        x_s, _ = jax.lax.fori_loop(0, rounds, again, (state.x, state.x))
        return SolverState(x_s)

    return solver._replace(step=step)
