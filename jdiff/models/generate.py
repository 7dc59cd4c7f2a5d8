"""Images from a trained model, batch by batch.

`generate` is `jax.vmap` of `jdiff.sample` in batches of one fixed size: it compiles
once, needs the same memory for 10 images and for 10,000, and image k depends on key k
and label k alone, to the last bit.
"""

import functools
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import sampling, schedules, solvers
from jdiff.extensions import consistency
from jdiff.guidance import guide
from jdiff.handwriting import check_style
from jdiff.models.model import Model, make_condition
from jdiff.schedules import karras_timesteps


def generate(
    key: jax.Array,
    model: Model,
    labels: Iterable[int],
    num_steps: int = 10,
    guidance: float | None = None,
    solver: Callable[[schedules.Schedule], sampling.Solver] | None = None,
    grid: Callable[[schedules.Schedule, int], jax.typing.ArrayLike] = karras_timesteps,
    batch_size: int | None = None,
    with_path: bool = True,
    style: jax.typing.ArrayLike | None = None,
    decode: bool = True,
) -> Iterator[sampling.Sample]:
    """Yields samples of the given labels, batch by batch, as `Sample`s of NumPy arrays.

    The last batch is cut to the labels that are left; image k is drawn with
    `jax.random.fold_in(key, k)`.

    Args:
        key: random key.
        model: from `load_model`.
        labels: int[N], each in [0, len(model.classes)]; len(model.classes) is "any".
        num_steps: solver steps, in [1, T] or what the grid allows.
        guidance: 0 ignores the label, 1 follows it, more exaggerates; by default what
            suits the model, 2 or near it, and 1 for one without a null label.
        solver: schedule -> Solver, e.g. `ddim` or `ddpm`; `unipc` by default, and
            `consistency` for a distilled model, which knows no other.
        grid: (schedule, num_steps) -> descending steps, int[num_steps + 1], e.g.
            `karras_timesteps` or `timesteps`.
        batch_size: images per compiled call, >= 1; 16 by default, 64 of latents, whose
            network is small.
        with_path: without it path is empty, which spares latents their decoding.
        style: for a model with styles: slant, weight, width and roundness, see
            `jdiff.style`, float[4] for all or float[N, 4], in [-3, 3]; NaN is "any".
        decode: whether to make images of latents, rather than yield float32[n, L].

    Yields:
        Sample with x_0 float32[n, H, W, C] in [-1, 1] and path
        float32[n, num_steps + 1, H, W, C]; latents are decoded, all along the path.

    Raises:
        ValueError: a number is outside its range; on the call, before any work.

    >>> import jax, jdiff
    >>> model = jdiff.load_model("unet")
    >>> labels = jdiff.handwriting.encode("hi", model.classes)
    >>> (batch,) = jdiff.generate(jax.random.key(0), model, labels, num_steps=1)
    >>> batch.x_0.shape, batch.path.shape
    ((2, 28, 28, 1), (2, 2, 28, 28, 1))
    """
    labels = np.asarray(list(labels), np.int32)
    if labels.size and not 0 <= labels.min() <= labels.max() <= len(model.classes):
        raise ValueError(
            f"labels must be in [0, {len(model.classes)}], "
            f"got {labels.min()} .. {labels.max()}."
        )
    if guidance is None:
        guidance = model.guidance if model.has_null else 1.0
    if guidance != 1.0 and not model.has_null:
        raise ValueError(
            f"guidance must be 1 for a model without a null label, got {guidance}."
        )
    solver = solver or default_solver(model)
    if model.distilled and solver is not consistency:
        raise ValueError(
            "solver must be consistency for a distilled model, which does not predict "
            f"the mean that {solver.__name__} needs."
        )
    if not np.isfinite(guidance):
        raise ValueError(f"guidance must be a finite number, got {guidance}.")
    if style is not None and not model.has_style:
        raise ValueError("style must be None for a model that does not know styles.")
    conditions = labels
    if model.has_style:
        style = check_style(np.full(4, np.nan) if style is None else style, len(labels))
        conditions = make_condition(model, labels, style)
    if batch_size is None:
        batch_size = 64 if model.autoencoder else 16
    if batch_size < 1:
        raise ValueError(f"batch_size must be >= 1, got {batch_size}.")
    times = grid(model.schedule, num_steps)
    # The complaints of these two come before the work, and on concrete tables.
    solver(model.schedule)
    sampling.make_denoiser(model.apply, model.params, model.schedule, model.prediction)
    plan = solver, guidance != 1.0, with_path, decode
    tables = model.params, model.schedule, times, np.float32(guidance)
    return _batches(key, model, conditions, len(labels), tables, plan, batch_size)


def default_solver(
    model: Model,
) -> Callable[[schedules.Schedule], sampling.Solver]:
    """Returns the solver that a model is sampled with unless another is named."""
    return consistency if model.distilled else solvers.unipc


def _batches(key, model, conditions, num, tables, plan, batch_size):
    static = model._replace(params=None, schedule=None)
    for start in range(0, num, batch_size):
        index = np.arange(start, start + batch_size)
        rows = np.minimum(index, num - 1)
        batch = jax.tree.map(lambda leaf, rows=rows: leaf[rows], conditions)
        result = _sample_batch(key, index, batch, tables, (static, *plan))
        left = min(batch_size, num - start)
        yield jax.tree.map(lambda images, left=left: np.asarray(images)[:left], result)


@functools.partial(jax.jit, static_argnames="plan")
def _sample_batch(key, index, conditions, tables, plan):
    params, schedule, times, guidance = tables
    static, solver, guided, with_path, decoded = plan
    latents = static.autoencoder

    def denoiser(given):
        return sampling.make_denoiser(
            static.apply, params, schedule, static.prediction, given, clip=None
        )

    def decode(z):
        return jnp.clip(latents.decode(params, z).mean, -1.0, 1.0)

    def one(index, given):
        denoise = denoiser(given)
        if guided:  # at scale 1 the unconditional half would be computed in vain
            anything = make_condition(static, len(static.classes))
            denoise = guide(denoise, denoiser(anything), guidance)
        x_0, path = sampling.sample(
            jax.random.fold_in(key, index),
            denoise if latents else sampling.clip_x_0(denoise),
            solver(schedule),
            times,
            (latents.num_latents,) if latents else static.image_shape,
        )
        if not with_path:
            path = path[:0]
        if latents and decoded:
            x_0, path = decode(x_0), jax.vmap(decode)(path)
        return sampling.Sample(x_0, path)

    return jax.vmap(one)(index, conditions)
