"""Trains diffusion on points in the plane: the same as `jdiff train points`."""

import sys

from jdiff.cli import main

sys.argv[1:1] = ["train", "points"]
main()
