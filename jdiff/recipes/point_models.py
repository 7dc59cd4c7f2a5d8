"""Models of points in the plane: their files, their denoisers and their samples.

Guidance has one convention: 0 samples without labels, 1 with them, more is guided.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import diffusion, models, networks, sampling, schedules, storage
from jdiff.guidance import guide

SCHEDULES = ("cosine", "linear", "quadratic", "sigmoid", "flow")
LEVELS = {"sinusoidal": networks.sinusoidal, "raw": networks.raw_log_snr}


class PointModel(NamedTuple):
    """A model of points: what a sampler needs, and the scale [2] of the points."""

    apply: Any
    params: Any
    schedule: Any
    prediction: diffusion.Prediction
    num_classes: int
    scale: Any


def make_network(description: dict[str, Any]):
    """Returns the network of a description: (init, apply)."""
    sizes = (description[f"num_{name}"] for name in ("classes", "features", "layers"))
    return networks.make_mlp(*sizes, embed_log_snr=LEVELS[description["level"]])


def build_model(description: dict[str, Any], params: Any) -> PointModel:
    """Returns the model that a description and its weights stand for."""
    has_betas = description["schedule"] not in ("cosine", "flow")
    betas = {"beta_T": description["beta_end"]} if has_betas else {}
    make_schedule = models.SCHEDULES[description["schedule"]]
    schedule = make_schedule(description["num_steps"], **betas)
    return PointModel(
        make_network(description).apply,
        params,
        schedule,
        models.PREDICTIONS[description["predict"]],
        description["num_classes"],
        np.asarray(description["scale"], np.float32),
    )


def load_model(path: str) -> tuple[PointModel, dict[str, Any]]:
    """Returns (model, description) of a file that `jdiff train points` wrote."""
    params, description = storage.load_weights(path, "points")
    with storage.reading(path, "weights of points", storage.WeightsError):
        network, model = make_network(description), build_model(description, params)
        init = functools.partial(models.init_params, network=network, shape=(2,))
        expected = jax.eval_shape(init, jax.random.key(0))
    storage.check_params(params, expected, path)
    return model, description


def make_denoise(model: PointModel, label, guidance: float, clip: float | None = None):
    """Returns the denoiser of a label; guidance 0 does without it."""
    make = functools.partial(
        sampling.make_denoiser,
        model.apply,
        model.params,
        model.schedule,
        model.prediction,
    )
    anywhere, there = make(model.num_classes, clip=None), make(label, clip=None)
    # At the ends one call of the network is enough.
    ends = {0.0: anywhere, 1.0: there}
    denoise = ends.get(guidance) or guide(there, anywhere, guidance)
    return denoise if clip is None else sampling.clip_x_0(denoise, clip)


def draw(
    model: PointModel,
    labels: np.ndarray,
    solver: Callable[[schedules.Schedule], sampling.Solver],
    times: jax.typing.ArrayLike,
    guidance: float,
    seed: int,
    clip: float | None = None,
) -> np.ndarray:
    """Returns paths of points from noise to data, float32[N, len(times), 2].

    Of labels int[N] num_classes is "any"; clip bounds x_0, in scaled units.
    """
    paths = _paths(
        model.params,
        model.schedule,
        jnp.asarray(times),
        jax.random.split(jax.random.key(seed), len(labels)),
        jnp.asarray(labels),
        static=model._replace(params=None, schedule=None, scale=None),
        solver=solver,
        guidance=guidance,
        clip=clip,
    )
    return np.asarray(paths) * model.scale


# Weights and schedule are arguments, so that another model does not compile again.
@functools.partial(jax.jit, static_argnames=("static", "solver", "guidance", "clip"))
def _paths(params, schedule, times, keys, labels, *, static, solver, guidance, clip):
    model = static._replace(params=params, schedule=schedule)

    def path(key, label):
        denoise = make_denoise(model, label, guidance, clip)
        return sampling.sample(key, denoise, solver(schedule), times, (2,)).path

    return jax.vmap(path)(keys, labels)


def field(model: PointModel, places: np.ndarray, wanted, t: int) -> np.ndarray:
    """Returns what the network says at places of x_t, read as a wanted prediction.

    Without a label; places and arrows are in the units of x_t, which are scaled.
    """
    level = schedules.log_snr(model.schedule, t)

    def arrow(x_t):
        label = jnp.array([model.num_classes])
        output = model.apply(model.params, x_t[None], level[None], label)[0]
        return diffusion.convert_prediction(
            model.schedule, model.prediction, wanted, x_t, output, t
        )

    return np.asarray(jax.jit(jax.vmap(arrow))(jnp.asarray(places, jnp.float32)))
