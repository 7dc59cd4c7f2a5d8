"""What a run of a diffusion model leaves: weights, a picture of samples, figures."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from jdiff import data, evaluation, images, models, runs
from jdiff.sampling import Sample


def draw_classes(model: models.Model) -> Iterator[Sample]:
    """Returns batches of samples, each class twice; at most 100 classes."""
    labels = [k for k in range(min(len(model.classes), 100)) for _ in range(2)]
    num_steps = min(10, len(model.schedule.alpha) - 1)
    return models.generate_batches(jax.random.key(0), model, labels, num_steps)


def result_of(
    model: models.Model,
    description: dict[str, Any],
    whole: Callable[[Any], Any] = lambda params: params,
) -> runs.Result:
    """Returns what a run leaves; `whole` adds to the weights what the file holds."""

    def look(params: Any) -> runs.Look:
        batches = draw_classes(model._replace(params=whole(params)))
        drawn = [images.to_uint8(np.asarray(batch.x_0)) for batch in batches]
        grid = images.tile(np.concatenate(drawn))
        picture = images.on_paper(grid) if grid.ndim == 2 else grid  # grey is ink
        return runs.Look(picture, read_classes(model, np.concatenate(drawn)))

    return runs.Result(description, whole, look)


def read_classes(model: models.Model, drawn: np.ndarray) -> dict[str, float]:
    """Returns the share of samples of `draw_classes` that the plain judge reads right.

    So few tell whether a run goes well, not how good it is (`jdiff evaluate` does).
    Nothing is returned of classes or images that the judge does not know.
    """
    chars = np.repeat(np.array(list(model.classes)), 2)[: len(drawn)]
    known = np.isin(chars, list(data.EMNIST_CHARS))
    if not known.any() or model.shape != evaluation.IMAGE_SHAPE:
        return {}
    reading = evaluation.read_images(evaluation.load_judge("plain"), drawn[known])
    read = evaluation.legibility(reading, chars[known])
    return {"legible": read.strict.value, "legible_merged": read.merged.value}
