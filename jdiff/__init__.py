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
    reread,
)
from jdiff.editing import inpainting, invert, slerp, vary
from jdiff.elbo import (
    Elbo,
    bernoulli_decoder,
    evidence_bound,
    make_elbo_loss,
    prior_divergence,
    reparametrize,
)
from jdiff.grids import (
    karras_spacing,
    karras_timesteps,
    spaced_timesteps,
    timesteps,
)
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
    make_consistency_loss,
    make_diffusion_loss,
    min_snr_weight,
    snr_difference_weight,
    uniform_weight,
)
from jdiff.preconditioning import precondition
from jdiff.renoising import churned, consistency, corrected
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
    from jdiff import data, gaussian, linear, mixtures, style
    from jdiff.analytic import analytic_start, class_normal
    from jdiff.animations import save_apng, save_gif, save_webp
    from jdiff.checkpoints import (
        WeightsError,
        load_weights,
        save_weights,
    )
    from jdiff.evaluation import Evaluation, Figures, evaluate
    from jdiff.files import atomic_write, check_output
    from jdiff.generation import generate
    from jdiff.images import on_paper, parse_colour, save_png, tile, to_uint8
    from jdiff.importance import (
        LossHistory,
        init_history,
        make_loss_aware_loss,
        record_losses,
        step_probabilities,
    )
    from jdiff.judge import (
        MERGED_CHARS,
        Judge,
        Reading,
        load_judge,
        make_classifier,
        merged_labels,
        read_images,
    )
    from jdiff.latents import (
        AUTOENCODERS,
        Autoencoder,
        aggregate_posterior,
        build_autoencoder,
        encode_images,
        fit_pca,
        make_affine,
        make_conv_vae,
        make_vae,
        standardized,
    )
    from jdiff.learned_schedule import (
        MonotoneLogSnr,
        as_schedule,
        init_log_snr,
        learned_log_snr,
        make_continuous_loss,
    )
    from jdiff.learned_variance import (
        learned_bound,
        learned_ddpm,
        learned_posterior,
        make_hybrid_loss,
        make_learned_denoiser,
        split_output,
    )
    from jdiff.lineardiffusion import LinearDiffusion
    from jdiff.lines import CENTRED, FLUSH_LEFT, FLUSH_RIGHT, JUSTIFIED, Alignment
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
        sliced_wasserstein,
    )
    from jdiff.models import (
        PREDICTIONS,
        SCHEDULES,
        Model,
        build_model,
        init_params,
        load_model,
        make_condition,
    )
    from jdiff.networks.embeddings import Condition, raw_level, sinusoidal
    from jdiff.networks.mlp import make_mlp, make_residual_mlp
    from jdiff.networks.unet import make_unet
    from jdiff.pages import compose, compose_frames
    from jdiff.restoring import load_average, restore_state
    from jdiff.states import keep_states, save_state
    from jdiff.text import EMNIST_CHARS, decode, encode
    from jdiff.training import (
        BalancedData,
        Batch,
        TrainState,
        balance,
        draw_batch,
        init_train_state,
        make_epoch,
        make_train_step,
    )
    from jdiff.typesetting import Layout, check_page, typeset
    from jdiff.vector import save_svg, trace_outlines

_LAZY = {
    "analytic": "analytic_start class_normal",
    "animations": "save_apng save_gif save_webp",
    "checkpoints": "WeightsError load_weights save_weights",
    "data": "",
    "evaluation": "Evaluation Figures evaluate",
    "files": "atomic_write check_output",
    "gaussian": "",
    "generation": "generate",
    "images": "on_paper parse_colour save_png tile to_uint8",
    "importance": (
        "LossHistory init_history make_loss_aware_loss record_losses step_probabilities"
    ),
    "judge": (
        "MERGED_CHARS Judge Reading load_judge make_classifier merged_labels "
        "read_images"
    ),
    "latents": (
        "AUTOENCODERS Autoencoder aggregate_posterior build_autoencoder encode_images "
        "fit_pca make_affine make_conv_vae make_vae standardized"
    ),
    "learned_schedule": (
        "MonotoneLogSnr as_schedule init_log_snr learned_log_snr make_continuous_loss"
    ),
    "learned_variance": (
        "learned_bound learned_ddpm learned_posterior make_hybrid_loss "
        "make_learned_denoiser split_output"
    ),
    "linear": "",
    "lineardiffusion": "LinearDiffusion",
    "lines": "CENTRED FLUSH_LEFT FLUSH_RIGHT JUSTIFIED Alignment",
    "metrics": (
        "LOOK_ALIKES Copying Estimate Legibility bootstrap_share copying "
        "frechet_distance kernel_distance legibility nearest precision_recall "
        "sliced_wasserstein"
    ),
    "mixtures": "",
    "models": (
        "PREDICTIONS SCHEDULES Model build_model init_params load_model make_condition"
    ),
    "networks.embeddings": "Condition raw_level sinusoidal",
    "networks.mlp": "make_mlp make_residual_mlp",
    "networks.unet": "make_unet",
    "pages": "compose compose_frames",
    "restoring": "load_average restore_state",
    "states": "keep_states save_state",
    "style": "",
    "text": "EMNIST_CHARS decode encode",
    "training": (
        "BalancedData Batch TrainState balance draw_batch init_train_state "
        "make_epoch make_train_step"
    ),
    "typesetting": "Layout check_page typeset",
    "vector": "save_svg trace_outlines",
}
_HOME = {name: module for module, names in _LAZY.items() for name in names.split()}

__version__ = "0.1.0"

__all__ = [
    "AUTOENCODERS",
    "CENTRED",
    "EMNIST_CHARS",
    "FLUSH_LEFT",
    "FLUSH_RIGHT",
    "JUSTIFIED",
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
    "Alignment",
    "Autoencoder",
    "BalancedData",
    "Batch",
    "Bound",
    "Condition",
    "Copying",
    "Denoiser",
    "Elbo",
    "Estimate",
    "Evaluation",
    "Figures",
    "FlowBits",
    "Gaussian",
    "Judge",
    "Layout",
    "Legibility",
    "LinearDiffusion",
    "LossHistory",
    "MeanBits",
    "Model",
    "MonotoneLogSnr",
    "Prediction",
    "Reading",
    "Sample",
    "Schedule",
    "Solver",
    "SolverState",
    "TrainState",
    "WeightsError",
    "aggregate_posterior",
    "analytic_start",
    "as_schedule",
    "atomic_write",
    "balance",
    "bernoulli_decoder",
    "bootstrap_share",
    "build_autoencoder",
    "build_model",
    "check_output",
    "check_page",
    "churned",
    "class_normal",
    "clip_x_0",
    "compose",
    "compose_frames",
    "consistency",
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
    "encode_images",
    "evaluate",
    "evidence_bound",
    "exact_trace",
    "fit_pca",
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
    "init_history",
    "init_log_snr",
    "init_params",
    "init_train_state",
    "inpainting",
    "invert",
    "karras_schedule",
    "karras_spacing",
    "karras_timesteps",
    "keep_states",
    "kernel_distance",
    "l2_loss",
    "learned_bound",
    "learned_ddpm",
    "learned_log_snr",
    "learned_posterior",
    "legibility",
    "linear",
    "linear_schedule",
    "load_average",
    "load_judge",
    "load_model",
    "load_weights",
    "log_snr",
    "make_affine",
    "make_classifier",
    "make_condition",
    "make_consistency_loss",
    "make_continuous_loss",
    "make_conv_vae",
    "make_denoiser",
    "make_diffusion_loss",
    "make_elbo_loss",
    "make_epoch",
    "make_hybrid_loss",
    "make_learned_denoiser",
    "make_loss_aware_loss",
    "make_mlp",
    "make_residual_mlp",
    "make_train_step",
    "make_unet",
    "make_vae",
    "mean_bits",
    "merged_labels",
    "min_snr_weight",
    "mixtures",
    "nearest",
    "on_paper",
    "parse_colour",
    "pixel_decoder",
    "precision_recall",
    "precondition",
    "prior_divergence",
    "q_posterior",
    "q_sample",
    "quadratic_schedule",
    "raw_level",
    "read_images",
    "record_losses",
    "reparametrize",
    "reread",
    "rescale",
    "restore_state",
    "sample",
    "save_apng",
    "save_gif",
    "save_png",
    "save_state",
    "save_svg",
    "save_webp",
    "save_weights",
    "sigmoid_schedule",
    "sinusoidal",
    "slerp",
    "sliced_wasserstein",
    "snr_difference_weight",
    "spaced_timesteps",
    "split_output",
    "standardized",
    "step_probabilities",
    "style",
    "tile",
    "timesteps",
    "to_uint8",
    "trace_outlines",
    "typeset",
    "uniform_weight",
    "unipc",
    "variational_bound",
    "vary",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"jdiff.{name}")
    if name in _HOME:
        return getattr(importlib.import_module(f"jdiff.{_HOME[name]}"), name)
    raise AttributeError(f"module 'jdiff' has no attribute {name!r}")
