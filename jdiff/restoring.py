"""Training states from disk: to go on with, or as weights.

Every array is compared with the fingerprint of what was saved: a state that differs in
one bit is skipped, with a warning, for the one before it.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdiff import manifests
from jdiff.checkpoints import WeightsError
from jdiff.states import first_line, import_orbax, is_key, raw_keys, states_in


def restore_state(directory: str | Path, like: Any) -> tuple[Any, Any]:
    """Returns (state, facts) of the newest whole checkpoint in a folder.

    A damaged one is skipped, with a warning that says why. Nothing is changed on disk.

    Args:
        directory: folder that `save_state` or `keep_states` wrote.
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
            manifests.verify(state, leaves)
        return state, facts

    restored, facts = _newest(directory, read)
    return jax.tree.map(_restore_key, like, restored, is_leaf=is_key), facts


def load_average(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
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


def _read_facts(folder: Path) -> tuple[Any, manifests.Leaves | None]:
    """Returns (facts, leaves); leaves is None in states of older versions."""
    ocp = import_orbax()
    names = ["facts", "manifest"] if (folder / "manifest").exists() else ["facts"]
    wanted = {name: ocp.args.JsonRestore() for name in names}
    with _reader() as reader:
        read = reader.restore(folder.resolve(), ocp.args.Composite(**wanted))
    if "manifest" not in names:
        return read["facts"], None
    return read["facts"], manifests.open_manifest(read["manifest"], read["facts"])


def _read_state(folder: Path, like: Any) -> tuple[Any, Any, manifests.Leaves | None]:
    """Returns (state, facts, leaves)."""
    ocp = import_orbax()
    facts, leaves = _read_facts(folder)
    if leaves is not None:
        manifests.check_shapes(leaves, like, folder)
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
        manifests.verify(read, leaves)
    return read["ema_params"], facts


def _on_all_processes(is_well: bool) -> bool:
    from jax.experimental import multihost_utils

    return bool(multihost_utils.process_allgather(np.int32(is_well)).all())


def _restore_key(like: Any, value: Any) -> Any:
    if not is_key(like):
        return value
    return jax.random.wrap_key_data(value, impl=jax.random.key_impl(like))
