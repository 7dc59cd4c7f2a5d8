"""Fingerprints of a training state, to verify what storage returns.

The fingerprint of an array is

    sum_i mix(bits_i xor mix(i + 1))  mod 2^32                                    (1)

with the bits of entry i and the finalizer of MurmurHash3 (Appleby 2011), which maps
32 bits one to one: any change of one entry changes the sum, and a change of many goes
unseen once in 2^32. Integers add alike in any order, so the number does not depend on
how an array is divided between devices, and is computed where the array lies.
"""

import hashlib
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdiff.storage import weights

Leaves = dict[str, list]  # path in the tree -> [shape, type, fingerprint]


def fingerprint(array: Any) -> Any:
    """Returns the fingerprint of Eq. 1 of an array, uint32, wherever it lies.

    Its numbers are of up to 32 bits, or 64 in memory.
    """
    if isinstance(array, jax.Array) and not array.is_fully_replicated:
        return _of_pieces(array)
    # By NumPy, because a program for each shape would take longer to compile.
    array = np.ascontiguousarray(array).reshape(-1)
    bits = array.view(f"uint{8 * min(array.itemsize, 4)}").astype(np.uint32)
    place = np.arange(1, bits.size + 1, dtype=np.uint32)
    return np.sum(_mix(bits ^ _mix(place)), dtype=np.uint32)


@jax.jit
def _of_pieces(array: jax.Array) -> jax.Array:
    bits = array.view(f"uint{8 * array.itemsize}").astype(jnp.uint32)
    # Not ravel, which would gather an array that is divided along a later axis.
    place, stride = jnp.ones(bits.shape, jnp.uint32), 1
    for axis in reversed(range(bits.ndim)):
        index = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
        place += index * np.uint32(stride % 2**32)
        stride *= bits.shape[axis]
    return jnp.sum(_mix(bits ^ _mix(place)), dtype=jnp.uint32)


def _mix(bits: Any) -> Any:
    bits = (bits ^ (bits >> 16)) * np.uint32(0x85EBCA6B)
    bits = (bits ^ (bits >> 13)) * np.uint32(0xC2B2AE35)
    return bits ^ (bits >> 16)


def make_manifest(tree: Any, metadata: Any) -> dict[str, Any]:
    """Returns the fingerprints of a state and of its metadata, ready for JSON."""
    return _seal(_describe(tree), metadata)


def open_manifest(manifest: dict[str, Any], metadata: Any) -> Leaves:
    """Returns shape, type and fingerprint of each leaf of a manifest that is whole."""
    if manifest != _seal(manifest["leaves"], metadata):
        raise ValueError("its metadata are not what was saved")
    return manifest["leaves"]


def _seal(leaves: Leaves, metadata: Any) -> dict[str, Any]:
    text = json.dumps([leaves, metadata], sort_keys=True)
    return {"leaves": leaves, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def verify(tree: Any, leaves: Leaves) -> None:
    """Raises ValueError unless the tree, or part of it, is what was saved."""
    for name, found in _describe(tree).items():
        if found != leaves[name]:
            raise ValueError(f"{name} is not what was saved")


def check_shapes(leaves: Leaves, like: Any, path: Any) -> None:
    """Raises WeightsError, naming the path, unless like has the leaves' shapes."""
    shapes = {name: tuple(shape) for name, (shape, _, _) in leaves.items()}
    complaint = f"checkpoints must fit the network that resumes them, got {path}"
    weights.check_shapes(shapes, weights.shapes_of(like), complaint)


def _describe(tree: Any) -> Leaves:
    return {
        name: [list(leaf.shape), str(leaf.dtype), int(fingerprint(leaf))]
        for name, leaf in weights.named_leaves(tree).items()
    }
