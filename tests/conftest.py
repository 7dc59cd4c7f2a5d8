"""Settings of the whole test session."""

import os
import tempfile

# Tests start many processes that compile the same programs: a cache halves the time.
CACHE = tempfile.TemporaryDirectory(prefix="jdiff-tests-")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE.name)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
# Most of them compile more than they compute. CI runs them as users compile, too.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# Workers share the cores already; more threads than cores make LAPACK erratic.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax  # noqa: E402, which reads the environment
from hypothesis import settings  # noqa: E402

# [B] + [B, 1] is a bug more often than a wish.
jax.config.update("jax_numpy_rank_promotion", "raise")

# The first example compiles, so time per example means nothing.
settings.register_profile("jdiff", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("jdiff")
