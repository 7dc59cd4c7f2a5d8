"""Distances of one example, weights and distributions of steps, the loss of a batch.

    L = E_{x_0, t, eps} [ w_t  d(network(x_t, lambda_t, y), target) ]        (8)

(Ho et al. 2020, Eq. 14, has w_t = 1, d the squared error and target eps.)
"""

import functools
from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp

from jdiff.checks import check_schedule
from jdiff.diffusion import Prediction, check_determined, q_sample, snr_ratio
from jdiff.schedules import Schedule, log_snr

Distance = Callable[[jax.Array, jax.Array], jax.Array]
Weight = Callable[[Schedule, Prediction, jax.Array], jax.Array]
DrawSteps = Callable[[jax.Array, Schedule], jax.Array]


def l2_loss(output: jax.Array, target: jax.Array) -> jax.Array:
    """Returns the mean squared error of one example, a scalar."""
    chex.assert_equal_shape([output, target])
    return jnp.mean(jnp.square(output - target))


def huber_loss(output: jax.Array, target: jax.Array, delta: float = 1.0) -> jax.Array:
    """Returns the mean Huber loss of one example, a scalar (Huber 1964).

    h(e) = e^2 / 2 if |e| <= delta, else delta (|e| - delta / 2)
    """
    chex.assert_equal_shape([output, target])
    error = jnp.abs(output - target)
    inside = jnp.minimum(error, delta)
    return jnp.mean(inside * (error - 0.5 * inside))


def uniform_weight(
    schedule: Schedule, prediction: Prediction, t: jax.typing.ArrayLike
) -> jax.Array:
    """Returns 1, the weight of every step (Ho et al. 2020, Eq. 14)."""
    return jnp.ones_like(schedule.alpha[t])


def min_snr_weight(
    schedule: Schedule,
    prediction: Prediction,
    t: jax.typing.ArrayLike,
    gamma: float = 5.0,
) -> jax.Array:
    """Returns the min-SNR weight of step t (Hang et al. 2023, Eq. 7).

    w_t = c_t^2 min(SNR_t, gamma),  c_t = d x_0 / d output

    In the paper c_t = 1, the weight of the squared error of x_0. With c_t it is
    min(SNR, gamma) / SNR for eps and min(SNR, gamma) / (SNR + 1) for v. Where alpha is
    0, eps and score do not determine x_0 and their weight is NaN.

    Args:
        schedule: float32[T + 1] tables.
        prediction: what the network predicts.
        t: scalar int in [1, T].
        gamma: upper bound of the SNR, > 0.
    """
    factor = prediction.x_0(schedule, 0.0, 1.0, t)
    snr = jnp.exp(log_snr(schedule, t))
    return jnp.minimum(snr, gamma) * jnp.square(factor)


def snr_difference_weight(
    schedule: Schedule, prediction: Prediction, t: jax.typing.ArrayLike
) -> jax.Array:
    """Returns the weight of step t in the variational bound (Kingma et al. 2021).

    w_t = c_t^2 (SNR_{t-1} - SNR_t) for t > 1,  w_1 = c_1^2 SNR_1      (Eq. 13)

    with c_t of `min_snr_weight`. SNR_0 is infinite: the bound's last term is not a
    divergence but -log p(x_0 | x_1), whose weight is SNR_1 for a Gaussian with the
    noise level of x_1, as in `jdiff.likelihood.variational_bound`. With these weights
    T D / 2 times the mean of `l2_loss` over t is that bound in nats, up to terms
    independent of the network.

    Args:
        schedule: float32[T + 1] tables.
        prediction: what the network predicts.
        t: scalar int in [1, T].
    """
    factor = prediction.x_0(schedule, 0.0, 1.0, t)
    before = jnp.exp(log_snr(schedule, t - 1)) * (1.0 - snr_ratio(schedule, t, t - 1))
    snr = jnp.exp(log_snr(schedule, t))
    return jnp.where(jnp.asarray(t) > 1, before, snr) * jnp.square(factor)


def edm_weight(
    schedule: Schedule,
    prediction: Prediction,
    t: jax.typing.ArrayLike,
    sigma_data: float = 0.5,
) -> jax.Array:
    """Returns the weight of step t for a `precondition`ed network (Karras et al. 2022).

    w_t = (n^2 + sigma_data^2) / (n sigma_data)^2,  n = sigma_t / alpha_t  (Table 1)

    It is 1 / c_out^2, so the loss of the inner network is 1 at every noise level when
    its output is 0.

    Args:
        schedule: float32[T + 1] tables.
        prediction: `PREDICT_X_0`.
        t: scalar int in [1, T].
        sigma_data: standard deviation of the data, > 0.
    """
    snr = jnp.square(schedule.alpha[t] / schedule.sigma[t])
    return 1.0 / sigma_data**2 + snr


def uniform_steps(keys: jax.Array, schedule: Schedule) -> jax.Array:
    """Returns steps of a batch, each uniform on 1 .. T (Ho et al. 2020, Alg. 1).

    Args:
        keys: random keys [B].
        schedule: float32[T + 1] tables.
    """
    num = len(schedule.alpha)
    return jax.vmap(lambda key: jax.random.randint(key, (), 1, num))(keys)


def low_discrepancy_steps(keys: jax.Array, schedule: Schedule) -> jax.Array:
    """Returns steps of a batch, evenly spread over 1 .. T (Kingma et al. 2021, I.1).

    t_i = 1 + floor(T u_i),  u_i = (u_0 + i / B) mod 1,  u_0 ~ U(0, 1)

    Each is uniform, and the mean over a batch varies less. u_0 is drawn from key 0.
    """
    u = (jax.random.uniform(keys[0]) + jnp.arange(len(keys)) / len(keys)) % 1.0
    return _step_at(u, schedule)


def logit_normal_steps(
    keys: jax.Array, schedule: Schedule, mean: float = 0.0, std: float = 1.0
) -> jax.Array:
    """Returns steps of a batch, most of them in the middle (Esser et al. 2024, Eq. 19).

    t = 1 + floor(T u),  log(u / (1 - u)) ~ N(mean, std^2)
    """
    n = jax.vmap(jax.random.normal)(keys)
    return _step_at(jax.nn.sigmoid(mean + std * n), schedule)


def log_normal_steps(
    keys: jax.Array, schedule: Schedule, mean: float = -1.2, std: float = 1.2
) -> jax.Array:
    """Returns steps of a batch, log-normal in sigma (Karras et al. 2022, Table 1).

    log(sigma_t / alpha_t) ~ N(mean, std^2), to the nearest step of the schedule
    """
    levels = -0.5 * log_snr(schedule, jnp.arange(1, len(schedule.alpha)))
    n = mean + std * jax.vmap(jax.random.normal)(keys)
    return 1 + jnp.searchsorted(0.5 * (levels[1:] + levels[:-1]), n)


def _step_at(u: jax.Array, schedule: Schedule) -> jax.Array:
    """Returns 1 + floor(T u); u = 1, to which float32 rounds, is the last step."""
    last = len(schedule.alpha) - 1
    return jnp.minimum(1 + (last * u).astype(jnp.int32), last)


def make_diffusion_loss(
    apply: Callable[..., jax.Array],
    schedule: Schedule,
    prediction: Prediction,
    null_label: Any = None,
    label_dropout: float = 0.0,
    distance: Distance = l2_loss,
    weight: Weight = uniform_weight,
    steps: DrawSteps = uniform_steps,
    num_noise_levels: int = 0,
) -> Callable:
    """Returns the loss of Eq. 8 over a batch: (params, key, batch) -> (loss, metrics).

    Step, noise and label dropout of example k are drawn from key k, so they do not
    depend on how a batch is divided over devices. The network takes the whole batch in
    one call, which keeps the weight gradients of its convolutions batched.

    Args:
        apply: (params, x_t [B, ...], log_snr [B], label [B]) -> output [B, ...]; if
            batch.label is None, (params, x_t, log_snr) -> output.
        schedule: float32[T + 1] tables.
        prediction: what the network predicts.
        null_label: the label that means "no condition", usually num_classes; a pytree
            where labels are pytrees, such as `jdiff.networks.Condition`.
        label_dropout: probability that a label is replaced by the null label, which
            trains the unconditional network for guidance (Ho & Salimans 2022, Alg. 1).
        distance: (output, target) -> scalar, of one example.
        weight: (schedule, prediction, t) -> scalar.
        steps: (keys [B], schedule) -> int[B] in [1, T], the distribution of t. With
            `log_normal_steps`, `precondition` and `edm_weight` the loss is that of
            Karras et al. 2022.
        num_noise_levels: equal parts of 1 .. T, from least noise to most, for which
            metrics["noise_levels"] holds the result of `sum_by_noise_level`; 0 for
            none.

    Raises:
        ValueError: label_dropout is outside [0, 1] or lacks a null_label, or the
            prediction does not determine x_0 at t = T, where alpha_T = 0; step 0 of the
            schedule is not data, or its SNR rises with t.
    """
    check_schedule(schedule)
    check_determined(schedule, prediction)
    if not 0.0 <= label_dropout <= 1.0:
        raise ValueError(f"label_dropout must be in [0, 1], got {label_dropout}.")
    if label_dropout and null_label is None:
        raise ValueError("label_dropout needs a null_label, got None.")
    num_steps = len(schedule.alpha) - 1

    def corrupt(keys, t, x_0, label):
        _, key_eps, key_label = keys
        eps = jax.random.normal(key_eps, x_0.shape, x_0.dtype)
        if label_dropout:
            drop = jax.random.bernoulli(key_label, label_dropout)
            label = jax.tree.map(functools.partial(jnp.where, drop), null_label, label)
        x_t = q_sample(schedule, x_0, t, eps)
        return x_t, label, prediction.target(schedule, x_0, eps, t)

    def loss_fn(params, key, batch):
        if label_dropout and batch.label is None:
            raise ValueError("label_dropout must be 0 for a batch without labels.")
        keys = jax.vmap(lambda key: jax.random.split(key, 3))(
            jax.random.split(key, len(batch.x))
        )
        t = steps(keys[:, 0], schedule)
        x_t, label, target = jax.vmap(corrupt)(keys, t, batch.x, batch.label)
        condition = () if label is None else (label,)
        output = apply(params, x_t, log_snr(schedule, t), *condition)
        errors = jax.vmap(distance)(output, target)
        losses = jax.vmap(lambda t: weight(schedule, prediction, t))(t) * errors
        metrics = {"loss": jnp.mean(losses)}
        if num_noise_levels:
            index = (t - 1) * num_noise_levels // num_steps
            sums = sum_by_noise_level(losses, index, num_noise_levels)
            metrics["noise_levels"] = sums
        return metrics["loss"], metrics

    return loss_fn


def sum_by_noise_level(
    losses: jax.Array, index: jax.Array, num_noise_levels: int
) -> jax.Array:
    """Returns sums and counts of losses by noise level, float32[2, num_noise_levels].

    Args:
        losses: float[B].
        index: of each loss's noise level, int[B] in [0, num_noise_levels).
        num_noise_levels: at least 1.
    """
    is_at = index[:, None] == jnp.arange(num_noise_levels)[None]
    return jnp.stack([losses @ is_at, jnp.sum(is_at, axis=0)])
