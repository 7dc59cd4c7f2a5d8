"""Fits diffusion models made of linear parts: the same as `jdiff train mixture`."""

import sys

from jdiff.cli import main

main(["train", "mixture", *sys.argv[1:]])
