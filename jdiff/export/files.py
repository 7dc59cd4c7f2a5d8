"""A model as files: its networks as ONNX graphs, and the rest as JSON.

    model.onnx          (x_t, log_snr, label, style) -> output
    model.few.onnx      the same, distilled to 1 to 4 steps       models of strokes
    model.grad.onnx     (x_t, log_snr, label, style, target)      models of strokes
                        -> gradient of the loss by the style
    model.judge.onnx    x_0 -> logits of the classes              models of strokes
    model.decoder.onnx  z -> image in [-1, 1]                     models of latents
    model.json          schedule, classes, hands: what else a sampler needs

All graphs have a batch axis and are float32 inside. A style that is not known is NaN.
The weights of model.grad.onnx lie in model.onnx: ONNX calls that external data.
"""

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import models, storage
from jdiff.export.graph import share_weights, to_onnx
from jdiff.handwriting import NUM_POINTS, STYLES
from jdiff.networks import Condition

FORMAT = "jdiff-export-1"
NUM_SEEDS = 1000  # of hands that other programs can draw without NumPy's generator

_NUMBER = jax.ShapeDtypeStruct((), jnp.float32)
_LABEL = jax.ShapeDtypeStruct((), jnp.int32)


def export(path: str | Path, model: models.Model | models.PenModel) -> list[Path]:
    """Writes a model as ONNX and JSON, and returns the files.

    Args:
        path: of the first graph, F.onnx; the names of the others begin likewise.
        model: of pen strokes, or of latents.

    Raises:
        ValueError: the model is of another kind, or the folder does not exist.
    """
    path = storage.check_output(path, ".onnx")
    if isinstance(model, models.PenModel):
        graphs, facts = _pen_graphs(model), _pen_facts(model)
    elif model.latent_shape is not None and model.decode is not None:
        graphs, facts = _latent_graphs(model), _latent_facts(model)
    else:
        raise ValueError("the model must be of strokes or latents, to be exported.")
    files = {name: path.with_suffix(f".{name}.onnx") for name in graphs}
    files["network"] = path
    written = {name: graph.SerializeToString() for name, graph in graphs.items()}
    if "grad" in graphs:
        share_weights(graphs["grad"], written["network"], path.name)
        written["grad"] = graphs["grad"].SerializeToString()
    for name in graphs:
        with storage.atomic_write(files[name]) as draft:
            draft.write_bytes(written[name])
    facts |= _common_facts(model)
    facts["files"] = {name: files[name].name for name in graphs}
    # Last: where it is, all is.
    with storage.atomic_write(path.with_suffix(".json")) as draft:
        draft.write_text(json.dumps(facts, separators=(",", ":")))
    return [*(files[name] for name in graphs), path.with_suffix(".json")]


def _network(model: Any, params: Any, shape: tuple, num_styles: int) -> Any:
    """Returns the graph of a conditional network."""

    def network(x_t, log_snr, label, style=None):
        condition = label[None]
        if style is not None:
            condition = Condition(condition, style[None])
        return model.apply(params, x_t[None], log_snr[None], condition)[0]

    inputs = {"x_t": jax.ShapeDtypeStruct(shape, jnp.float32), "log_snr": _NUMBER}
    inputs["label"] = _LABEL
    if num_styles:
        inputs["style"] = jax.ShapeDtypeStruct((num_styles,), jnp.float32)
    return to_onnx(network, inputs, "output")


def _pen_graphs(model: models.PenModel) -> dict[str, Any]:
    num_styles = model.hands.shape[1] + models.NUM_QUALITIES
    x_0 = jax.ShapeDtypeStruct((NUM_POINTS, 3), jnp.float32)

    def judge(x_0):
        return model.judge(model.params, x_0[None])[0]

    graphs = {"network": model.params}
    if model.few:
        graphs["few"] = model.few
    return {
        name: _network(model, params, x_0.shape, num_styles)
        for name, params in graphs.items()
    } | {
        "grad": _gradient(model, x_0, num_styles),
        "judge": to_onnx(judge, {"x_0": x_0}, "logits"),
    }


def _gradient(model: models.PenModel, x_0: Any, num_styles: int) -> Any:
    """Returns the graph of the gradient of one character's loss by its style."""

    def gradient(x_t, log_snr, label, style, target):
        def loss(style):
            condition = Condition(label[None], style[None])
            output = model.apply(model.params, x_t[None], log_snr[None], condition)
            return jnp.mean(jnp.square(output[0] - target))

        return jax.grad(loss)(style)

    style = jax.ShapeDtypeStruct((num_styles,), jnp.float32)
    inputs = {"x_t": x_0, "log_snr": _NUMBER, "label": _LABEL, "style": style}
    return to_onnx(gradient, inputs | {"target": x_0}, "gradient")


def _latent_graphs(model: Any) -> dict[str, Any]:
    z = jax.ShapeDtypeStruct(model.latent_shape, jnp.float32)
    num_styles = len(STYLES) if model.has_style else 0

    def decode(z):
        return jnp.clip(model.decode(model.params, z), -1.0, 1.0)

    return {
        "network": _network(model, model.params, z.shape, num_styles),
        "decoder": to_onnx(decode, {"z": z}, "image"),
    }


def _common_facts(model: Any) -> dict[str, Any]:
    predictions = models.PREDICTIONS.items()
    return {
        "format": FORMAT,
        "classes": model.classes,
        "prediction": next(k for k, v in predictions if v is model.prediction),
        "alpha": _numbers(model.schedule.alpha),
        "sigma": _numbers(model.schedule.sigma),
        "guidance": model.guidance,
    }


def _latent_facts(model: models.Model) -> dict[str, Any]:
    return {
        "kind": "latent",
        "styles": STYLES if model.has_style else [],
        "image_shape": model.shape,
        "distilled": model.distilled,
    }


def _pen_facts(model: models.PenModel) -> dict[str, Any]:
    """Returns hands and spacing; `seeds` says what `models.draw_hand` draws.

    Row [a, b, f] of seeds: the hand (1 - f) hands[i + a] + f hands[i + b], where i is
    (1 - neatness) last_hand, rounded half to even.
    """
    marked = model._replace(hands=np.eye(len(model.hands)))
    last = models.draw_hand(marked, 0, 0.0).code
    first = models.draw_hand(marked, 0, 1.0).code
    return {
        "kind": "pen",
        "digest": models.digest_pen(model),
        "hands": list(map(_numbers, model.hands)),
        "sides": list(map(_numbers, model.sides)),
        "seeds": [_mixture(marked, seed) for seed in range(NUM_SEEDS)],
        "last_hand": int(last.argmax() - first.argmax()),
        "num_draws": models.NUM_DRAWS,
    }


def _mixture(marked: models.PenModel, seed: int) -> list[float]:
    """Returns which two of the neatest hands a seed mixes, and its part of the second.

    Args:
        marked: a model whose hand k is the unit vector of axis k.
        seed: of the hand.
    """
    parts = models.draw_hand(marked, seed).code
    pair = np.flatnonzero(parts)
    a, b = pair[0], pair[-1]
    return [int(a), int(b), 1.0 - float(f"{parts[a]:.9g}")]


def _numbers(array: Any) -> list[float]:
    """Returns float32 numbers in as few digits as tell them apart."""
    return [float(f"{number:.9g}") for number in np.asarray(array, np.float32)]
