"""What a run tells of its samples."""

import numpy as np
import pytest

import jdiff
from jdiff.recipes import pictures


@pytest.fixture(scope="module")
def glyphs():
    """A model's facts, and two glyphs of each of its classes, in order of classes."""
    found = jdiff.data.glyphs(2, 0)
    order = np.argsort(found.labels, kind="stable")
    model = jdiff.load_model("mixture")._replace(classes="".join(found.classes))
    return model, found.images[order]


def test_the_judge_reads_samples_in_order_of_their_classes(glyphs):
    model, images = glyphs
    read = pictures.read_classes(model, images)
    assert 0.6 < read["legible"] <= read["legible_merged"]
    assert pictures.read_classes(model, images[::-1])["legible_merged"] < 0.1


def test_of_what_the_judge_does_not_know_nothing_is_told(glyphs):
    model, images = glyphs
    named = model._replace(classes=("cat", "dog"))
    assert pictures.read_classes(named, images[:4]) == {}
    larger = model._replace(shape=(32, 32, 1))
    assert pictures.read_classes(larger, np.zeros((4, 32, 32, 1), np.uint8)) == {}


def test_marks_that_the_judge_does_not_know_are_left_out(glyphs):
    model, images = glyphs
    with_marks = model._replace(classes=model.classes + "?!")
    marks = np.zeros((4, 28, 28, 1), np.uint8)
    read = pictures.read_classes(with_marks, np.concatenate([images, marks]))
    assert read == pictures.read_classes(model, images)
