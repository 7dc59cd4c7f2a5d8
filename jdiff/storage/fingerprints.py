"""What a training state was when it was saved, to compare with what storage returns.

The fingerprint of an array is

    sum_i mix(bits_i xor mix(i + 1))  mod 2^32                                    (1)

with the bits of entry i and the finalizer of MurmurHash3 (Appleby 2011), which maps
32 bits one to one: whatever happens to one entry changes the sum, and what happens to
many goes unseen once in 2^32. Integers add alike in any order, so it is the same number
however an array is cut between devices, and is computed where the array lies.
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
    """Returns the fingerprint of Eq. 1 of an array, uint32.

    Args:
        array: of any shape, of numbers of up to 32 bits, or 64 in memory. One that is
            cut between devices is not put together for it.
    """
    if isinstance(array, jax.Array) and not array.is_fully_replicated:
        return _of_pieces(array)
    # What memory holds is read there: a program for each shape takes longer to compile.
    array = np.ascontiguousarray(array).reshape(-1)
    bits = array.view(f"uint{8 * min(array.itemsize, 4)}").astype(np.uint32)
    place = np.arange(1, bits.size + 1, dtype=np.uint32)
    return np.sum(_mix(bits ^ _mix(place)), dtype=np.uint32)


@jax.jit
def _of_pieces(array: jax.Array) -> jax.Array:
    bits = array.view(f"uint{8 * array.itemsize}").astype(jnp.uint32)
    # Not ravel: an array cut along another axis than its first would be put together.
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


def make_manifest(tree: Any, facts: Any) -> dict[str, Any]:
    """Returns, JSON-serialisable, what is needed to know a state and its facts again.

    Args:
        tree: of arrays; they may lie on many devices, of several processes.
        facts: JSON-serialisable.
    """
    return _sealed(_describe(tree), facts)


def open_manifest(manifest: dict[str, Any], facts: Any) -> Leaves:
    """Returns what a manifest says of the leaves.

    Raises:
        ValueError: manifest or facts are not what was saved.
    """
    if manifest != _sealed(manifest["leaves"], facts):
        raise ValueError("its facts are not what was saved")
    return manifest["leaves"]


def _sealed(leaves: Leaves, facts: Any) -> dict[str, Any]:
    text = json.dumps([leaves, facts], sort_keys=True)
    return {"leaves": leaves, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def verify(tree: Any, leaves: Leaves) -> None:
    """Raises ValueError unless the tree, or part of it, is what was saved."""
    for name, found in _describe(tree).items():
        if found != leaves[name]:
            raise ValueError(f"{name} is not what was saved")


def check_shapes(leaves: Leaves, like: Any, path: Any) -> None:
    """Raises WeightsError, naming the path, unless like has the leaves' shapes."""
    shapes = {name: tuple(shape) for name, (shape, _, _) in leaves.items()}
    wanted = {name: leaf.shape for name, leaf in _named(like).items()}
    weights.check_shapes(
        shapes,
        wanted,
        f"the checkpoint {path} must fit the network that resumes it, got another",
    )


def _named(tree: Any) -> dict[str, Any]:
    """Returns the leaves by paths, a/b/c, alike for dicts and NamedTuples."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = jax.tree_util.keystr
    return {name(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _describe(tree: Any) -> Leaves:
    return {
        name: [list(leaf.shape), str(leaf.dtype), int(fingerprint(leaf))]
        for name, leaf in _named(tree).items()
    }
