"""Diffusion without training: moments, Gaussians, the linear model, mixtures."""

from jdiff.closed_form import gaussian as gaussian
from jdiff.closed_form import linear as linear
from jdiff.closed_form import mixtures as mixtures
from jdiff.closed_form.gaussian import analytic_start as analytic_start
from jdiff.closed_form.linear import LinearDiffusion as LinearDiffusion
from jdiff.closed_form.mixtures import class_normal as class_normal
from jdiff.closed_form.moments import collect as collect
from jdiff.closed_form.moments import total_covariance as total_covariance
