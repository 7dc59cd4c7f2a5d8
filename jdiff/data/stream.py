"""Data sets that are read image by image, and endless streams of their batches.

A `Source` holds no image. `read_all` reads a set that fits on the device; `stream`
reads a larger one with grain, in an order that depends on seed and position alone.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from jdiff import storage
from jdiff.data.dataset import DataError, Dataset, installed

_CHUNK = 1000  # images that a thread reads at a time
_NUM_THREADS = min(os.cpu_count() or 1, 16)
_NUM_AHEAD = 2 * _NUM_THREADS  # batches that wait, read, for their step


class Source(NamedTuple):
    """Labelled images that are read on demand.

    Attributes:
        read: rows int[n] or slice -> (images uint8[n, H, W, C], labels int32[n]), in
            any thread.
        num_images: number of rows, which count from 0.
        image_shape: (H, W, C).
        classes: as in `Dataset`.
    """

    read: Callable[[Any], tuple[np.ndarray, np.ndarray]]
    num_images: int
    image_shape: tuple[int, ...]
    classes: str | tuple[str, ...]


def from_dataset(dataset: Dataset) -> Source:
    """Returns a data set in memory as a source."""
    images, labels, classes = dataset

    def read(rows: Any) -> tuple[np.ndarray, np.ndarray]:
        return images[rows], labels[rows]

    return Source(read, len(images), images.shape[1:], classes)


def read_all(source: Source) -> Dataset:
    """Returns all of a source, in memory.

    Raises:
        DataError: an image cannot be read.
    """
    import tqdm

    images = np.empty((source.num_images, *source.image_shape), np.uint8)
    labels = np.empty(source.num_images, np.int32)
    chunks = [slice(k, k + _CHUNK) for k in range(0, source.num_images, _CHUNK)]
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        try:
            read = tqdm.tqdm(pool.map(source.read, chunks), "Reading", len(chunks))
            for chunk, (some, of_some) in zip(chunks, read, strict=True):
                images[chunk], labels[chunk] = some, of_some
        except DataError:
            pool.shutdown(cancel_futures=True)
            raise
    return Dataset(images, labels, source.classes)


def stream(
    source: Source,
    batch_size: int,
    seed: int,
    process_index: int = 0,
    num_processes: int = 1,
) -> Any:
    """Returns an endless iterator over batches, (uint8[B, H, W, C], int32[B]).

    An epoch is every image once, in a new order; a batch may span two epochs. Classes
    are as frequent as in the data. The batch of a step is the same for any number of
    processes, and each reads its own part, in order.

    The iterator has `get_state`, which is JSON-serialisable, and `set_state`, after
    which it continues from that state. Threads read the next batches. `next` raises
    DataError for an image that cannot be read.

    Args:
        source: of the images.
        batch_size: images in the batch of all processes together, >= 1.
        seed: of the order, >= 0.
        process_index: of this process, in [0, num_processes).
        num_processes: processes that share a batch; batch_size is a multiple of it.

    Raises:
        ValueError: a number is outside its range.
        DataError: grain is missing.
    """
    size, rest = divmod(batch_size, num_processes)
    if size < 1 or rest:
        raise ValueError(
            f"batch_size must be a multiple of the number of processes, "
            f"{num_processes}, got {batch_size}."
        )
    if not 0 <= process_index < num_processes:
        raise ValueError(
            f"process_index must be in [0, {num_processes}), got {process_index}."
        )
    with installed("grain, which streams data that do not fit on the device,"):
        import grain
    part = slice(process_index * size, (process_index + 1) * size)
    rows = grain.MapDataset.range(source.num_images).seed(seed).shuffle().repeat()
    # The rows are divided, so no process reads the images of another.
    batches = rows.batch(batch_size).map(lambda rows: _read(source, rows[part]))
    options = grain.ReadOptions(
        num_threads=_NUM_THREADS, prefetch_buffer_size=_NUM_AHEAD
    )
    return iter(batches.to_iter_dataset(options))


def _read(source: Source, rows: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    # In a thread, where other errors would be lost.
    with storage.reading("images", "whole while they are streamed"):
        return source.read(np.asarray(rows))
