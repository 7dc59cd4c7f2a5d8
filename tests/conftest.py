"""Settings of the whole test session."""

import jax
from hypothesis import settings

# [B] + [B, 1] is a bug more often than a wish.
jax.config.update("jax_numpy_rank_promotion", "raise")

# The first example compiles, so time per example means nothing.
settings.register_profile("jdiff", deadline=None, max_examples=30, derandomize=True)
settings.load_profile("jdiff")
