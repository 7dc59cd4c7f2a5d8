"""Trains a judge of handwriting: the same as `jdiff train judge`."""

import sys

from jdiff.cli import main

main(["train", "judge", *sys.argv[1:]])
