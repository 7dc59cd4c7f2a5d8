"""A hand of one's own, and the file that keeps it.

The file holds the code of the hand, what it adds to the biases of the network, and a
digest of the model that it belongs to: for another one the same numbers are another
hand.
"""

import hashlib
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdiff import storage
from jdiff.models.pen import (
    NEATNESS,
    NUM_QUALITIES,
    Hand,
    PenModel,
    draw_hand,
    take_biases,
    take_network,
)

_KIND = "hand"
_BIASES = "biases/"  # before the modules of the network
_LARGEST = 100.0  # number of a hand; they are about N(0, 1), or smaller


def own_hand(code: Any, biases: Any = None) -> Hand:
    """Returns the hand of a code float[..., E], as it is: neither neat nor uneven."""
    shape = code.shape[:-1]
    neatness = np.full(shape, np.nan, np.float32) if shape else np.nan
    even = np.zeros((*shape, NUM_QUALITIES - 1), np.float32)
    return Hand(code, neatness, even, biases)


def digest_pen(model: PenModel) -> str:
    """Returns the SHA-256 of the network that hands belong to, in hexadecimal."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(take_network(model.params)):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape}".encode())
        digest.update(np.ascontiguousarray(leaf, np.float32).tobytes())
    return digest.hexdigest()


def save_hand(path: str | Path, hand: Hand, model: PenModel) -> None:
    """Writes a hand as a .hand file, in the format of safetensors.

    Raises:
        ValueError: the name ends otherwise, or the file cannot be written.
    """
    path = storage.check_output(path, ".hand")
    description = {"model": _KIND, "digest": digest_pen(model)}
    none = jax.tree.map(np.zeros_like, take_biases(model.params))
    storage.save_weights(path, _tree(hand.code, hand.biases or none), description)


def _tree(code: Any, biases: Any) -> dict[str, Any]:
    """Returns what a file holds."""
    own = {_BIASES + module: leaves for module, leaves in biases.items()}
    return {_KIND: {"code": code}} | own


def load_hand(path: str | Path, model: PenModel) -> Hand:
    """Returns the hand in a file, if it belongs to the model.

    Raises:
        WeightsError: the file is missing, damaged, no hand, or one of another model.
    """
    if Path(path).suffix != ".hand":
        raise storage.WeightsError(
            f"a hand must be a .hand file of `jdiff hand learn`, got {path}."
        )
    params, description = storage.load_weights(path, _KIND)
    expected = _tree(model.hands[0], take_biases(model.params))
    if description.get("digest") != digest_pen(model):
        raise storage.WeightsError(
            f"{path} must belong to the model that writes, got a hand of another one; "
            "learn it again from its sheet."
        )
    storage.check_params(params, expected, path)
    if max(np.abs(leaf).max() for leaf in jax.tree.leaves(params)) > _LARGEST:
        raise storage.WeightsError(
            f"{path} must hold numbers within {_LARGEST:g}, got larger ones."
        )
    code = params.pop(_KIND)["code"]
    biases = {name[len(_BIASES) :]: leaves for name, leaves in params.items()}
    return own_hand(code, biases)


def find_hand(
    model: PenModel,
    hand: str | Path | Hand | None,
    seed: int,
    neatness: float | None = None,
) -> Hand:
    """Returns the hand that is meant: a file's, the one given, or that of a seed.

    Neatness, in [0, 1], is by default the hand's own, or 1 of a seed.
    """
    drawn = draw_hand(model, seed, NEATNESS if neatness is None else neatness)
    if hand is None:
        return drawn
    found = hand if isinstance(hand, Hand) else load_hand(hand, model)
    return found if neatness is None else found._replace(neatness=neatness)
