"""Trains diffusion on points in the plane: the same as `jdiff train points`."""

import sys

from jdiff.cli import main

main(["train", "points", *sys.argv[1:]])
