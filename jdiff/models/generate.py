"""Examples from a trained model: all at once, or batch by batch.

`generate_batches` is `jax.vmap` of `jdiff.sample` in batches of one fixed size. It
compiles once and needs the same memory for 10 examples and for 10,000. Example k
depends on key k and label k alone: on one machine and at one `batch_size` it is the
same to the last bit, whatever the other labels are and however many. Another
`batch_size` is another program, which adds in another order: the same example, up to
rounding.
"""

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, cast

import jax
import numpy as np

from jdiff import sampling, schedules, solvers
from jdiff.extensions import consistency
from jdiff.guidance import guide, guide_interval
from jdiff.handwriting import STYLES, check_style
from jdiff.images import in_batches
from jdiff.models.model import Model, denoiser
from jdiff.schedules import karras_timesteps

MAX_GUIDANCE = 1000
MAX_NUM = 10_000_000


def generate(
    key: jax.Array,
    model: Model,
    labels: int | Iterable[int],
    num_steps: int = 10,
    **options: Any,
) -> sampling.Sample:
    """Returns samples of a model as one `Sample` of NumPy arrays.

    Args:
        key: random key.
        model: from `load_model` or `fit`.
        labels: int[N], at least one; or N, that many of any class.
        num_steps: solver steps, in [1, T].
        options: of `jdiff.models.generate_batches`: guidance, solver, with_path, ...

    Raises:
        ValueError: a number is outside its range.

    Examples:
        >>> import jax, jdiff
        >>> model = jdiff.load_model("unet")
        >>> labels = jdiff.handwriting.encode("hi", model.classes)
        >>> jdiff.generate(jax.random.key(0), model, labels, num_steps=1).x_0.shape
        (2, 28, 28, 1)
    """
    batches = list(generate_batches(key, model, labels, num_steps, **options))
    if not batches:
        raise ValueError("labels must be at least one, got none.")
    return jax.tree.map(lambda *parts: np.concatenate(parts), *batches)


def generate_batches(
    key: jax.Array,
    model: Model,
    labels: int | Iterable[int],
    num_steps: int = 10,
    guidance: float | None = None,
    solver: sampling.Solver
    | Callable[[schedules.Schedule], sampling.Solver]
    | None = None,
    grid: Callable[[schedules.Schedule, int], jax.typing.ArrayLike] = karras_timesteps,
    batch_size: int | None = None,
    with_path: bool = False,
    style: jax.typing.ArrayLike | None = None,
    decode: bool = True,
) -> Iterator[sampling.Sample]:
    """Yields samples of the given labels, batch by batch, as `Sample`s of NumPy arrays.

    The last batch is cut to the labels that are left; example k is drawn with
    `jax.random.fold_in(key, k)`.

    Args:
        key: random key.
        model: from `load_model` or `fit`.
        labels: int[N], each in [0, len(model.classes)], of which the last is "any"; or
            N, that many of any class.
        num_steps: solver steps, in [1, T] or what the grid allows.
        guidance: 0 ignores the label, 1 follows it, more exaggerates it, up to the
            model's latest step of guidance; in [-1000, 1000]. By default the model's,
            about 2, and 1 for one without a null label.
        solver: as `sample` takes it, e.g. `ddim(model.schedule)`; or schedule ->
            Solver, e.g. `ddim`, which does not compile again for another model. By
            default `unipc`; `consistency` for a distilled model, its only solver.
        grid: (schedule, num_steps) -> descending steps, int[num_steps + 1], e.g.
            `karras_timesteps` or `timesteps`.
        batch_size: examples per compiled call, >= 1; by default 16 for images, and 64
            for latents, points and series, whose networks are small.
        with_path: whether to keep all steps; without it path is empty.
        style: for a model with styles: slant, weight, width and roundness, see
            `jdiff.handwriting.STYLES`, float[4] for all or float[N, 4], in [-3, 3];
            NaN is "any".
        decode: whether what the network sees becomes examples; else x_0 is of
            model.latent_shape.

    Yields:
        Sample with x_0 float32[n, *model.shape] and path
        float32[n, num_steps + 1, *model.shape]. Pixels are clipped to [-1, 1]; other
        data have no bounds.

    Raises:
        ValueError: a number is outside its range; on the call, before any work.
    """
    null = len(model.classes)
    if isinstance(labels, int | np.integer):
        if not 0 <= labels <= MAX_NUM:
            raise ValueError(f"labels must be at most {MAX_NUM}, got {labels}.")
        if not model.has_null:
            raise ValueError(f"labels must be a list for this model, got {labels}.")
        labels, guidance = [null] * labels, 1.0 if guidance is None else guidance
    labels = as_labels(labels, null if model.has_null else null - 1)
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
            "the mean that other solvers need."
        )
    check_guidance(guidance)
    if style is not None and not model.has_style:
        raise ValueError("style must be None for a model that does not know styles.")
    styles = None
    if model.has_style:
        unknown = np.full(len(STYLES), np.nan)
        styles = check_style(unknown if style is None else style, len(labels))
    if batch_size is None:
        batch_size = 16 if is_pixels(model) else 64
    if not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size must be an int >= 1, got {batch_size}.")
    times = grid(model.schedule, num_steps)
    # These two raise before the work, and on concrete tables.
    make_solver(solver, model.schedule)
    denoiser(model, 0)
    # Compiled functions are found again by what a model is, not by its weights.
    static: Any = model._replace(params=None, schedule=cast(Any, None))
    last = len(model.schedule.alpha) - 1
    if guidance > 1.0 and model.guidance_last is not None:
        last = model.guidance_last
    sample_batch = functools.partial(
        _sample_batch,
        key,
        params=model.params,
        schedule=model.schedule,
        times=times,
        guidance=np.float32(guidance),
        last=np.int32(last),
        model=static,
        solver=solver,
        guided=guidance != 1.0,
        with_path=with_path,
        decode=decode,
    )
    index = np.arange(len(labels))
    return in_batches(sample_batch, batch_size, index, labels, styles)


def is_pixels(model: Model) -> bool:
    """Returns whether the network sees images, which lie in [-1, 1]."""
    return len(model.shape) == 3 and model.latent_shape is None


def make_solver(solver: Any, schedule: schedules.Schedule) -> sampling.Solver:
    """Returns the solver that is meant, itself or that of the schedule."""
    return solver if isinstance(solver, sampling.Solver) else solver(schedule)


def as_labels(labels: Iterable[int], highest: int) -> np.ndarray:
    """Returns labels as int32[N].

    Raises:
        ValueError: one is no int in [0, highest].
    """
    rows = np.asarray(list(labels))
    if rows.size == 0:
        return rows.astype(np.int32)
    if rows.dtype.kind not in "iu" or rows.ndim != 1:
        raise ValueError(f"labels must be ints [N], got {rows.dtype} {rows.shape}.")
    if not 0 <= rows.min() <= rows.max() <= highest:
        got = f"{rows.min()} .. {rows.max()}"
        raise ValueError(f"labels must be in [0, {highest}], got {got}.")
    return rows.astype(np.int32)


def check_guidance(guidance: float) -> None:
    """Raises ValueError unless a scale of guidance is a number that float32 bears."""
    if not abs(guidance) <= MAX_GUIDANCE:
        raise ValueError(
            f"guidance must be in [-{MAX_GUIDANCE}, {MAX_GUIDANCE}], got {guidance}."
        )


def default_solver(model: Any) -> Callable[[schedules.Schedule], sampling.Solver]:
    """Returns the solver that a model is sampled with unless another is named."""
    return consistency if getattr(model, "distilled", False) else solvers.unipc


@functools.partial(
    jax.jit, static_argnames=("model", "solver", "guided", "with_path", "decode")
)
def _sample_batch(
    key,
    index,
    labels,
    styles,
    *,
    params,
    schedule,
    times,
    guidance,
    last,
    model,
    solver,
    guided,
    with_path,
    decode,
):
    model = model._replace(params=params, schedule=schedule)
    to_example = functools.partial(model.decode, params) if model.decode else None

    def one(index, label, style):
        denoise = conditional = denoiser(model, label, style)
        if guided:  # at scale 1 the unconditional half would be computed in vain
            denoise = guide(conditional, denoiser(model, None), guidance)
        if model.guidance_last is not None:
            denoise = guide_interval(denoise, conditional, 0, last)
        x_0, path = sampling.sample(
            jax.random.fold_in(key, index),
            sampling.clip_x_0(denoise) if is_pixels(model) else denoise,
            make_solver(solver, schedule),
            times,
            model.latent_shape or model.shape,
        )
        if not with_path:
            path = path[:0]
        if to_example and decode:
            x_0, path = to_example(x_0), jax.vmap(to_example)(path)
        return sampling.Sample(x_0, path)

    return jax.vmap(one)(index, labels, styles)
