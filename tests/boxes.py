"""Glyphs of known ink, for the tests of pages."""

import numpy as np


def box_glyph(height=20, width=12, level=255):
    """A frame of the given size in the middle of a glyph, 3 pixels thick."""
    glyph = np.zeros((28, 28), np.uint8)
    y, x = (28 - height) // 2, (28 - width) // 2
    glyph[y : y + height, x : x + width] = level
    glyph[y + 3 : y + height - 3, x + 3 : x + width - 3] = 0
    return glyph


def random_glyphs(num_glyphs, seed=0):
    """Glyphs of random size, and every fifth one without ink."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(7, 25, (num_glyphs, 2))
    glyphs = [box_glyph(*size) for size in sizes]
    return np.stack([g * (k % 5 != 4) for k, g in enumerate(glyphs)]).astype(np.uint8)
