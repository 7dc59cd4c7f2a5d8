"""Weights on disk.

Weights are one safetensors file: tensors and a JSON description of the network, no
code, nothing to unpickle, readable by every framework.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdiff.storage.files import atomic_write

_FORMAT = "jdiff-1"


class WeightsError(ValueError):
    """A file that is not whole weights of this library; the message says why."""


def save_weights(
    path: str | Path, params: Mapping[str, Any], description: Mapping[str, Any]
) -> None:
    """Writes the weights of a network and what is needed to rebuild it.

    Weights are stored in float16: half the size, and a relative error of 2^-11 that
    no sample shows. Written beside and renamed, so a reader never meets half a file.

    Args:
        path: the file, usually NAME.safetensors.
        params: nested dict of arrays, as Haiku makes them.
        description: JSON-serialisable facts, e.g. {"network": "unet", ...}.

    Raises:
        ValueError: the folder does not exist, or a weight is not finite in float16.
    """
    from safetensors.numpy import save

    tensors = {}
    for module, leaves in params.items():
        for name, leaf in leaves.items():
            with np.errstate(over="ignore"):  # refused below, in words
                leaf = np.asarray(leaf).astype(np.float16)
            if not np.isfinite(leaf).all():
                raise WeightsError(
                    f"weight {module}/{name} must be finite in float16, "
                    "got NaN or a number beyond 65504."
                )
            # Not ascontiguousarray, which makes a vector of a scalar.
            tensors[f"{module}/{name}"] = leaf.copy(order="C")
    metadata = {"format": _FORMAT, "description": json.dumps(dict(description))}
    with atomic_write(path) as partial:
        Path(partial).write_bytes(save(tensors, metadata))


def load_weights(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns (params, description) of a file that `save_weights` wrote.

    Raises:
        WeightsError: there is no such file, or it is truncated, not weights at all,
            or weights of another program.
    """
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise WeightsError(f"weights must be a file, got {path}, which is not one.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"weights must be a whole safetensors file, got {path}: {error}."
        ) from error
    if metadata.get("format") != _FORMAT:
        raise WeightsError(
            f"weights must be written by jdiff (format {_FORMAT}), got {path} "
            f"with format {metadata.get('format')}."
        )
    params: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise WeightsError(f"weights must be finite, got NaN in {name} of {path}.")
        module, _, leaf = name.rpartition("/")
        params.setdefault(module, {})[leaf] = tensor.astype(np.float32)
    try:
        return params, dict(json.loads(metadata["description"]))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"weights must carry a description in JSON, got {path}: {error}."
        ) from error


def check_params(params: Mapping[str, Any], expected: Any, path: str | Path) -> None:
    """Raises WeightsError unless params has the modules and shapes of the network.

    Args:
        params: nested dict of arrays.
        expected: the tree it should be, from `jax.eval_shape` of the network's init.
        path: the file, for the message.
    """
    shapes = {
        jax.tree_util.keystr(key): leaf.shape
        for key, leaf in jax.tree_util.tree_leaves_with_path(params)
    }
    wanted = {
        jax.tree_util.keystr(key): leaf.shape
        for key, leaf in jax.tree_util.tree_leaves_with_path(expected)
    }
    check_shapes(
        shapes,
        wanted,
        f"weights must fit the network they describe, got {path} of another",
    )


def check_shapes(
    shapes: Mapping[str, tuple], wanted: Mapping[str, tuple], complaint: str
) -> None:
    """Raises WeightsError unless both name the same arrays, of the same shapes.

    Args:
        shapes: of what was read, by name.
        wanted: of what reads it.
        complaint: how the sentence begins, up to "architecture: ".
    """
    for name in sorted(shapes.keys() | wanted.keys()):
        if shapes.get(name) != wanted.get(name):
            raise WeightsError(
                f"{complaint} architecture: {name} should be {wanted.get(name)}, "
                f"is {shapes.get(name)}."
            )
