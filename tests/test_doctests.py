"""The examples in the docstrings."""

import doctest
import importlib
import pkgutil
from operator import attrgetter

import pytest

import jdiff

MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(jdiff.__path__, "jdiff.")
    if name != "jdiff.__main__"
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_are_true(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


def test_what_a_newcomer_meets_first_has_an_example():
    names = "linear_schedule cosine_schedule timesteps q_sample sample".split()
    names += "guide load_model generate write handwriting.encode".split()
    names += ["evaluation.merged_labels"]
    shown = [name for name in names if ">>>" in attrgetter(name)(jdiff).__doc__]
    assert shown == names
