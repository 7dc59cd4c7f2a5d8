"""What is tried: an area is good files, and a way to spoil and use them.

Each function `try_...` takes an empty folder, writes good inputs to it, and returns
`attempt(random)`, which spoils one and hands it to jdiff. A good attempt returns, or
raises what the command line says in one sentence; `Wrong` means that what was read is
not what was written.
"""

import contextlib
import logging
import random
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

from calls import try_numbers, try_pages
from command_lines import try_commands, try_resume, try_training
from data_files import try_folder, try_idx, try_npz, try_zip
from hand_files import try_hand, try_photos
from pen_files import try_strokes, try_unipen
from spoil import Wrong
from weight_files import try_checkpoints, try_weights

Attempt = Callable[[random.Random], None]

AREAS: dict[str, Callable[[Path], Attempt]] = {
    "commands": try_commands,
    "training": try_training,
    "resume": try_resume,
    "numbers": try_numbers,
    "pages": try_pages,
    "weights": try_weights,
    "checkpoints": try_checkpoints,
    "npz": try_npz,
    "strokes": try_strokes,
    "unipen": try_unipen,
    "hand": try_hand,
    "photos": try_photos,
    "idx": try_idx,
    "zip": try_zip,
    "folder": try_folder,
}


@contextlib.contextmanager
def heard(printed: list[str]) -> Iterator[None]:
    """A context that lists errors for which Python would only print a traceback.

    They happen in threads, in callbacks and while objects are deleted, or are logged.
    """

    def hook(*error):
        printed.append(str(error))

    ear = logging.Handler(logging.ERROR)
    ear.emit = lambda record: hook(record.getMessage())
    with (
        mock.patch.object(logging.root, "handlers", [ear]),
        mock.patch.object(sys, "excepthook", hook),
        mock.patch.object(sys, "unraisablehook", hook),
        mock.patch.object(threading, "excepthook", hook),
    ):
        yield


def judge(area: str, seed: int, number: int, attempt: Attempt, folder: Path) -> str:
    """Returns the verdict on one input; an error that nobody foresaw is printed.

    Seed, area and number decide the input.
    """
    verdict, printed = "accepted", []
    try:
        with heard(printed):
            attempt(random.Random(f"{seed} {area} {number}"))
    except (ValueError, OSError):
        verdict = "refused"
    except Wrong:
        verdict = "wrong"
        traceback.print_exc()
    except BaseException:
        verdict = "traceback"
        traceback.print_exc()
    if printed:
        verdict = "traceback"
        print(*printed, file=sys.stderr)
    for draft in folder.rglob(".jdiff-*"):
        verdict = "draft"
        draft.unlink()
    return verdict
