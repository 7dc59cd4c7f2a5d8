"""A trained model in one value: network, weights, schedule, prediction, classes."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np

from jdiff import closed_form, diffusion, schedules, storage
from jdiff.handwriting import STYLES
from jdiff.models import autoencoders
from jdiff.networks import Condition, make_residual_mlp, make_unet
from jdiff.sampling import Denoiser, make_denoiser

# Weights that ship: a UNet of pixels; diffusion of latents, which writes all printable
# ASCII in a style, and the same distilled to 1 to 4 steps; mixtures of Gaussians.
SHIPPED = {
    name: Path(__file__).parents[1] / "weights" / f"{name}_emnist.safetensors"
    for name in ("unet", "latent", "distilled", "mixture")
}

# By their names in weights files and on the command line.
PREDICTIONS = {
    "eps": diffusion.PREDICT_EPS,
    "x_0": diffusion.PREDICT_X_0,
    "v": diffusion.PREDICT_V,
    "score": diffusion.PREDICT_SCORE,
    "flow": diffusion.PREDICT_FLOW,
}
SCHEDULES = {
    "linear": schedules.linear_schedule,
    "cosine": schedules.cosine_schedule,
    "quadratic": schedules.quadratic_schedule,
    "sigmoid": schedules.sigmoid_schedule,
    "flow": schedules.flow_schedule,
    "karras": schedules.karras_schedule,
}

MAX_FEW_STEPS = 4  # that distilled weights are for


class Model(NamedTuple):
    """A trained model of images, series or points.

    Attributes:
        apply: (params, x_t [B, ...], log_snr [B], label [B]) -> output.
        params: the weights, and what `decode` needs.
        schedule: the path it was trained on.
        prediction: what the output is.
        classes: classes[k] is what label k stands for, a character or, in a tuple, a
            name; len(classes) is the null label. Empty for a model without labels.
        shape: of one example: (H, W, C), (L, C) or (D,).
        has_null: whether the network knows the null label, so that it can be guided.
        distilled: whether the network sees the end of a path from anywhere on it, so
            that `consistency` is the only solver for it.
        latent_shape: of what is diffused in place of an example; None if it is itself.
        decode: (params, x) -> the example, if something else is diffused, such as
            latents or standardised points.
        has_style: whether the network takes a `Condition`, label and style, for label.
        guidance: the default scale of guidance; unused without a null label.
        guidance_last: the latest step that a scale above 1 exaggerates (see
            `guide_interval`), in [0, T]; None for T.
    """

    apply: Callable[..., jax.Array]
    params: Any
    schedule: schedules.Schedule
    prediction: diffusion.Prediction
    classes: str | tuple[str, ...]
    shape: tuple[int, ...]
    has_null: bool = True
    distilled: bool = False
    latent_shape: tuple[int, ...] | None = None
    decode: Callable[[Any, jax.Array], jax.Array] | None = None
    has_style: bool = False
    guidance: float = 2.0
    guidance_last: int | None = None


def make_condition(model: Model, label: Any, style: Any = None) -> Any:
    """Returns what the model's network takes for a label.

    Args:
        model: from `load_model`.
        label: int[...]; len(model.classes) is "any".
        style: float[..., 4], for a model with styles; NaN, for a number or for all, is
            "any".
    """
    if not model.has_style:
        return label
    if style is None:
        style = np.full((*np.shape(label), len(STYLES)), np.nan, np.float32)
    return Condition(label, style)


def denoiser(
    model: Model, label: Any, style: Any = None, clip: float | None = None
) -> Denoiser:
    """Returns the model as a denoiser (x_t, t) -> x_0 of one example.

    Args:
        model: from `load_model`.
        label: scalar int in [0, len(model.classes)]; None is "any", the null label.
        style: float[4], for a model with styles; None or NaN is "any".
        clip: the estimate is clipped to [-clip, clip]. By default it is not: latents
            have no bounds, and images are clipped after guidance, by `clip_x_0`.

    Raises:
        ValueError: the label is outside its range, or None for a model without a null
            label.

    Examples:
        >>> import jax, jdiff
        >>> model = jdiff.load_model("unet")
        >>> denoise = jdiff.models.denoiser(model, model.classes.index("g"))
        >>> jax.jit(denoise)(jax.numpy.zeros(model.shape), 500).shape
        (28, 28, 1)
    """
    null = len(model.classes)
    if label is None and not model.has_null:
        raise ValueError("label must be a number for a model without a null label.")
    label = null if label is None else label
    is_int = np.ndim(label) == 0 and jnp.issubdtype(jnp.result_type(label), jnp.integer)
    if not is_int or not isinstance(label, jax.core.Tracer) and not 0 <= label <= null:
        raise ValueError(f"label must be an int in [0, {null}], got {label}.")
    condition = make_condition(model, label, style)
    network = model.apply, model.params, model.schedule, model.prediction
    return make_denoiser(*network, condition, clip)


def init_params(
    key: jax.Array,
    network: hk.Transformed,
    shape: Sequence[int],
    has_style: bool = False,
) -> Any:
    """Returns fresh weights of a network for examples of a shape, (H, W, C) or (D,)."""
    x_t = jnp.zeros((1, *shape))
    label: Any = jnp.zeros(1, jnp.int32)
    if has_style:
        label = Condition(label, jnp.zeros((1, len(STYLES))))
    # Jitted, because Haiku's init would otherwise compile op by op.
    return jax.jit(network.init)(key, x_t, jnp.zeros(1), label)


def build_model(description: dict[str, Any], params: Any) -> Model:
    """Returns the model that a description and its weights stand for.

    Args:
        description: num_channels, num_blocks, num_levels (by default 2), image_shape,
            chars, schedule, num_steps and prediction, as `jdiff train unet` stores
            them; or what `jdiff train latent` and `jdiff train distill` store.
        params: the network's weights, and the autoencoder's.

    Raises:
        KeyError: a part of the description is missing or not known here.
    """
    chars = description["chars"]
    # JSON knows no tuples; a list could not be an argument of a compiled function.
    chars = chars if isinstance(chars, str) else tuple(chars)
    distilled = bool(description.get("distilled", False))
    latents: dict[str, Any] = {}
    if "autoencoder" in description:
        autoencoder = autoencoders.build_autoencoder(description)
        latents["latent_shape"] = (autoencoder.num_latents,)
        latents["decode"] = autoencoders.image_decoder(autoencoder)
    schedule = SCHEDULES[description["schedule"]](description["num_steps"])
    return Model(
        _make_network(description).apply,
        params,
        schedule,
        PREDICTIONS[description["prediction"]],
        chars,
        tuple(description["image_shape"]),
        has_null=not distilled,
        distilled=distilled,
        has_style=bool(description.get("style", False)),
        guidance=float(description.get("guidance", 2.0)),
        guidance_last=description.get("guidance_last"),
        **latents,
    )


def _make_network(description: dict[str, Any]) -> hk.Transformed:
    num_classes = len(description["chars"])
    if "autoencoder" in description:
        return make_residual_mlp(
            num_classes, description["num_features"], description["num_layers"]
        )
    return make_unet(
        num_classes,
        description["num_channels"],
        description["num_blocks"],
        # Descriptions from before there was a choice lack it.
        description.get("num_levels", 2),
    )


def _init_all(key: jax.Array, description: dict[str, Any]) -> Any:
    """Returns fresh weights of the network and, if it has one, of its autoencoder."""
    network = _make_network(description)
    if "autoencoder" not in description:
        return init_params(key, network, description["image_shape"])
    has_style = bool(description.get("style", False))
    params = init_params(key, network, (description["num_latents"],), has_style)
    if has_style:
        shape = jnp.zeros((len(description["chars"]), len(STYLES)))
        params["style"] = {"mean": shape, "std": shape}
    if "num_tones" in description:
        params["tone"] = {"grey": jnp.zeros(description["num_tones"])}
    return params | autoencoders.build_autoencoder(description).init(key)


def load_model(path: str | Path = "latent") -> Model:
    """Returns the model in a weights file, or one of those that ship.

    Args:
        path: of the file; "latent", "unet", "distilled" or "mixture"; or the folder of
            a run, which holds such a file; or that of checkpoints, the newest of which
            is taken, or of one of them.

    Raises:
        WeightsError: the file is missing, truncated, not weights, or of another
            architecture than it says.

    Examples:
        >>> import jdiff
        >>> jdiff.load_model("unet").classes
        '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
    """
    path = storage.find_weights(SHIPPED.get(str(path), path))
    load = storage.load_ema_weights if path.is_dir() else storage.load_weights
    params, description = load(path)
    if description.get("model") == "mixtures":
        return _mixture_model(path)
    with storage.reading(path, "weights that describe a network", storage.WeightsError):
        model = build_model(description, params)
        init = functools.partial(_init_all, description=description)
        expected = jax.eval_shape(init, jax.random.key(0))
    storage.check_params(params, expected, path)
    return model


def suit_steps(
    name: str | Path, num_steps: int, *, solver: Any = None, guidance: Any = None
) -> str | Path:
    """Returns "distilled" in place of "latent" up to 4 steps, else the name as it is.

    Distilled weights are made for few steps. They know neither solvers nor guidance, so
    with one of them "latent" stays.
    """
    few = num_steps <= MAX_FEW_STEPS and solver is guidance is None
    return "distilled" if str(name) == "latent" and few else name


def _mixture_model(path: str | Path) -> Model:
    """Returns the closed-form mixtures in a file as a model of latents."""
    fitted = closed_form.mixtures.load(path)
    chars = "".join(map(str, fitted.labels))
    if len(chars) != len(fitted.labels) or fitted.mean.ndim != 3:
        raise storage.WeightsError(
            f"weights must be of images [H, W, C] of single characters, got {path}: "
            f"{list(fitted.mean.shape)} of {fitted.labels[:5]}."
        )
    height, width, channels = fitted.mean.shape
    params = jax.tree.map(jnp.asarray, fitted._replace(labels=()))
    return Model(
        closed_form.mixtures.apply,
        params,
        schedules.cosine_schedule(1000),
        diffusion.PREDICT_X_0,
        chars,
        (height, width, channels),
        has_null=False,
        latent_shape=(len(fitted.axes),),
        decode=closed_form.mixtures.decode,
    )
