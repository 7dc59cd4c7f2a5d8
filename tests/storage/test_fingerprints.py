"""Laws of fingerprints. Those of arrays in pieces are in test_processes.py."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdiff.storage import fingerprints
from jdiff.storage.fingerprints import fingerprint

ARRAYS = [
    np.linspace(-1.0, 1.0, 24, dtype=np.float32).reshape(2, 3, 4),
    np.arange(24, dtype=np.int32),
    np.arange(24, dtype=np.uint8).reshape(4, 6),
    np.linspace(0.0, 9.0, 24).astype(np.float16),
    np.linspace(0.0, 9.0, 24),
    np.arange(24) % 3 == 0,
]


@given(st.sampled_from(ARRAYS), st.integers(0, 23), st.data())
def test_every_bit_counts(array, place, data):
    bit = data.draw(st.integers(0, 8 * array.itemsize - 1))
    changed = array.copy()
    changed.reshape(-1).view(f"uint{8 * array.itemsize}")[place] ^= 1 << bit
    assert fingerprint(array) != fingerprint(changed)


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: str(array.dtype))
def test_the_place_of_an_entry_counts_and_the_shape_does_not(array):
    flat = array.reshape(-1)
    assert fingerprint(array) == fingerprint(flat) != fingerprint(flat[::-1])
    assert fingerprint(flat[:0]) == 0


@pytest.mark.parametrize("array", ARRAYS[:4], ids=lambda array: str(array.dtype))
def test_it_is_the_same_number_in_pieces_on_devices(array):
    assert fingerprints._of_pieces(array) == fingerprint(array)
