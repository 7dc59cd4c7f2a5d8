"""Compiled programs, kept for the next process.

Half of what a command takes is compilation. JAX can keep compiled programs in a folder;
here it is one in the user's cache, with a limit. The name of a program is a hash of all
that it depends on (its text, the versions of JAX and XLA, the machine's features), so
an old one is never taken for a new one.
"""

import os
import warnings

from jdiff.storage.files import user_cache

LIMIT = 64 * 2**20  # bytes; a program takes some 300,000
LOCK_NAME, LOCK_SECONDS = ".lockfile", 2.0  # the former is JAX's


def enable_compile_cache() -> None:
    """Makes JAX keep compiled programs in the user's cache, the latest 64 MB of them.

    Call it before the first computation. It does nothing where the user has named a
    folder (JAX_COMPILATION_CACHE_DIR), wants none (JAX_ENABLE_COMPILATION_CACHE is
    false), or has a cache that cannot be written. It warns and does nothing where
    another process keeps the cache locked: JAX would wait ten seconds at each program.
    """
    import filelock
    import jax

    # By name, for the types of older JAX do not know it.
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    try:
        folder = user_cache() / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError):
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    try:
        with filelock.FileLock(folder / LOCK_NAME).acquire(timeout=LOCK_SECONDS):
            pass
    except (filelock.Timeout, OSError):
        warnings.warn(
            f"the cache of compiled programs is locked ({folder / LOCK_NAME}): "
            "this process compiles anew.",
            stacklevel=2,
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", LIMIT)
    # By default JAX keeps only what takes a second to compile.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
