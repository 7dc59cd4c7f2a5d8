"""Distils a trained network: the same as `jdiff train distill`."""

import sys

from jdiff.cli import main

sys.argv[1:1] = ["train", "distill"]
main()
