"""Trains the UNet that writes characters: the same as `jdiff train unet`."""

import sys

from jdiff.cli import main

sys.argv[1:1] = ["train", "unet"]
main()
