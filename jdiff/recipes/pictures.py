"""Pictures of what a model draws while it is trained."""

from collections.abc import Iterator

import jax
import numpy as np

from jdiff import images, models
from jdiff.sampling import Sample


def draw_classes(model: models.Model) -> Iterator[Sample]:
    """Returns batches of samples, each class twice; at most 100 classes.

    Raises:
        ValueError: no samples can be drawn from the model; on the call.
    """
    labels = [k for k in range(min(len(model.classes), 100)) for _ in range(2)]
    num_steps = min(10, len(model.schedule.alpha) - 1)
    return models.generate(jax.random.key(0), model, labels, num_steps, with_path=False)


def sample_grid(model: models.Model) -> np.ndarray:
    """Returns one picture of samples, grey ones dark on white."""
    batches = [images.to_uint8(np.asarray(batch.x_0)) for batch in draw_classes(model)]
    grid = images.tile(np.concatenate(batches))
    return images.on_paper(grid) if grid.ndim == 2 else grid
