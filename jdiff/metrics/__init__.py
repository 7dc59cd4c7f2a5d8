"""How good generated images of characters are, and generated points.

`legibility` asks a judge that reads handwriting; `frechet_distance`,
`kernel_distance` and `precision_recall` compare the features of two sets of images;
`copying` looks for stored training images; `sliced_wasserstein` compares points. No
figure means much by itself: nobody reads all real handwriting, and two sets of real
images lie at a distance too. Set each beside its floor, that of real images drawn the
same way and as many, as `jdiff.evaluate` does.
"""

from jdiff.metrics.bootstrap import Estimate, bootstrap_share
from jdiff.metrics.features import frechet_distance, kernel_distance, precision_recall
from jdiff.metrics.neighbours import Copying, copying, nearest
from jdiff.metrics.projections import sliced_wasserstein
from jdiff.metrics.reading import LOOK_ALIKES, Legibility, legibility, read_legibility

__all__ = [
    "LOOK_ALIKES",
    "Copying",
    "Estimate",
    "Legibility",
    "bootstrap_share",
    "copying",
    "frechet_distance",
    "kernel_distance",
    "legibility",
    "nearest",
    "precision_recall",
    "read_legibility",
    "sliced_wasserstein",
]
