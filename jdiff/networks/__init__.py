"""Haiku networks: UNet, perceptrons, VAE, classifier, and their conditioning."""

if not __debug__:
    raise ImportError(
        "Haiku needs Python without -O and PYTHONOPTIMIZE: it leaves modules inside an "
        "assert, so networks would take false names."
    )

from jdiff.networks.affine import AffineDenoiser as AffineDenoiser
from jdiff.networks.classifier import PatchClassifier as PatchClassifier
from jdiff.networks.classifier import PlainClassifier as PlainClassifier
from jdiff.networks.conditioning import Condition as Condition
from jdiff.networks.conditioning import Conditioning as Conditioning
from jdiff.networks.conditioning import modulate as modulate
from jdiff.networks.conditioning import raw_log_snr as raw_log_snr
from jdiff.networks.conditioning import sinusoidal as sinusoidal
from jdiff.networks.dit import DiT as DiT
from jdiff.networks.dit import DiTBlock as DiTBlock
from jdiff.networks.dit import make_dit as make_dit
from jdiff.networks.layers import Conv2D as Conv2D
from jdiff.networks.layers import as_pair as as_pair
from jdiff.networks.layers import convolve as convolve
from jdiff.networks.mlp import make_mlp as make_mlp
from jdiff.networks.mlp import make_residual_mlp as make_residual_mlp
from jdiff.networks.mlp import make_stroke_classifier as make_stroke_classifier
from jdiff.networks.unet import ScaleShiftNorm as ScaleShiftNorm
from jdiff.networks.unet import make_unet as make_unet
from jdiff.networks.unet1d import make_unet_1d as make_unet_1d
from jdiff.networks.vae import ConvDecoder as ConvDecoder
from jdiff.networks.vae import ConvEncoder as ConvEncoder
from jdiff.networks.vae import Decoder as Decoder
from jdiff.networks.vae import Encoder as Encoder
