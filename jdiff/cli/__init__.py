"""The command `jdiff`."""

from jdiff.cli.main import main as main
