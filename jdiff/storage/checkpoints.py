"""Checkpoints: training states on disk, whole, verified, and readable as weights.

orbax writes a state beside and gives it its name, the number of its step, when it is
whole. It holds a manifest of fingerprints. On reading, every array is compared with
its fingerprint: a state that differs in one bit is skipped, with a warning, for the one
before it. Several processes save one state together, in a folder that all of them see.
"""

import contextlib
import json
import logging
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdiff.storage import fingerprints
from jdiff.storage.weights import WeightsError

NUM_KEPT = 3  # besides the best

Save = Callable[[int, Any, dict[str, Any]], None]


@contextlib.contextmanager
def open_checkpoints(directory: str | Path, step: int = 0) -> Iterator[Save]:
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
            manifest=ocp.args.JsonSave(fingerprints.make_manifest(raw, facts)),
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


def save_checkpoint(
    directory: str | Path, step: int, state: Any, facts: dict[str, Any]
) -> None:
    """Saves a training state under directory/step, atomically; keeps the last three.

    Args:
        directory: folder of the checkpoints, made if missing.
        step: number of steps done; it names the checkpoint.
        state: a `TrainState`; typed keys are stored as their raw data.
        facts: JSON-serialisable facts of the run, returned by `restore_checkpoint`.

    Raises:
        OSError: see `open_checkpoints`.
    """
    with open_checkpoints(directory, step) as save:
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
            "'jdiffusion[train]'."
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


def restore_checkpoint(directory: str | Path, like: Any) -> tuple[Any, Any]:
    """Returns (state, facts) of the newest whole checkpoint in a folder.

    A damaged one is skipped, with a warning that says why. Nothing is changed on disk.

    Args:
        directory: folder that `save_checkpoint` or `open_checkpoints` wrote.
        like: a state of the same structure, which lies on devices as the result will;
            its values do not matter.

    Raises:
        WeightsError: there is no checkpoint, none is whole, or it is of another
            architecture.
    """
    raw = raw_keys(like)

    def read(folder: Path) -> tuple[Any, Any]:
        state, facts, leaves, error = None, None, None, None
        try:
            state, facts, leaves = _read_state(folder, raw)
        except Exception as caught:  # told to the other processes first
            error = caught
        if not _on_all_processes(error is None):
            raise error or ValueError("another process could not read it")
        if leaves is not None:
            fingerprints.verify(state, leaves)
        return state, facts

    restored, facts = _newest(directory, read)
    return jax.tree.map(_restore_key, like, restored, is_leaf=is_key), facts


def load_ema_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns (params, description): the averaged weights of a training state.

    Of all that the state holds only these are read.

    Args:
        path: folder of a run, of its checkpoints, or of one of them; of several the
            newest whole one is taken.

    Raises:
        WeightsError: there is no checkpoint, none is whole, or it does not say of which
            network it is, as those of older versions.
    """
    path = Path(path)
    if (path / "checkpoints").is_dir():
        path = path / "checkpoints"
    params, facts = _newest(path, _read_average)
    description = facts.get("description") if isinstance(facts, dict) else None
    if not isinstance(description, dict):
        raise WeightsError(
            f"the checkpoint in {path} must describe its network, got an older one: "
            "take the weights file of that run."
        )
    return params, description


def _newest(directory: str | Path, read: Callable[[Path], Any]) -> Any:
    """Returns what `read` makes of the newest state that it can read."""
    directory = Path(directory)
    if directory.name.isdigit() and (directory / "state").is_dir():
        folders = [directory]
    else:
        folders = states_in(directory)
    if not folders:
        raise WeightsError(f"no checkpoint in {directory}.")
    import_orbax()
    damages = []
    for folder in folders:
        try:
            found = read(folder)
        except WeightsError:
            raise
        # orbax, JSON and what stores the arrays each have errors of their own.
        except Exception as error:
            damages.append(f"{folder.name} ({first_line(error)})")
            continue
        if damages:
            warnings.warn(
                f"skipped damaged checkpoints in {directory}: {', '.join(damages)}; "
                f"took {folder.name}.",
                stacklevel=3,
            )
        return found
    raise WeightsError(
        f"checkpoints in {directory} must be whole and of the network that reads "
        f"them, got none: {', '.join(damages)}."
    )


def _reader() -> Any:
    """Returns what reads a folder in this process alone, whatever others do."""
    ocp = import_orbax()
    index = jax.process_index()
    options = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=str(index)
    )
    handler = ocp.CompositeCheckpointHandler()
    return ocp.Checkpointer(handler, multiprocessing_options=options)


def _read_facts(folder: Path) -> tuple[Any, fingerprints.Leaves | None]:
    """Returns (facts, leaves); leaves is None in states of older versions."""
    ocp = import_orbax()
    names = ["facts", "manifest"] if (folder / "manifest").exists() else ["facts"]
    wanted = {name: ocp.args.JsonRestore() for name in names}
    with _reader() as reader:
        read = reader.restore(folder.resolve(), ocp.args.Composite(**wanted))
    if "manifest" not in names:
        return read["facts"], None
    return read["facts"], fingerprints.open_manifest(read["manifest"], read["facts"])


def _read_state(folder: Path, like: Any) -> tuple[Any, Any, fingerprints.Leaves | None]:
    """Returns (state, facts, leaves)."""
    ocp = import_orbax()
    facts, leaves = _read_facts(folder)
    if leaves is not None:
        fingerprints.check_shapes(leaves, like, folder)
    args = ocp.args.Composite(state=ocp.args.StandardRestore(like))
    with _reader() as reader:
        return reader.restore(folder.resolve(), args)["state"], facts, leaves


def _read_average(folder: Path) -> tuple[dict[str, Any], Any]:
    """Returns (averaged weights, facts)."""
    ocp = import_orbax()
    facts, leaves = _read_facts(folder)
    path = folder.resolve() / "state"
    handler = ocp.PyTreeCheckpointHandler()
    tree = handler.metadata(path)
    if tree is None:
        raise ValueError("its arrays cannot be listed")
    wanted = {"ema_params": tree.tree["ema_params"]}
    as_numpy = ocp.RestoreArgs(restore_type=np.ndarray)
    args = ocp.args.PyTreeRestore(
        wanted,
        restore_args=jax.tree.map(lambda _: as_numpy, wanted),
        partial_restore=True,
    )
    read = handler.restore(path, args=args)
    if leaves is not None:
        fingerprints.verify(read, leaves)
    return read["ema_params"], facts


def _on_all_processes(is_well: bool) -> bool:
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.int32(is_well)).all())


def _restore_key(like: Any, value: Any) -> Any:
    if not is_key(like):
        return value
    return jax.random.wrap_key_data(value, impl=jax.random.key_impl(like))
