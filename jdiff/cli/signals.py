"""Ctrl-C and SIGTERM end the command at once, wherever it is.

Python runs a signal's handler in the main thread, between two instructions: not while
XLA compiles or computes. And the exception that it raises may come in the middle of an
import, or be swallowed by the library that is running. So a thread of its own waits
for signals and ends the process.
"""

import atexit
import os
import signal
import sys
import threading
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_is_done = False


def exit_on_signals() -> None:
    """Makes Ctrl-C exit with code 130 and SIGTERM with 143, and leave no drafts.

    Call it before anything that takes time to import. Handlers that are set later,
    such as those of a training loop, take precedence.
    """
    read, write = os.pipe()
    os.set_blocking(write, False)
    # Python writes the number of each signal there, whatever the main thread does.
    signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, _exit)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_reset)
    threading.Thread(target=_watch, args=(read,), daemon=True).start()
    atexit.register(_leave)  # first, so it is the last that runs


def _watch(read: int) -> None:
    while True:
        (number,) = os.read(read, 1)
        if signal.getsignal(number) is _exit:
            _exit(number, None)


def _exit(number: int, frame: FrameType | None) -> None:
    storage = sys.modules.get("jdiff.storage")
    discard = getattr(storage, "discard_drafts", None)  # not while it is imported
    if discard is not None:
        discard()
    os._exit(128 + number)


def leave_at_once() -> None:
    """Has the process end with code 0, without taking its modules apart.

    Call it when all is written. That would last a quarter of a second. What modules
    have registered for the exit is done before.
    """
    global _is_done
    _is_done = True


def _leave() -> None:
    """Lets Python shut down in peace: the work is done, and it resets its handlers."""
    for number in _SIGNALS:
        if signal.getsignal(number) is _exit:
            signal.signal(number, signal.SIG_IGN)
    if _is_done:
        sys.stderr.flush()
        os._exit(0)


def _reset() -> None:
    """Gives a forked process its own signals back: the pipe is its parent's."""
    signal.set_wakeup_fd(-1)
    for number in _SIGNALS:
        if signal.getsignal(number) is _exit:
            signal.signal(number, signal.SIG_DFL)
