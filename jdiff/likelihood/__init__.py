"""Likelihoods: variational bounds, and the exact one of the probability flow."""

from jdiff.likelihood.bounds import PIXEL as PIXEL
from jdiff.likelihood.bounds import Bound as Bound
from jdiff.likelihood.bounds import Elbo as Elbo
from jdiff.likelihood.bounds import bernoulli_decoder as bernoulli_decoder
from jdiff.likelihood.bounds import check_grid as check_grid
from jdiff.likelihood.bounds import evidence_bound as evidence_bound
from jdiff.likelihood.bounds import gaussian_decoder as gaussian_decoder
from jdiff.likelihood.bounds import gaussian_divergence as gaussian_divergence
from jdiff.likelihood.bounds import make_elbo_loss as make_elbo_loss
from jdiff.likelihood.bounds import noise_divergence as noise_divergence
from jdiff.likelihood.bounds import pixel_decoder as pixel_decoder
from jdiff.likelihood.bounds import prior_divergence as prior_divergence
from jdiff.likelihood.bounds import reparametrize as reparametrize
from jdiff.likelihood.bounds import variational_bound as variational_bound
from jdiff.likelihood.flow import FlowBits as FlowBits
from jdiff.likelihood.flow import MeanBits as MeanBits
from jdiff.likelihood.flow import dequantize as dequantize
from jdiff.likelihood.flow import exact_trace as exact_trace
from jdiff.likelihood.flow import flow_bits as flow_bits
from jdiff.likelihood.flow import flow_upwards as flow_upwards
from jdiff.likelihood.flow import hutchinson_trace as hutchinson_trace
from jdiff.likelihood.flow import mean_bits as mean_bits
