"""What is wrong with steps, grids and tables, said in one sentence.

Concrete values are checked wherever they are used. Traced ones pass unseen, because a
compiled program raises no errors, so the checks cost nothing there. `checked` makes a
function that checks them, too.
"""

import functools
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import checkify

MAX_STEPS = 100_000
_MAX_SIGNAL = 0.1  # alpha_T / sigma_T from which samples are visibly off
# A part of jit's cache keys: what was compiled without checks is compiled again.
_is_checking = jax.make_user_context(default_value=False)


def checked(function: Callable, indices: bool = True) -> Callable:
    """Returns the function, compiled, with checks of the values that jit traces.

    Steps outside [0, T], grids that do not descend, tables that do not begin with data,
    labels that a network does not know, and any other index outside its array raise
    instead of returning numbers. Check the first step of a training loop so, and go on
    without:

        state, metrics = jdiff.checked(train_step)(state, batch)

    Args:
        function: one that jit could compile.
        indices: whether any other index is checked; some programs clamp theirs.

    Raises:
        checkify.JaxRuntimeError: a ValueError; when the result is called.

    Examples:
        >>> import jax, jdiff
        >>> schedule, x_0 = jdiff.flow_schedule(10), jax.numpy.ones(3)
        >>> noised = jax.jit(lambda t: jdiff.q_sample(schedule, x_0, t, 0 * x_0))
        >>> float(noised(-1)[0])
        0.0
        >>> jdiff.checked(noised)(-1)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        jax._src.checkify.JaxRuntimeError: t must be an int in [0, 10], got -1...
    """
    both = checkify.user_checks | checkify.index_checks
    errors = both if indices else checkify.user_checks
    compiled = jax.jit(checkify.checkify(function, errors=errors))

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        with _is_checking(True):
            error, result = compiled(*args, **kwargs)
        error.throw()
        return result

    return call


def _known(value: Any) -> Any:
    """Returns a value as NumPy's, unless it is traced: JAX traces what it computes."""
    return value if isinstance(value, jax.core.Tracer) else np.asarray(value)


def _require(holds: Any, message: str, *values: Any) -> None:
    """Raises ValueError unless all of it holds; what is traced, for `checked` alone."""
    values = tuple(map(_known, values))
    if isinstance(holds, jax.core.Tracer):
        if _is_checking.value:
            checkify.debug_check(jnp.all(holds), message, *values)
    elif not np.all(holds):
        raise ValueError(message.format(*(value.tolist() for value in values)))


def check_num_steps(num_steps: int, most: int = MAX_STEPS) -> None:
    """Raises ValueError unless num_steps is an int in [1, most]."""
    is_int = isinstance(num_steps, int | np.integer)
    if not is_int or not 1 <= num_steps <= most:
        raise ValueError(f"num_steps must be in [1, {most}], got {num_steps}.")


def check_times(times: jax.typing.ArrayLike, last: int | None = None) -> None:
    """Raises ValueError unless times is int[n + 1], descending, in [0, last]."""
    grid = _known(times)
    if grid.ndim != 1 or grid.size < 2 or not np.issubdtype(grid.dtype, np.integer):
        raise ValueError(
            "times must be a vector of at least 2 int steps, "
            f"got {grid.dtype}[{', '.join(map(str, grid.shape))}]."
        )
    # Not np.diff, which wraps around in unsigned ints.
    descends = (grid[1:] < grid[:-1]).all() & (grid[-1] >= 0)
    _require(descends, "times must descend strictly to >= 0, got {}.", grid)
    if last is not None:
        message = f"times must be at most T = {last}, got {{}}."
        _require(grid[0] <= last, message, grid[0])


def check_step(schedule: Any, t: jax.typing.ArrayLike) -> None:
    """Raises ValueError unless t is int, in [0, T]: indexing would clamp it."""
    last, step = len(schedule.alpha) - 1, _known(t)
    if isinstance(t, jax.core.Tracer) and isinstance(schedule.alpha, np.ndarray):
        raise ValueError(
            "schedule must hold JAX arrays inside jit, got NumPy's: "
            "wrap each table in jax.numpy.asarray, or take from_sigmas."
        )
    inside = step.dtype.kind in "iu" and (0 <= step) & (step <= last)
    _require(inside, f"t must be an int in [0, {last}], got {{}}.", t)


def check_step_back(
    schedule: Any, t: jax.typing.ArrayLike, s: jax.typing.ArrayLike
) -> None:
    """Raises ValueError unless steps are in [0, T] and s is before t."""
    check_step(schedule, t)
    check_step(schedule, s)
    message = "s must be less than t, got s = {} and t = {}."
    _require(_known(s) < _known(t), message, s, t)


def check_label(label: jax.typing.ArrayLike, num_classes: int) -> None:
    """Raises ValueError unless labels are in [0, num_classes]; the last is null."""
    known = _known(label)
    inside = (0 <= known) & (known <= num_classes)
    _require(inside, f"label must be in [0, {num_classes}], got {{}}.", label)


def check_schedule(schedule: Any) -> None:
    """Raises ValueError unless step 0 is data and the SNR falls with t."""
    alpha, sigma = map(_known, schedule)
    _require(
        (alpha[0] == 1) & (sigma[0] == 0),
        "schedule must begin with data, alpha[0] = 1 and sigma[0] = 0, "
        "got {:g} and {:g}.",
        *(alpha[0], sigma[0]),
    )
    if any(isinstance(table, jax.core.Tracer) for table in schedule):
        return
    # SNR_s >= SNR_t for s < t, multiplied out because both ends may be 0, and with
    # room for the rounding of float32 tables.
    alpha, sigma = (table.astype(np.float64) for table in (alpha, sigma))
    ahead, behind = alpha[:-1] * sigma[1:], alpha[1:] * sigma[:-1]
    falls = behind <= ahead * (1.0 + 1e-6)
    if not falls.all():
        t = int(np.argmin(falls)) + 1
        raise ValueError(
            "schedule must have an SNR that falls with t, "
            f"got one that does not at t = {t}."
        )


def warn_of_signal(schedule: Any) -> None:
    """Warns if x_T is too far from pure noise, with which sampling starts."""
    alpha_T, sigma_T = (float(np.asarray(table)[-1]) for table in schedule)
    if alpha_T <= _MAX_SIGNAL * sigma_T:
        return
    depth = 1  # of the caller outside jdiff, whose line the warning shows
    while sys._getframe(depth).f_globals.get("__name__", "").startswith("jdiff."):
        depth += 1
    warnings.warn(
        f"the schedule keeps {alpha_T:.2f} of the signal at t = T, so samples, "
        "which start from pure noise, are off: use larger betas or more steps.",
        stacklevel=depth + 1,
    )
