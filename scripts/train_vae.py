"""Trains an autoencoder: the same as `jdiff train autoencoder`."""

import sys

from jdiff.cli import main

main(["train", "autoencoder", *sys.argv[1:]])
