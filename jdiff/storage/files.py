"""Files that appear whole or not at all.

A file is written under another name in the same folder and then renamed, so that
readers never see a partial file and an interrupted run leaves the old one as it was.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_DRAFTS: set[Path] = set()  # of this process, not yet renamed


def check_output(path: str | os.PathLike, *suffixes: str) -> Path:
    """Returns the path of a file that is about to be written.

    Call it before hours of work, not after.

    Args:
        path: the file; its folder must exist.
        *suffixes: those allowed, such as ".png"; any if none is given.

    Raises:
        ValueError: the folder does not exist, the path is a folder, or it has
            another suffix.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder.")
    if suffixes and path.suffix.lower() not in suffixes:
        allowed = " or ".join(suffixes)
        raise ValueError(f"cannot write {path}: the name must end in {allowed}.")
    return path


def user_cache() -> Path:
    """Returns jdiff's folder in the user's cache, which need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jdiff"


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Returns a context with the path of a draft, which becomes `path` at its end.

    The draft has the suffix of `path`, because some writers choose the format by it. If
    the block raises, `path` stays as it was and the draft is removed.

    Args:
        path: the file to create or replace.

    Raises:
        ValueError: see `check_output`.
        OSError: the file cannot be written.
    """
    path = check_output(path)
    # Not tempfile, whose files only their owner may read.
    draft = path.with_name(f".{secrets.token_hex(8)}{path.suffix}")
    _DRAFTS.add(draft)
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:  # Ctrl-C too
        draft.unlink(missing_ok=True)
        raise
    finally:
        _DRAFTS.discard(draft)


def discard_drafts() -> None:
    """Removes the drafts of this process, before it ends without an exception."""
    for draft in list(_DRAFTS):
        draft.unlink(missing_ok=True)
