"""Trains a judge of handwriting: the same as `jdiff train judge`."""

import sys

from jdiff.cli import main

sys.argv[1:1] = ["train", "judge"]
main()
