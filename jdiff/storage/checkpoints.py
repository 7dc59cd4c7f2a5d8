"""Checkpoints: training states on disk, whole, verified, and readable as weights.

orbax writes a state under a temporary name and renames it to the number of its step
when it is whole. Beside the state lie the metadata of the run and a manifest of
fingerprints. On reading, every array is compared with its fingerprint: a checkpoint
that differs in one bit is skipped, with a warning, for the one before it. Several
processes save one state together, in a folder that all of them see.
"""

import asyncio
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
from jax.experimental import multihost_utils

from jdiff.storage import fingerprints
from jdiff.storage.arrays import first_line
from jdiff.storage.weights import WeightsError, check_description

NUM_KEPT = 3  # besides the best
# Names on disk of what a checkpoint consists of.
_STATE, _METADATA, _MANIFEST = "state", "facts", "manifest"
_PATIENCE = 10.0  # seconds, for reads of arrays that nobody waits for any longer

Save = Callable[[int, Any, dict[str, Any]], None]


@contextlib.contextmanager
def open_checkpoints(directory: str | Path, step: int = 0) -> Iterator[Save]:
    """Returns a context with a function that saves: (step, state, metadata) -> None.

    The function returns once the state is copied; writing continues in the background.
    The next save waits for it, as the end of the context does. The last three
    checkpoints are kept, and the one whose metadata have the lowest "loss".

    Args:
        directory: folder of the checkpoints, made if missing.
        step: number of steps done. Later checkpoints in the folder, which could not be
            restored, are renamed to N.skipped: the run will reach those steps again.

    Raises:
        OSError: a state cannot be saved; earlier checkpoints stay as they are.
    """
    ocp, directory = _import_orbax(), Path(directory).resolve()
    with _as_os_error(directory):
        _skip_later(directory, step)
        losses = _saved_losses(directory)
        manager = _make_manager(ocp, directory, losses)

    def save(step: int, state: Any, metadata: Any) -> None:
        raw = jax.tree.map(_copy, _raw_keys(state))
        metadata = json.loads(json.dumps(metadata))
        manifest = fingerprints.make_manifest(raw, metadata)
        items = {
            _STATE: ocp.args.StandardSave(raw),
            _METADATA: ocp.args.JsonSave(metadata),
            _MANIFEST: ocp.args.JsonSave(manifest),
        }
        if metadata.get("loss") is not None:
            losses[step] = metadata["loss"]
        with _as_os_error(directory):
            manager.save(step, args=ocp.args.Composite(**items))

    # orbax also logs a traceback of what it raises.
    log = logging.getLogger("absl")
    log_level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield save
    finally:
        with _as_os_error(directory):
            manager.close()
        log.setLevel(log_level)


def save_checkpoint(
    directory: str | Path, step: int, state: Any, metadata: dict[str, Any]
) -> None:
    """Saves a training state under directory/step, as `open_checkpoints` does.

    Typed keys are stored as their raw data; `restore_checkpoint` returns the metadata,
    which are JSON-serialisable.
    """
    with open_checkpoints(directory, step) as save:
        save(step, state, metadata)


def restore_checkpoint(directory: str | Path, like: Any) -> tuple[Any, Any]:
    """Returns (state, metadata) of the newest whole checkpoint in a folder.

    A damaged one is skipped, with a warning that says why. Nothing is changed on disk.

    Args:
        directory: folder that `save_checkpoint` or `open_checkpoints` wrote.
        like: a state of the same structure, on the devices where the result shall be;
            its values do not matter.

    Raises:
        WeightsError: there is no checkpoint, none is whole, or it is of another
            architecture.
    """
    raw = _raw_keys(like)

    def read(folder: Path) -> tuple[Any, Any]:
        state, metadata, leaves, error = None, None, None, None
        try:
            state, metadata, leaves = _read_state(folder, raw)
        except Exception as caught:  # told to the other processes first
            error = caught
        if not multihost_utils.process_allgather(np.int32(error is None)).all():
            raise error or ValueError("another process could not read it")
        if leaves is not None:
            fingerprints.verify(state, leaves)
        return state, metadata

    restored, metadata = _read_newest(directory, read)
    return jax.tree.map(_restore_key, like, restored, is_leaf=_is_key), metadata


def load_ema_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns (params, description): the averaged weights of a training state.

    The rest of the state is not read.

    Args:
        path: folder of a run, of its checkpoints, or of one of them; of several the
            newest whole one is taken.

    Raises:
        WeightsError: there is no checkpoint, none is whole, or its description is
            missing, as in those of older versions, or refused by `load_weights`.
    """
    path = Path(path)
    if (path / "checkpoints").is_dir():
        path = path / "checkpoints"
    params, metadata = _read_newest(path, _read_ema)
    description = metadata.get("description") if isinstance(metadata, dict) else None
    if not isinstance(description, dict):
        raise WeightsError(
            f"the checkpoint in {path} must describe its network, got an older one: "
            "take the weights file of that run."
        )
    check_description(description, params, path)
    return params, description


def _skip_later(directory: Path, step: int) -> None:
    if jax.process_index() == 0:
        directory.mkdir(parents=True, exist_ok=True)
        for path in _checkpoints_in(directory):
            if int(path.name) > step:
                path.rename(path.with_name(f"{path.name}.skipped"))
    multihost_utils.sync_global_devices("skip later checkpoints")


def _make_manager(ocp: Any, directory: Path, losses: dict[int, float]) -> Any:
    # orbax's own policy fails if the metadata of one checkpoint are damaged.
    def should_preserve(states: Any, *, context: Any) -> list[bool]:
        steps = [state.step for state in states]
        known = [step for step in steps if step in losses]
        best = min(known, key=lambda step: losses[step], default=None)
        return [step in {*steps[-NUM_KEPT:], best} for step in steps]

    options = ocp.CheckpointManagerOptions(
        preservation_policy=types.SimpleNamespace(should_preserve=should_preserve),
        cleanup_tmp_directories=True,
    )
    return ocp.CheckpointManager(directory, options=options)


def _saved_losses(directory: Path) -> dict[int, float]:
    """Returns the losses of the checkpoints in a folder whose metadata hold one."""
    losses = {}
    for path in _checkpoints_in(directory):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            losses[int(path.name)] = float(_read_json(path, _METADATA)["loss"])
    return losses


def _copy(leaf: Any) -> Any:
    """Returns what the next step cannot overwrite while it is written.

    An array that each device holds whole becomes one in memory: orbax would divide it
    between the devices.
    """
    is_sharded = isinstance(leaf, jax.Array) and not leaf.is_fully_replicated
    return leaf if is_sharded else np.array(leaf)


@contextlib.contextmanager
def _as_os_error(directory: Path) -> Iterator[None]:
    """Turns whatever fails while a state is saved into an OSError of one sentence."""
    try:
        yield
    # Full disks surface as errors of orbax, of its storage or of the system.
    except Exception as error:
        raise OSError(
            f"cannot save a checkpoint in {directory}: {first_line(error)}"
        ) from error


def _checkpoints_in(directory: Path) -> list[Path]:
    """Returns the folders of checkpoints, newest first."""
    if not directory.is_dir():
        return []
    named = (path for path in directory.iterdir() if path.name.isdecimal())
    return sorted(named, key=lambda path: -int(path.name))


def _read_newest(directory: str | Path, read: Callable[[Path], Any]) -> Any:
    """Returns what `read` returns for the newest checkpoint that it can read."""
    directory = Path(directory)
    if directory.name.isdecimal() and (directory / _STATE).is_dir():
        folders = [directory]
    else:
        folders = _checkpoints_in(directory)
    if not folders:
        raise WeightsError(f"no checkpoint in {directory}.")
    _import_orbax()
    damages = []
    for folder in folders:
        try:
            _check_files(folder)
            with _patient_loops():
                found = read(folder)
        except WeightsError:
            raise
        # orbax, JSON and the array storage each have errors of their own.
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


@contextlib.contextmanager
def _patient_loops() -> Iterator[None]:
    """A context in which event loops close when what they have begun is finished.

    Where one array cannot be read, orbax raises that error and closes its loop while
    others are being read. Each of these would print a traceback, and so would each
    error that is not the first.
    """
    new = asyncio.new_event_loop

    def new_patient_loop() -> asyncio.AbstractEventLoop:
        loop = new()
        loop.set_exception_handler(lambda loop, context: None)  # of what is not awaited
        close, tell = loop.close, loop.call_soon_threadsafe

        def tell_if_open(*args: Any, **options: Any) -> Any:
            try:
                return tell(*args, **options)
            except RuntimeError:
                # Threads that read what was cancelled tell nobody.
                if not loop.is_closed():
                    raise

        def close_when_done() -> None:
            if begun := asyncio.all_tasks(loop):
                loop.run_until_complete(asyncio.wait(begun, timeout=_PATIENCE))
            close()

        loop.close = close_when_done  # type: ignore[method-assign]
        loop.call_soon_threadsafe = tell_if_open  # type: ignore[assignment]
        return loop

    asyncio.new_event_loop = new_patient_loop
    try:
        yield
    finally:
        asyncio.new_event_loop = new


def _check_files(folder: Path) -> None:
    """Raises ValueError for what is no regular file: reading might never end."""
    for path in folder.rglob("*"):
        if not (path.is_file() or path.is_dir()):
            raise ValueError(f"{path.name} is no regular file")


def _read_json(folder: Path, item: str) -> Any:
    return json.loads((folder / item / "metadata").read_text())


def _read_metadata(folder: Path) -> tuple[Any, fingerprints.Leaves | None]:
    """Returns (metadata, leaves); leaves is None in checkpoints of older versions."""
    metadata = _read_json(folder, _METADATA)
    if not (folder / _MANIFEST).exists():
        return metadata, None
    return metadata, fingerprints.open_manifest(_read_json(folder, _MANIFEST), metadata)


def _read_state(folder: Path, like: Any) -> tuple[Any, Any, fingerprints.Leaves | None]:
    """Returns (state, metadata, leaves), read by this process alone."""
    ocp, index = _import_orbax(), jax.process_index()
    metadata, leaves = _read_metadata(folder)
    if leaves is not None:
        fingerprints.check_shapes(leaves, like, folder)
    options = ocp.options.MultiprocessingOptions(
        primary_host=index, active_processes={index}, barrier_sync_key_prefix=str(index)
    )
    handler = ocp.CompositeCheckpointHandler()
    items = ocp.args.Composite(**{_STATE: ocp.args.StandardRestore(like)})
    with ocp.Checkpointer(handler, multiprocessing_options=options) as reader:
        return reader.restore(folder.resolve(), items)[_STATE], metadata, leaves


def _read_ema(folder: Path) -> tuple[dict[str, Any], Any]:
    """Returns (averaged weights, metadata)."""
    ocp = _import_orbax()
    metadata, leaves = _read_metadata(folder)
    path = folder.resolve() / _STATE
    # The structure is read from disk, because there is no network to derive it from.
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
    return read["ema_params"], metadata


def _import_orbax() -> Any:
    """Returns the module `orbax.checkpoint`; raises WeightsError without it."""
    try:
        import orbax.checkpoint as ocp
    except ImportError as error:
        raise WeightsError(
            "checkpoints need orbax, which is not installed: pip install "
            "'jdiffusion[train]'."
        ) from error
    return ocp


def _is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key."""
    return isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )


def _raw_keys(state: Any) -> Any:
    """Returns a tree with the raw data of its random keys, which storage can hold."""
    return jax.tree.map(lambda x: jax.random.key_data(x) if _is_key(x) else x, state)


def _restore_key(like: Any, value: Any) -> Any:
    if not _is_key(like):
        return value
    return jax.random.wrap_key_data(value, impl=jax.random.key_impl(like))
