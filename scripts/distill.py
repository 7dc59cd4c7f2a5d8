"""Distils a trained network: the same as `jdiff train distill`."""

import sys

from jdiff.cli import main

main(["train", "distill", *sys.argv[1:]])
