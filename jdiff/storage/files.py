"""Files that appear whole or not at all.

A file is written under another name in the same folder and then renamed, so that
readers never see a partial file and an interrupted run leaves the old one as it was.
That name tells whose draft it is: the next write into the folder removes the drafts of
processes that were killed.
"""

import contextlib
import os
import platform
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

_DRAFTS: set[Path] = set()  # of this process, not yet renamed
_PROBE = bytes(2**16)  # written and removed, to see whether a folder takes a file


def expand(path: str | os.PathLike) -> Path:
    """Returns a path with ~ and ~USER in full.

    Raises:
        ValueError: the user has no home, or the path holds a null character.
    """
    if "\0" in os.fspath(path):
        raise ValueError(f"a path must hold no null character, got {str(path)!r}.")
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f"a path with ~ must be that of a user with a home, got {str(path)!r}."
        ) from error


def check_output(path: str | os.PathLike, *suffixes: str) -> Path:
    """Returns the path of a file that is about to be written.

    Call it before hours of work, not after: a small file is written there and removed.

    Args:
        path: the file; its folder must exist.
        *suffixes: those allowed, such as ".png"; any if none is given.

    Raises:
        ValueError: the folder does not exist, the path is a folder, or it has
            another suffix.
        OSError: the folder cannot be written, or its disk has no 64 KB left. One that
            has these, and not enough, fails later, when the file is written.
    """
    path = _check_path(path, suffixes)
    draft = _draft_of(path)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # a name that is too long raises
        draft.write_bytes(_PROBE)
    except OSError as error:
        raise OSError(f"cannot write {path}: {error.strerror}.") from error
    finally:
        discard_drafts(draft)
    return path


def _check_path(path: str | os.PathLike, suffixes: tuple[str, ...] = ()) -> Path:
    path = expand(path)
    if not path.parent.is_dir():
        raise ValueError(f"cannot write {path}: there is no folder {path.parent}.")
    if path.is_dir():
        raise ValueError(f"cannot write {path}: it is a folder.")
    if suffixes and path.suffix.lower() not in suffixes:
        allowed = " or ".join(suffixes)
        raise ValueError(f"cannot write {path}: the name must end in {allowed}.")
    return path


def user_cache() -> Path:
    """Returns jdiff's folder in the user's cache, which need not exist.

    Raises:
        ValueError: the user has no home.
    """
    return expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "jdiff"


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
    path = _check_path(path)
    _remove_abandoned(path.parent)
    draft = _draft_of(path)
    try:
        yield draft
        os.replace(draft, path)
    finally:  # after Ctrl-C, too
        discard_drafts(draft)


def discard_drafts(*drafts: Path) -> None:
    """Removes drafts; by default all of this process, before it ends at once."""
    for draft in drafts or list(_DRAFTS):
        with contextlib.suppress(OSError):
            draft.unlink()
        _DRAFTS.discard(draft)


def _draft_of(path: Path) -> Path:
    # Not tempfile, whose files only their owner may read.
    name = f"{_prefix()}{os.getpid()}-{secrets.token_hex(4)}{path.suffix}"
    _DRAFTS.add(draft := path.with_name(name))
    return draft


def _prefix() -> str:
    """Returns how the names of drafts begin on this machine: others share folders."""
    return f".jdiff-{zlib.crc32(platform.node().encode()):08x}-"


def _remove_abandoned(folder: Path) -> None:
    """Removes drafts of this machine whose process is gone."""
    for draft in folder.glob(f"{_prefix()}*"):
        pid = draft.name.removeprefix(_prefix()).partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            with contextlib.suppress(OSError):
                draft.unlink()


def _is_alive(pid: int) -> bool:
    if os.name != "posix":  # there, asking would end it
        return True
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's
        pass
    return True
