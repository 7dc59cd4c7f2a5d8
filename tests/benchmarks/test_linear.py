"""The comparison of models made of linear parts."""

import linear
import numpy as np
import pytest


@pytest.mark.parametrize("name", ["article", "affine", "mixture", "scikit-learn"])
def test_every_contender_draws_images_of_the_labels(name):
    if name == "scikit-learn":
        pytest.importorskip("sklearn", reason="needs jdiffusion[test]")
    # Enough images for 150 latents, and pixels.
    images = np.random.default_rng(0).integers(0, 60, (400, 13, 13, 1), np.uint8)
    labels = np.array(list("ab"))[np.arange(400) % 2]
    images[labels == "a", :6] += 190
    images[labels == "b", 6:] += 190
    model, draw = linear.fit(name, images, labels)
    drawn = draw(list("ab" * 8), 0)
    assert drawn.shape == (16, 13, 13, 1) and drawn.dtype == np.uint8
    above, below = drawn[:, :6].mean((1, 2, 3)), drawn[:, 6:].mean((1, 2, 3))
    np.testing.assert_array_equal(above > below, [True, False] * 8)
    assert (model is None) == (name in ("article", "scikit-learn"))


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="--num must be >= 1000"):
        linear.main(["--num", "10"])
