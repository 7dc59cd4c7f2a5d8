"""Consistency models (Song et al. 2023): a solver, and the loss that distils one."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jdiff.checks import check_times
from jdiff.diffusion import Prediction, q_sample
from jdiff.losses import Distance, huber_loss
from jdiff.sampling import Solver, SolverState, start_from_noise
from jdiff.schedules import Schedule, log_snr


def consistency(schedule: Schedule) -> Solver:
    """Returns multistep consistency sampling (Song et al. 2023, Algorithm 1).

    x_s = alpha_s f(x_t, t) + sigma_s z,  z ~ N(0, I)

    for a consistency function f, which maps every x_t to the end x_0 of its path: a
    network distilled by `make_consistency_loss`. One step is f alone; each further step
    adds noise and applies f again. Other networks estimate the mean of x_0 given x_t,
    with which samples are too smooth.
    """

    def step(key, denoise, state, t, s):
        z = jax.random.normal(key, state.x.shape, state.x.dtype)
        return SolverState(q_sample(schedule, denoise(state.x, t), s, z))

    return start_from_noise(schedule, SolverState, step)


def make_consistency_loss(
    apply: Callable[..., jax.Array],
    schedule: Schedule,
    prediction: Prediction,
    times: jax.typing.ArrayLike,
    distance: Distance = huber_loss,
) -> Callable:
    """Returns the loss that distils a sampler: (params, key, batch) -> (loss, metrics).

    L = E_i[ d(f(x_{t_i}, t_i), x_0) ],  x_{t_0}, x_{t_1}, ..., x_0 a teacher's path

    f, the network's estimate of x_0, becomes a consistency function (Song et al. 2023,
    Sec. 3): constant along each path, equal to its end. i = 0, where sampling begins
    and f is hardest to learn, has probability 1/2; the other i are equally likely.

    Song et al. train f at t_i on its own moving average at t_{i+1} (Eq. 7). Here paths
    are a few steps long, so their exact ends are at hand.

    Args:
        apply: (params, x_t [B, ...], log_snr [B], label [B]) -> output [B, ...].
        schedule: float32[T + 1] tables.
        prediction: what the network predicts; it must determine x_0 at times[0].
        times: the steps of the paths, int[n + 1], descending to 0, n at least 2.
        distance: (estimate, x_0) -> scalar, of one example.

    Returns:
        A loss of batches whose x are paths, float[B, n + 1, ...], as in `Sample.path`.

    Raises:
        ValueError: times is not such a grid.
    """
    check_times(times, len(schedule.alpha) - 1)
    times = jnp.asarray(times)
    num_starts = len(times) - 1
    if num_starts < 2:
        raise ValueError(f"times must have at least 2 steps, got {num_starts}.")

    def choose(key, path):
        key_first, key_later = jax.random.split(key)
        later = jax.random.randint(key_later, (), 1, num_starts)
        i = jnp.where(jax.random.bernoulli(key_first), 0, later)
        return path[i], times[i]

    def loss_fn(params, key, batch):
        paths = batch.x
        x_t, t = jax.vmap(choose)(jax.random.split(key, len(paths)), paths)
        output = apply(params, x_t, log_snr(schedule, t), batch.label)
        x_0 = jax.vmap(prediction.x_0, (None, 0, 0, 0))(schedule, x_t, output, t)
        errors = jax.vmap(distance)(x_0, paths[:, -1])
        at_start = t == times[0]
        loss = jnp.mean(errors)
        one_step = jnp.sum(errors * at_start) / jnp.maximum(at_start.sum(), 1)
        return loss, {"loss": loss, "one_step": one_step}

    return loss_fn
