"""jdiff: denoising diffusion as pure functions in JAX.

The core stands here by name: schedules, diffusion, losses, sampling, solvers, guidance,
training. It needs jax, numpy and chex. The rooms (`jdiff.networks`, `jdiff.data`, ...)
and the verbs (`load_model`, `generate`, `write`) are imported on first use, so nobody
waits for, or installs, what they do not use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from jdiff.diffusion import PREDICT_EPS as PREDICT_EPS
from jdiff.diffusion import PREDICT_FLOW as PREDICT_FLOW
from jdiff.diffusion import PREDICT_SCORE as PREDICT_SCORE
from jdiff.diffusion import PREDICT_V as PREDICT_V
from jdiff.diffusion import PREDICT_X_0 as PREDICT_X_0
from jdiff.diffusion import Gaussian as Gaussian
from jdiff.diffusion import Prediction as Prediction
from jdiff.diffusion import convert_prediction as convert_prediction
from jdiff.diffusion import precondition as precondition
from jdiff.diffusion import q_posterior as q_posterior
from jdiff.diffusion import q_sample as q_sample
from jdiff.guidance import dynamic_threshold as dynamic_threshold
from jdiff.guidance import guide as guide
from jdiff.guidance import guide_interval as guide_interval
from jdiff.guidance import rescale_guidance as rescale_guidance
from jdiff.losses import edm_weight as edm_weight
from jdiff.losses import huber_loss as huber_loss
from jdiff.losses import l2_loss as l2_loss
from jdiff.losses import make_diffusion_loss as make_diffusion_loss
from jdiff.losses import min_snr_weight as min_snr_weight
from jdiff.losses import snr_difference_weight as snr_difference_weight
from jdiff.losses import uniform_weight as uniform_weight
from jdiff.sampling import Denoiser as Denoiser
from jdiff.sampling import Sample as Sample
from jdiff.sampling import Solver as Solver
from jdiff.sampling import SolverState as SolverState
from jdiff.sampling import clip_x_0 as clip_x_0
from jdiff.sampling import make_denoiser as make_denoiser
from jdiff.sampling import sample as sample
from jdiff.schedules import Schedule as Schedule
from jdiff.schedules import cosine_schedule as cosine_schedule
from jdiff.schedules import flow_schedule as flow_schedule
from jdiff.schedules import from_betas as from_betas
from jdiff.schedules import karras_schedule as karras_schedule
from jdiff.schedules import karras_spacing as karras_spacing
from jdiff.schedules import karras_timesteps as karras_timesteps
from jdiff.schedules import linear_schedule as linear_schedule
from jdiff.schedules import log_snr as log_snr
from jdiff.schedules import quadratic_schedule as quadratic_schedule
from jdiff.schedules import sigmoid_schedule as sigmoid_schedule
from jdiff.schedules import spaced_timesteps as spaced_timesteps
from jdiff.schedules import timesteps as timesteps
from jdiff.solvers import ddim as ddim
from jdiff.solvers import ddpm as ddpm
from jdiff.solvers import dpmpp_2m as dpmpp_2m
from jdiff.solvers import heun as heun
from jdiff.solvers import unipc as unipc
from jdiff.solvers import with_churn as with_churn
from jdiff.solvers import with_corrector as with_corrector
from jdiff.training import BalancedData as BalancedData
from jdiff.training import Batch as Batch
from jdiff.training import TrainState as TrainState
from jdiff.training import balance as balance
from jdiff.training import draw_batch as draw_batch
from jdiff.training import init_train_state as init_train_state
from jdiff.training import make_epoch as make_epoch
from jdiff.training import make_train_step as make_train_step

if TYPE_CHECKING:
    from jdiff import closed_form as closed_form
    from jdiff import data as data
    from jdiff import evaluation as evaluation
    from jdiff import extensions as extensions
    from jdiff import handwriting as handwriting
    from jdiff import images as images
    from jdiff import likelihood as likelihood
    from jdiff import models as models
    from jdiff import networks as networks
    from jdiff import storage as storage
    from jdiff.models import generate as generate
    from jdiff.models import load_model as load_model
    from jdiff.writing import write as write

__version__ = "0.1.0"

_ROOMS = ("closed_form", "data", "evaluation", "extensions", "handwriting", "images")
_ROOMS += ("likelihood", "models", "networks", "storage")
_VERBS = {"generate": "models", "load_model": "models", "write": "writing"}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"jdiff.{name}")
    if name in _VERBS:
        return getattr(importlib.import_module(f"jdiff.{_VERBS[name]}"), name)
    raise AttributeError(f"module 'jdiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_VERBS})
