"""Trains diffusion on an autoencoder's latents: the same as `jdiff train latent`."""

import sys

from jdiff.cli import main

main(["train", "latent", *sys.argv[1:]])
