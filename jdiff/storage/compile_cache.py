"""Compiled programs, kept for the next process.

Half of what a command takes is compilation. JAX can keep its results in a folder; here
that is one in the user's cache, with a limit. What they depend on (program, versions of
JAX and XLA, the machine's features) is in their names, so an old one is never mistaken
for a new one.
"""

import os

from jdiff.storage.files import user_cache

LIMIT = 64 * 2**20  # bytes; a program takes a few hundred thousand


def enable_compile_cache() -> None:
    """Makes JAX keep compiled programs in the user's cache, the latest 64 MB of them.

    To be called before the first computation. Does nothing where the user has told JAX
    of a folder (JAX_COMPILATION_CACHE_DIR), wants none (JAX_ENABLE_COMPILATION_CACHE
    is false), or has a cache that cannot be written.
    """
    import jax

    # By name, for the types of older JAX do not know it.
    if getattr(jax.config, "jax_compilation_cache_dir", None) is not None:
        return
    folder = user_cache() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", LIMIT)
    # By default only what compiles for a second is kept.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
