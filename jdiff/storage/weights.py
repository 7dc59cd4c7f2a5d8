"""Weights on disk: one safetensors file of tensors and a JSON description.

The file holds no code and nothing to unpickle, and every framework can read it. It is
checked here, before anything is built of it: `load_weights` bounds the numbers of the
description that decide work and memory, `check_params` compares every tensor with what
the described network has. Files carry a check sum, because a flipped bit of a finite
weight would draw another letter; files of older versions have none.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdiff.storage.arrays import reading
from jdiff.storage.files import atomic_write

WEIGHTS_NAME = "weights.safetensors"  # in the folder of a run
_FORMAT = "jdiff-1"
_MAX_SIDE = 1024  # pixels: the cost of tracing a network grows with the image
_MAX_STEPS = 100_000  # as in jdiff.checks
_MAX_GUIDANCE = 1000.0
_WIDTHS = ["num_channels", "num_features", "num_latents", "num_conditions", "widths"]
_WIDTHS += ["judge_features", "num_classes"]


class WeightsError(ValueError):
    """A file that is not whole weights of this library; the message says why."""


def save_weights(
    path: str | Path, params: Mapping[str, Any], description: Mapping[str, Any]
) -> None:
    """Writes the weights of a network and what is needed to rebuild it.

    Weights are stored in float16: half the size, and a relative error of 2^-11 that
    no sample shows. The file appears whole, so readers never see a partial one.

    Args:
        path: the file, usually NAME.safetensors.
        params: nested dict of arrays, as Haiku makes them.
        description: JSON-serialisable, e.g. {"num_channels": 64, ...}.

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
    text = json.dumps(dict(description))
    metadata = {"format": _FORMAT, "description": text}
    metadata["sha256"] = _check_sum(tensors, text)
    with atomic_write(path) as draft:
        draft.write_bytes(save(tensors, metadata))


def find_weights(path: str | Path) -> Path:
    """Returns the weights in the folder of a run, if path is one; else path."""
    path = Path(path)
    return path / WEIGHTS_NAME if (path / WEIGHTS_NAME).is_file() else path


def load_weights(
    path: str | Path, model: str | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns (params, description) of a file that `save_weights` wrote.

    Args:
        path: of the file, or of the folder of a run that holds one.
        model: what the description must say that it is; by default anything.

    Raises:
        WeightsError: there is no such file, it is truncated, damaged, not weights, or
            weights of another program; a tensor is not finite; or the description is
            not JSON, of another model, or holds what `check_description` refuses.
    """
    from safetensors import safe_open

    path = find_weights(path)
    if not path.is_file():
        raise WeightsError(f"weights must be a file, got {path}, which is not one.")
    with (
        reading(path, "a whole safetensors file", WeightsError),
        safe_open(path, framework="numpy") as file,
    ):
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    if metadata.get("format") != _FORMAT:
        raise WeightsError(
            f"weights must be written by jdiff (format {_FORMAT}), got {path} "
            f"with format {metadata.get('format')}."
        )
    text = metadata.get("description", "")
    if metadata.get("sha256", known := _check_sum(tensors, text)) != known:
        raise WeightsError(f"weights must be as they were saved, got {path} damaged.")
    params: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if tensor.dtype.kind != "f":
            raise WeightsError(
                f"weights must be floats, got {tensor.dtype} in {name} of {path}."
            )
        if not np.isfinite(tensor).all():
            raise WeightsError(f"weights must be finite, got NaN in {name} of {path}.")
        module, _, leaf = name.rpartition("/")
        params.setdefault(module, {})[leaf] = tensor.astype(np.float32)
    with reading(path, "weights with a description in JSON", WeightsError):
        description = dict(json.loads(text))
    if model is not None and description.get("model") != model:
        raise WeightsError(
            f"weights must be of the model {model!r}, got "
            f"{description.get('model')!r:.40} in {path}."
        )
    check_description(description, params, path)
    return params, description


def _check_sum(tensors: Mapping[str, np.ndarray], text: str) -> str:
    """Returns the SHA-256 of tensors and description, in hexadecimal."""
    digest = hashlib.sha256(text.encode(errors="replace"))
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tensor.shape}".encode(errors="replace"))
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.hexdigest()


def check_description(
    description: Mapping[str, Any], params: Any, path: str | Path
) -> None:
    """Raises WeightsError if a number of a description asks for too much work.

    A network has at most as many layers as tensors, and each is at most as wide as the
    network has weights. The sides of an image, the steps of a schedule and the scale of
    guidance have fixed limits. No class stands twice.
    """
    leaves = jax.tree.leaves(params)
    num_weights = sum(math.prod(leaf.shape) for leaf in leaves)
    bounds = {
        "num_blocks": (0, len(leaves)),
        "num_layers": (1, len(leaves)),
        "num_levels": (1, len(leaves)),
        "num_steps": (1, _MAX_STEPS),
        "guidance_last": (0, _MAX_STEPS),
        "num_tones": (2, num_weights),
        "image_shape": (1, _MAX_SIDE),
        **{name: (1, num_weights) for name in _WIDTHS},
    }
    for name, (low, high) in bounds.items():
        sizes = description.get(name, low)
        for size in sizes if isinstance(sizes, list | tuple) else [sizes]:
            if type(size) is not int or not low <= size <= high:
                raise WeightsError(
                    f"{name} must be in [{low}, {high}] for these weights, "
                    f"got {size!r:.40} in {path}."
                )
    for name in ("chars", "classes"):
        chars = description.get(name, "a")
        is_known = isinstance(chars, str | list)
        is_known = is_known and all(isinstance(char, str) for char in chars)
        if not is_known or not chars or len(set(chars)) < len(chars):
            raise WeightsError(
                f"{name} must be distinct characters or names, got {chars!r:.80} in "
                f"{path}."
            )
    guidance = description.get("guidance", 0.0)
    if type(guidance) not in (int, float) or not 0.0 <= guidance <= _MAX_GUIDANCE:
        raise WeightsError(
            f"guidance must be in [0, {_MAX_GUIDANCE:g}], got {guidance!r:.40} in "
            f"{path}."
        )


def check_params(params: Mapping[str, Any], expected: Any, path: str | Path) -> None:
    """Raises WeightsError unless params has the modules and shapes of the network.

    Args:
        params: nested dict of arrays.
        expected: the tree it should be, from `jax.eval_shape` of the network's init.
        path: the file, for the message.
    """
    complaint = f"weights must fit the network they describe, got {path}"
    check_shapes(shapes_of(params), shapes_of(expected), complaint)


def check_shapes(
    shapes: Mapping[str, tuple], expected: Mapping[str, tuple], complaint: str
) -> None:
    """Raises WeightsError, which begins so, unless both name arrays of equal shapes."""
    for name in sorted(shapes.keys() | expected.keys()):
        if shapes.get(name) != expected.get(name):
            raise WeightsError(
                f"{complaint} of another architecture: {name} should be "
                f"{expected.get(name)}, is {shapes.get(name)}."
            )


def named_leaves(tree: Any) -> dict[str, Any]:
    """Returns the leaves by path, a/b/c, the same for dicts and NamedTuples."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    name = jax.tree_util.keystr
    return {name(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def shapes_of(tree: Any) -> dict[str, tuple]:
    """Returns the shapes of the leaves, by their paths."""
    return {name: leaf.shape for name, leaf in named_leaves(tree).items()}
