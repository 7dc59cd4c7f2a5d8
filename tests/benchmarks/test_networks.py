"""The comparison of networks."""

import networks
import numpy as np
import pytest

import jdiff


@pytest.mark.slow
def test_a_network_is_fitted_and_draws_images_of_the_labels():
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28, 1), np.uint8)
    train = jdiff.data.Dataset(images, np.arange(20) % 10, "0123456789")
    drawn, num_weights, _ = networks.fit_and_draw("dit", train, np.arange(10), 1e-4)
    assert drawn.shape == (10, 28, 28, 1) and drawn.dtype == np.uint8
    assert num_weights > 100_000


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="--num must be >= 1000"):
        networks.main(["--num", "10"])
