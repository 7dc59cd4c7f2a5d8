"""Trains an autoencoder: the same as `jdiff train autoencoder`."""

import sys

from jdiff.cli import main

sys.argv[1:1] = ["train", "autoencoder"]
main()
