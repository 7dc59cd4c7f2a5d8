"""jdiff: denoising diffusion as pure functions in JAX.

The core (schedules, diffusion, losses, sampling) needs jax, numpy and chex. All other
names are imported when they are first used, so that nobody waits for, or installs,
what they do not use: training needs optax, `pip install 'jdiff[train]'`.
"""

import importlib
from typing import TYPE_CHECKING, Any

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
from jdiff.losses import (
    huber_loss,
    l2_loss,
    make_diffusion_loss,
    min_snr_weight,
    uniform_weight,
)
from jdiff.sampling import (
    Denoiser,
    Sample,
    Solver,
    SolverState,
    clip_x_0,
    ddim,
    ddpm,
    guide,
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
    timesteps,
)

if TYPE_CHECKING:
    from jdiff import data
    from jdiff.checkpoints import (
        WeightsError,
        load_weights,
        restore_state,
        save_state,
        save_weights,
    )
    from jdiff.files import atomic_write, check_output
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
    from jdiff.metrics import (
        LOOK_ALIKES,
        Estimate,
        Legibility,
        bootstrap_share,
        legibility,
    )
    from jdiff.models import (
        PREDICTIONS,
        SCHEDULES,
        Model,
        build_model,
        generate,
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
    "files": "atomic_write check_output",
    "images": "on_paper save_gif save_png tile to_uint8",
    "judge": (
        "MERGED_CHARS Judge Reading load_judge make_classifier merged_labels "
        "read_images"
    ),
    "metrics": "LOOK_ALIKES Estimate Legibility bootstrap_share legibility",
    "models": (
        "PREDICTIONS SCHEDULES Model build_model generate init_params load_model "
        "make_unet"
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
    "PREDICTIONS",
    "PREDICT_EPS",
    "PREDICT_FLOW",
    "PREDICT_SCORE",
    "PREDICT_V",
    "PREDICT_X_0",
    "SCHEDULES",
    "BalancedData",
    "Batch",
    "Denoiser",
    "Estimate",
    "Gaussian",
    "Judge",
    "Legibility",
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
    "clip_x_0",
    "compose",
    "cosine_schedule",
    "data",
    "ddim",
    "ddpm",
    "decode",
    "draw_batch",
    "encode",
    "flow_schedule",
    "from_betas",
    "generate",
    "guide",
    "huber_loss",
    "init_params",
    "init_train_state",
    "karras_schedule",
    "l2_loss",
    "legibility",
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
    "merged_labels",
    "min_snr_weight",
    "on_paper",
    "q_posterior",
    "q_sample",
    "quadratic_schedule",
    "read_images",
    "restore_state",
    "sample",
    "save_gif",
    "save_png",
    "save_state",
    "save_weights",
    "sigmoid_schedule",
    "tile",
    "timesteps",
    "to_uint8",
    "typeset",
    "uniform_weight",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"jdiff.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"jdiff.{_HOME[name]}"), name)
    raise AttributeError(f"module 'jdiff' has no attribute {name!r}")
