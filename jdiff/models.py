"""A trained model in one value, and images from it.

`Model` holds what sampling needs: network, weights, schedule, what is predicted, and
the characters its labels stand for. `generate` is `jax.vmap` of `jdiff.sample` in
batches of one fixed size: it compiles once, needs the same memory for 10 images and
for 10,000, and image k depends on key k and label k alone, to the last bit.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from jdiff import checkpoints, diffusion, sampling, schedules
from jdiff.networks.unet import UNet

SHIPPED_WEIGHTS = Path(__file__).parent / "weights" / "unet_emnist.safetensors"

# The names under which weights files and scripts speak of these functions.
PREDICTIONS = {
    "eps": diffusion.PREDICT_EPS,
    "x_0": diffusion.PREDICT_X_0,
    "v": diffusion.PREDICT_V,
    "score": diffusion.PREDICT_SCORE,
    "flow": diffusion.PREDICT_FLOW,
}
SCHEDULES = {
    "linear": schedules.linear_schedule,
    "cosine": schedules.cosine_schedule,
    "quadratic": schedules.quadratic_schedule,
    "sigmoid": schedules.sigmoid_schedule,
    "flow": schedules.flow_schedule,
    "karras": schedules.karras_schedule,
}


class Model(NamedTuple):
    """A trained class-conditional image model.

    Attributes:
        apply: (params, x_t [B, H, W, C], log_snr [B], label [B]) -> output.
        params: the weights.
        schedule: the path it was trained on.
        prediction: what the output is.
        chars: chars[k] is what label k stands for; len(chars) is the null label.
        image_shape: (H, W, C).
    """

    apply: Callable[..., jax.Array]
    params: Any
    schedule: schedules.Schedule
    prediction: diffusion.Prediction
    chars: str
    image_shape: tuple[int, int, int]


@functools.cache
def make_unet(num_classes: int, num_channels: int, num_blocks: int) -> hk.Transformed:
    """Returns the UNet as a pair of pure functions (init, apply).

    init(key, x_t, log_snr, label) -> params;  apply(params, x_t, log_snr, label).
    Equal arguments give the same pair, so that compiled functions are found again.
    """

    def network(x_t, log_snr, label):
        return UNet(num_classes, num_channels, num_blocks)(x_t, log_snr, label)

    return hk.without_apply_rng(hk.transform(network))


def init_params(
    key: jax.Array, network: hk.Transformed, image_shape: Sequence[int]
) -> Any:
    """Returns fresh weights of a network for images [H, W, C]."""
    x_t = jnp.zeros((1, *image_shape))
    # Jitted, because Haiku's init would otherwise compile op by op.
    return jax.jit(network.init)(key, x_t, jnp.zeros(1), jnp.zeros(1, jnp.int32))


def build_model(description: dict[str, Any], params: Any) -> Model:
    """Returns the model that a description and its weights stand for.

    Args:
        description: num_channels, num_blocks, image_shape, chars, schedule,
            num_steps and prediction, as `scripts/train_unet.py` stores them.
        params: the network's weights.

    Raises:
        WeightsError: a fact is missing or has a value that is not known here.
    """
    try:
        chars = description["chars"]
        network = make_unet(
            len(chars), description["num_channels"], description["num_blocks"]
        )
        return Model(
            network.apply,
            params,
            SCHEDULES[description["schedule"]](description["num_steps"]),
            PREDICTIONS[description["prediction"]],
            chars,
            tuple(description["image_shape"]),
        )
    except (KeyError, TypeError) as error:
        raise checkpoints.WeightsError(
            f"the weights must describe a network that jdiff knows, got {description} "
            f"(missing or unknown: {error})."
        ) from error


def load_model(path: str | Path = SHIPPED_WEIGHTS) -> Model:
    """Returns the model in a weights file; by default the one that ships.

    Raises:
        WeightsError: the file is missing, truncated, not weights, or of another
            architecture than it says.

    >>> import jdiff
    >>> jdiff.load_model().chars
    '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
    """
    params, description = checkpoints.load_weights(path)
    try:
        model = build_model(description, params)
        network = make_unet(
            len(model.chars), description["num_channels"], description["num_blocks"]
        )
        init = functools.partial(
            init_params, network=network, image_shape=model.image_shape
        )
        expected = jax.eval_shape(init, jax.random.key(0))
    except (TypeError, ValueError, AssertionError, ArithmeticError) as error:
        raise checkpoints.WeightsError(
            f"weights must describe a network that can be built, got {path}: {error}"
        ) from error
    checkpoints.check_params(params, expected, path)
    return model


def generate(
    key: jax.Array,
    model: Model,
    labels: Iterable[int],
    num_steps: int = 20,
    guidance: float = 2.0,
    solver: Callable[[schedules.Schedule], sampling.Solver] = sampling.ddim,
    batch_size: int = 16,
) -> Iterator[sampling.Sample]:
    """Yields samples of the given labels, batch by batch, as `Sample`s of NumPy arrays.

    The last batch is cut to the labels that are left; image k is drawn with
    `jax.random.fold_in(key, k)`.

    Args:
        key: random key.
        model: from `load_model`.
        labels: int[N], each in [0, len(model.chars)]; len(model.chars) is "any".
        num_steps: solver steps, in [1, T].
        guidance: 0 ignores the label, 1 follows it, more exaggerates it.
        solver: schedule -> Solver, e.g. `ddim` or `ddpm`.
        batch_size: images per compiled call, >= 1.

    Yields:
        Sample with x_0 float32[n, H, W, C] in [-1, 1] and path
        float32[n, num_steps + 1, H, W, C].

    Raises:
        ValueError: a number is outside its range; on the call, before any work.

    >>> import jax, jdiff
    >>> model = jdiff.load_model()
    >>> labels = jdiff.encode("hi", model.chars)
    >>> (batch,) = jdiff.generate(jax.random.key(0), model, labels, num_steps=1)
    >>> batch.x_0.shape, batch.path.shape
    ((2, 28, 28, 1), (2, 2, 28, 28, 1))
    """
    labels = np.asarray(list(labels), np.int32)
    if labels.size and not 0 <= labels.min() <= labels.max() <= len(model.chars):
        raise ValueError(
            f"labels must be in [0, {len(model.chars)}], "
            f"got {labels.min()} .. {labels.max()}."
        )
    if not np.isfinite(guidance):
        raise ValueError(f"guidance must be a finite number, got {guidance}.")
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}.")
    times = schedules.timesteps(model.schedule, num_steps)
    # The complaints of these two come before the work, and on concrete tables.
    solver(model.schedule)
    sampling.make_denoiser(model.apply, model.params, model.schedule, model.prediction)
    return _batches(key, model, labels, times, guidance, solver, batch_size)


def _batches(key, model, labels, times, guidance, solver, batch_size):
    tables = (model.params, model.schedule)
    static = model._replace(params=None, schedule=None)
    options = {"static": static, "solver": solver, "guided": guidance != 1.0}
    for start in range(0, len(labels), batch_size):
        index = np.arange(start, start + batch_size)
        batch = labels[np.minimum(index, len(labels) - 1)]
        result = _sample_batch(
            key, index, batch, times, np.float32(guidance), *tables, **options
        )
        left = min(batch_size, len(labels) - start)
        yield jax.tree.map(lambda images, left=left: np.asarray(images)[:left], result)


@functools.partial(jax.jit, static_argnames=("static", "solver", "guided"))
def _sample_batch(
    key, index, labels, times, guidance, params, schedule, *, static, solver, guided
):
    def denoiser(label):
        return sampling.make_denoiser(
            static.apply, params, schedule, static.prediction, label, clip=None
        )

    def one(index, label):
        denoise = denoiser(label)
        if guided:  # at scale 1 the unconditional half would be computed in vain
            denoise = sampling.guide(denoise, denoiser(len(static.chars)), guidance)
        return sampling.sample(
            jax.random.fold_in(key, index),
            sampling.clip_x_0(denoise),
            solver(schedule),
            times,
            static.image_shape,
        )

    return jax.vmap(one)(index, labels)
