"""Trains diffusion on an autoencoder's latents: the same as `jdiff train latent`."""

import sys

from jdiff.cli import main

sys.argv[1:1] = ["train", "latent"]
main()
