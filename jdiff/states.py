"""Training states on disk: whole, verified, and as weights.

orbax writes a state beside and gives it its name, the number of its step, when it is
whole. It holds a manifest, with which to compare what storage returns later.

Several processes save one state together, in a folder that all of them see.
"""

import contextlib
import json
import logging
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdiff import manifests
from jdiff.checkpoints import WeightsError

NUM_KEPT = 3  # besides the best

Save = Callable[[int, Any, dict[str, Any]], None]


@contextlib.contextmanager
def keep_states(directory: str | Path, step: int = 0) -> Iterator[Save]:
    """Returns a context with a function that saves: (step, state, facts) -> None.

    It returns when the state is copied; writing goes on beside the training. The next
    save waits for it, as the end of the context does. The last three states are kept,
    and of those whose facts have a "loss" the one with the lowest.

    Args:
        directory: folder of the states, made if missing.
        step: number of steps done. Later states in the folder, which could not be
            restored, are renamed to N.skipped: the run will come to those steps again.

    Raises:
        OSError: a state cannot be saved; those before it stay as they are.
    """
    ocp, directory = import_orbax(), Path(directory).resolve()
    with _in_words(directory):
        _put_aside(directory, step)
        losses = _saved_losses(directory)
        manager = _manager(directory, losses)

    def save(step: int, state: Any, facts: Any) -> None:
        raw = jax.tree.map(_copy, raw_keys(state))
        facts = json.loads(json.dumps(facts))
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(raw),
            facts=ocp.args.JsonSave(facts),
            manifest=ocp.args.JsonSave(manifests.make_manifest(raw, facts)),
        )
        if facts.get("loss") is not None:
            losses[step] = facts["loss"]
        with _in_words(directory):
            manager.save(step, args=args)

    # Of what it raises orbax logs a traceback, too.
    log = logging.getLogger("absl")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield save
    finally:
        with _in_words(directory):
            manager.close()
        log.setLevel(level)


def save_state(
    directory: str | Path, step: int, state: Any, facts: dict[str, Any]
) -> None:
    """Saves a training state under directory/step, atomically; keeps the last three.

    Args:
        directory: folder of the checkpoints, made if missing.
        step: number of steps done; it names the checkpoint.
        state: a `TrainState`; typed keys are stored as their raw data.
        facts: JSON-serialisable facts of the run, returned by `restore_state`.

    Raises:
        OSError: see `keep_states`.
    """
    with keep_states(directory, step) as save:
        save(step, state, facts)


def states_in(directory: Path) -> list[Path]:
    """Returns the folders of states, newest first."""
    if not directory.is_dir():
        return []
    named = (path for path in directory.iterdir() if path.name.isdigit())
    return sorted(named, key=lambda path: -int(path.name))


def _put_aside(directory: Path, step: int) -> None:
    from jax.experimental import multihost_utils

    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        for path in states_in(directory):
            if int(path.name) > step:
                path.rename(path.with_name(f"{path.name}.skipped"))
    multihost_utils.sync_global_devices("put aside")


def _manager(directory: Path, losses: dict[int, float]) -> Any:
    ocp = import_orbax()

    # orbax's own policy fails if the figures beside one state are damaged.
    def should_preserve(states: Any, *, context: Any) -> list[bool]:
        steps = [state.step for state in states]
        known = [step for step in steps if step in losses]
        kept = {
            *steps[-NUM_KEPT:],
            min(known, key=lambda step: losses[step], default=None),
        }
        return [step in kept for step in steps]

    options = ocp.CheckpointManagerOptions(
        preservation_policy=types.SimpleNamespace(should_preserve=should_preserve),
        cleanup_tmp_directories=True,
    )
    return ocp.CheckpointManager(directory, options=options)


def _saved_losses(directory: Path) -> dict[int, float]:
    """Returns the losses of the states in a folder, of those that tell theirs."""
    losses = {}
    for path in states_in(directory):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            facts = json.loads((path / "facts" / "metadata").read_text())
            losses[int(path.name)] = float(facts["loss"])
    return losses


def _copy(leaf: Any) -> Any:
    """Returns what the next step cannot overwrite while it is written.

    A copy on each device is the same: orbax would cut it between them, leaf by leaf.
    """
    is_cut = isinstance(leaf, jax.Array) and not leaf.is_fully_replicated
    return leaf if is_cut else np.array(leaf)


def import_orbax() -> Any:
    """Returns the module `orbax.checkpoint`; raises WeightsError without it."""
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise WeightsError(
            "checkpoints need orbax, which is not installed: pip install "
            "'jdiff[train]'."
        ) from error
    return ocp


@contextlib.contextmanager
def _in_words(directory: Path) -> Iterator[None]:
    """Whatever fails while a state is saved is an OSError, in one sentence."""
    try:
        yield
    except WeightsError:
        raise
    # Full disks surface as errors of orbax, of its storage or of the system.
    except Exception as error:
        raise OSError(
            f"cannot save a checkpoint in {directory}: {first_line(error)}"
        ) from error


def first_line(error: Exception) -> str:
    """Returns what an error says, in one line of at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key."""
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )


def raw_keys(state: Any) -> Any:
    """Returns a tree with the raw data of its random keys, which storage can hold."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if is_key(x) else x, state)
