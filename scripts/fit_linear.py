"""Fits diffusion models made of linear parts: the same as `jdiff train mixture`."""

import sys

from jdiff.cli import main

sys.argv[1:1] = ["train", "mixture"]
main()
