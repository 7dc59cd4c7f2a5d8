"""jdiff: denoising diffusion as pure functions in JAX.

The core (schedules, diffusion, losses, sampling) needs jax, numpy and chex. All other
names are imported when they are first used, so that nobody waits for, or installs,
what they do not use: training needs optax, `pip install 'jdiff[train]'`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jdiff.bound import (
    PIXEL,
    Bound,
    gaussian_decoder,
    pixel_decoder,
    variational_bound,
)
from jdiff.diffusion import (
    PREDICT_EPS,
    PREDICT_FLOW,
    PREDICT_SCORE,
    PREDICT_V,
    PREDICT_X_0,
    Gaussian,
    Prediction,
    q_posterior,
    q_sample,
)
from jdiff.grids import karras_spacing, spaced_timesteps, timesteps
from jdiff.guidance import dynamic_threshold, guide, guide_interval, rescale
from jdiff.likelihood import (
    FlowBits,
    MeanBits,
    dequantize,
    exact_trace,
    flow_bits,
    hutchinson_trace,
    mean_bits,
)
from jdiff.losses import (
    edm_weight,
    huber_loss,
    l2_loss,
    make_diffusion_loss,
    min_snr_weight,
    uniform_weight,
)
from jdiff.preconditioning import precondition
from jdiff.renoising import churned, corrected
from jdiff.sampling import (
    Denoiser,
    Sample,
    Solver,
    SolverState,
    clip_x_0,
    make_denoiser,
    sample,
)
from jdiff.schedules import (
    Schedule,
    cosine_schedule,
    flow_schedule,
    from_betas,
    karras_schedule,
    linear_schedule,
    log_snr,
    quadratic_schedule,
    sigmoid_schedule,
)
from jdiff.solvers import ddim, ddpm, dpmpp_2m, heun, unipc

if TYPE_CHECKING:
    from jdiff import data, gaussian, linear, mixtures
    from jdiff.checkpoints import (
        WeightsError,
        load_weights,
        restore_state,
        save_state,
        save_weights,
    )
    from jdiff.evaluation import Evaluation, Figures, evaluate
    from jdiff.files import atomic_write, check_output
    from jdiff.generation import generate
    from jdiff.images import on_paper, save_gif, save_png, tile, to_uint8
    from jdiff.judge import (
        MERGED_CHARS,
        Judge,
        Reading,
        load_judge,
        make_classifier,
        merged_labels,
        read_images,
    )
    from jdiff.lineardiffusion import LinearDiffusion
    from jdiff.metrics import (
        LOOK_ALIKES,
        Copying,
        Estimate,
        Legibility,
        bootstrap_share,
        copying,
        frechet_distance,
        kernel_distance,
        legibility,
        nearest,
        precision_recall,
    )
    from jdiff.models import (
        PREDICTIONS,
        SCHEDULES,
        Model,
        build_model,
        init_params,
        load_model,
        make_unet,
    )
    from jdiff.text import EMNIST_CHARS, compose, decode, encode, typeset
    from jdiff.training import (
        BalancedData,
        Batch,
        TrainState,
        balance,
        draw_batch,
        init_train_state,
        make_train_step,
    )

_LAZY = {
    "checkpoints": ("WeightsError load_weights restore_state save_state save_weights"),
    "data": "",
    "evaluation": "Evaluation Figures evaluate",
    "files": "atomic_write check_output",
    "gaussian": "",
    "generation": "generate",
    "images": "on_paper save_gif save_png tile to_uint8",
    "judge": (
        "MERGED_CHARS Judge Reading load_judge make_classifier merged_labels "
        "read_images"
    ),
    "linear": "",
    "lineardiffusion": "LinearDiffusion",
    "metrics": (
        "LOOK_ALIKES Copying Estimate Legibility bootstrap_share copying "
        "frechet_distance kernel_distance legibility nearest precision_recall"
    ),
    "mixtures": "",
    "models": (
        "PREDICTIONS SCHEDULES Model build_model init_params load_model make_unet"
    ),
    "text": "EMNIST_CHARS compose decode encode typeset",
    "training": (
        "BalancedData Batch TrainState balance draw_batch init_train_state "
        "make_train_step"
    ),
}
_HOME = {name: module for module, names in _LAZY.items() for name in names.split()}

__version__ = "0.1.0"

__all__ = [
    "EMNIST_CHARS",
    "LOOK_ALIKES",
    "MERGED_CHARS",
    "PIXEL",
    "PREDICTIONS",
    "PREDICT_EPS",
    "PREDICT_FLOW",
    "PREDICT_SCORE",
    "PREDICT_V",
    "PREDICT_X_0",
    "SCHEDULES",
    "BalancedData",
    "Batch",
    "Bound",
    "Copying",
    "Denoiser",
    "Estimate",
    "Evaluation",
    "Figures",
    "FlowBits",
    "Gaussian",
    "Judge",
    "Legibility",
    "LinearDiffusion",
    "MeanBits",
    "Model",
    "Prediction",
    "Reading",
    "Sample",
    "Schedule",
    "Solver",
    "SolverState",
    "TrainState",
    "WeightsError",
    "atomic_write",
    "balance",
    "bootstrap_share",
    "build_model",
    "check_output",
    "churned",
    "clip_x_0",
    "compose",
    "copying",
    "corrected",
    "cosine_schedule",
    "data",
    "ddim",
    "ddpm",
    "decode",
    "dequantize",
    "dpmpp_2m",
    "draw_batch",
    "dynamic_threshold",
    "edm_weight",
    "encode",
    "evaluate",
    "exact_trace",
    "flow_bits",
    "flow_schedule",
    "frechet_distance",
    "from_betas",
    "gaussian",
    "gaussian_decoder",
    "generate",
    "guide",
    "guide_interval",
    "heun",
    "huber_loss",
    "hutchinson_trace",
    "init_params",
    "init_train_state",
    "karras_schedule",
    "karras_spacing",
    "kernel_distance",
    "l2_loss",
    "legibility",
    "linear",
    "linear_schedule",
    "load_judge",
    "load_model",
    "load_weights",
    "log_snr",
    "make_classifier",
    "make_denoiser",
    "make_diffusion_loss",
    "make_train_step",
    "make_unet",
    "mean_bits",
    "merged_labels",
    "min_snr_weight",
    "mixtures",
    "nearest",
    "on_paper",
    "pixel_decoder",
    "precision_recall",
    "precondition",
    "q_posterior",
    "q_sample",
    "quadratic_schedule",
    "read_images",
    "rescale",
    "restore_state",
    "sample",
    "save_gif",
    "save_png",
    "save_state",
    "save_weights",
    "sigmoid_schedule",
    "spaced_timesteps",
    "tile",
    "timesteps",
    "to_uint8",
    "typeset",
    "uniform_weight",
    "unipc",
    "variational_bound",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"jdiff.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"jdiff.{_HOME[name]}"), name)
    raise AttributeError(f"module 'jdiff' has no attribute {name!r}")
