"""The linear diffusion model behind the interface of the article's own library."""

from collections.abc import Hashable, Sequence

import numpy as np

from jdiff import linear


class LinearDiffusion:
    """The article's model with the interface of its own library, `lineardiffusion`.

    Args:
        image_size: side of the images; by default found out by `fit`, which takes
            rectangles and colours as well.
        latent_size: the latents are latent_size^2 numbers.
    """

    def __init__(self, image_size: int | None = None, latent_size: int = 12):
        self.image_size, self.latent_size = image_size, latent_size
        self.model: linear.LinearModel | None = None

    def fit(self, X: Sequence[Hashable], y: np.ndarray) -> "LinearDiffusion":
        """Fits the model to labels X and images y as `linear.fit`, and returns it."""
        shape, side = np.shape(y)[1:], self.image_size
        if side is not None and shape != (side, side):
            raise ValueError(f"images must be {side} x {side}, got {list(shape)}.")
        self.model = linear.fit(y, X, self.latent_size**2)
        return self

    def predict(self, X: Sequence[Hashable], seed: int = 1337) -> np.ndarray:
        """Returns an image of each label, in the units of the training images.

        The noise of a seed is that of the article's library, so the images are, too.
        """
        if self.model is None:
            raise ValueError("the model must be fitted before it predicts, got no fit.")
        size = len(X), self.latent_size**2
        eps = np.random.default_rng(seed).normal(size=size)
        return linear.denoise(self.model, X, eps)
