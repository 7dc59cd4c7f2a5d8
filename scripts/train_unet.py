"""Trains the UNet that writes characters: the same as `jdiff train unet`."""

import sys

from jdiff.cli import main

main(["train", "unet", *sys.argv[1:]])
