"""What a run of a diffusion model leaves: weights, and a picture of samples."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jdiff import images, models, runs
from jdiff.sampling import Sample


def draw_classes(model: models.Model) -> Iterator[Sample]:
    """Returns batches of samples, each class twice; at most 100 classes.

    Raises:
        ValueError: no samples can be drawn from the model; on the call.
    """
    labels = [k for k in range(min(len(model.classes), 100)) for _ in range(2)]
    num_steps = min(10, len(model.schedule.alpha) - 1)
    return models.generate_batches(jax.random.key(0), model, labels, num_steps)


def result_of(
    model: models.Model, description: dict[str, Any], fixed: Any = None
) -> runs.Result:
    """Returns what a run leaves.

    Args:
        model: that is trained; its weights do not matter.
        description: of the weights file.
        fixed: what the file holds besides the weights that are trained.
    """

    def whole(params: Any) -> Any:
        return params | (fixed or {})

    def picture(params: Any) -> np.ndarray:
        batches = draw_classes(model._replace(params=whole(params)))
        drawn = [images.to_uint8(np.asarray(batch.x_0)) for batch in batches]
        grid = images.tile(np.concatenate(drawn))
        return images.on_paper(grid) if grid.ndim == 2 else grid  # grey is ink

    return runs.Result(description, whole, picture)
