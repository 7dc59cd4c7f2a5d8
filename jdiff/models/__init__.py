"""A trained model in one value, autoencoders, and images from a model."""

from jdiff.models.autoencoders import AUTOENCODERS as AUTOENCODERS
from jdiff.models.autoencoders import Autoencoder as Autoencoder
from jdiff.models.autoencoders import aggregate_posterior as aggregate_posterior
from jdiff.models.autoencoders import build_autoencoder as build_autoencoder
from jdiff.models.autoencoders import encode_images as encode_images
from jdiff.models.autoencoders import fit_pca as fit_pca
from jdiff.models.autoencoders import make_affine as make_affine
from jdiff.models.autoencoders import make_conv_vae as make_conv_vae
from jdiff.models.autoencoders import make_vae as make_vae
from jdiff.models.autoencoders import standardized as standardized
from jdiff.models.generate import default_solver as default_solver
from jdiff.models.generate import generate as generate
from jdiff.models.model import PREDICTIONS as PREDICTIONS
from jdiff.models.model import SCHEDULES as SCHEDULES
from jdiff.models.model import SHIPPED as SHIPPED
from jdiff.models.model import Model as Model
from jdiff.models.model import build_model as build_model
from jdiff.models.model import denoiser as denoiser
from jdiff.models.model import init_params as init_params
from jdiff.models.model import load_model as load_model
from jdiff.models.model import make_condition as make_condition
from jdiff.models.model import suit_steps as suit_steps
