"""Several processes that train as one: how they join, and how they agree.

Each runs the same program on its own devices, and all must take the same steps. So they
decide together whatever depends on a clock or a signal. One process is a group of one:
it takes the same path, at no cost.
"""

import contextlib
import glob
import importlib.util
import os
import signal
import sys
import threading
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

SECONDS_TO_JOIN = 60  # after which processes that still wait for others exit

# What clusters tell the processes that they start about how many these are. SLURM says
# so within `srun` alone: a script of `sbatch` that calls Python itself is one process.
COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")


def in_cluster() -> bool:
    """Whether a cluster has started this process as one of several, or a TPU may have.

    The machines of a TPU slice know of each other, and one alone is a slice of one.
    """
    if any(int(os.environ.get(name, 1)) > 1 for name in COUNTS):
        return True
    chips = glob.glob("/dev/accel[0-9]*") + glob.glob("/dev/vfio/[0-9]*")
    return bool(chips) and importlib.util.find_spec("libtpu") is not None


def join(coordinator, num_processes, process_id) -> None:
    """Joins this process to the others, if there are any; before all other use of JAX.

    Exits with code 2 and one sentence if one of them does not come in time.
    """
    given = (coordinator, num_processes, process_id)
    check_address(*given)
    if jax.distributed.is_initialized() or coordinator is None and not in_cluster():
        return
    who = "this process" if process_id is None else f"process {process_id}"
    where = coordinator or "the coordinator that the cluster names"
    late = f"{who} must join all others at {where} within {SECONDS_TO_JOIN} seconds"
    # JAX aborts the process when its own time is up: this is earlier, and in words.
    alarm = threading.Timer(SECONDS_TO_JOIN, exit_with, (f"{late}, got no answer.",))
    alarm.daemon = True
    alarm.start()
    try:
        timeout = 2 * SECONDS_TO_JOIN
        jax.distributed.initialize(*given, initialization_timeout=timeout)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{who} must reach {where}, got: {reason}") from error
    finally:
        alarm.cancel()
    # JAX would take note of SIGTERM and go on.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def check_address(coordinator, num_processes, process_id) -> None:
    """Raises ValueError unless the options for several processes go together."""
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError("--num-processes and --process-id need --coordinator.")
        return
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ValueError(f"--coordinator must be HOST:PORT, got {coordinator}.")
    if in_cluster() and num_processes is process_id is None:
        return
    if num_processes is None or process_id is None:
        raise ValueError("--coordinator needs --num-processes and --process-id.")
    if num_processes < 1:
        raise ValueError(f"--num-processes must be >= 1, got {num_processes}.")
    if not 0 <= process_id < num_processes:
        raise ValueError(
            f"--process-id must be in [0, {num_processes - 1}], got {process_id}."
        )


@contextlib.contextmanager
def until_one_is_lost():
    """Ends this process if another has gone: JAX and orbax would wait for it."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        exit_with(f"all processes must live, got: {str(error).splitlines()[0]}")


def exit_with(reason: str) -> None:
    """Ends the process at once, with one sentence and exit code 2.

    Its main thread may be waiting inside JAX, where no exception reaches it.
    """
    name = os.path.basename(sys.argv[0])
    print(f"\n{name}: error: {reason}", file=sys.stderr, flush=True)
    os._exit(2)


def meet() -> None:
    """Waits until every process has come here."""
    multihost_utils.sync_global_devices("meet")


def is_first() -> bool:
    """Whether it is for this process to write files and to speak."""
    return jax.process_index() == 0


@contextlib.contextmanager
def catch_signals() -> Iterator[list[int]]:
    """Yields a list to which Ctrl-C and SIGTERM add themselves until the end."""
    caught: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: caught.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def agree(stop: list[int], seconds: float) -> tuple[bool, float]:
    """Returns whether any process got a signal, and the time of the first's clock."""
    rows = multihost_utils.process_allgather(np.array([bool(stop), seconds]))
    return bool(rows[:, 0].any()), float(rows[0, 1])
