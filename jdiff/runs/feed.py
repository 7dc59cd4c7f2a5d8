"""How images come into a step: drawn on the device, or streamed to it.

What fits lies on the device, where each step draws a batch in which every class is
equally likely. What does not is streamed: uint8 batches, read by threads, of classes
as frequent as they are in the data.
"""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jdiff import data
from jdiff.images import from_uint8
from jdiff.runs import devices
from jdiff.training import BalancedData, Batch, balance, draw_batch

MAX_BYTES_ON_DEVICE = 10**9  # of uint8; what is larger is streamed
SECONDS_TIMED = 3.0  # of the stream alone, in a dry run


class Feed(NamedTuple):
    """Where steps get their data."""

    # What the next step takes; of images a `BalancedData`, or a `Batch` of uint8.
    next_data: Callable[[], Any]
    batch_size: int  # examples in a step
    # Where a stream stands, ready for JSON; None if there is none.
    position: Callable[[], Any] = lambda: None


def make_feed(
    source: data.Source, mesh: Mesh, batch_size: int, seed: int, position: Any = None
) -> Feed:
    """Returns the feed of a data set: the one place that decides where it lies.

    A batch is that of all devices together; seed and position, which must be one in
    these data, are of a stream.
    """
    if source.num_images * math.prod(source.image_shape) <= MAX_BYTES_ON_DEVICE:
        dataset = data.read_all(source)
        whole = devices.shard(balance(dataset.images, dataset.labels), mesh)
        return Feed(lambda: whole, batch_size)
    several = jax.process_index(), jax.process_count()
    batches = data.stream(source, batch_size, seed, *several)
    if position is not None:
        if position["num_images"] != source.num_images:
            raise ValueError(
                f"data must be what the run began with, {position['num_images']} "
                f"images, got {source.num_images}."
            )
        batches.set_state(position["stream"])
    put = functools.partial(
        jax.make_array_from_process_local_data, devices.by_example(mesh)
    )
    return Feed(
        lambda: Batch(*map(put, next(batches))),
        batch_size,
        lambda: {"num_images": source.num_images, "stream": batches.get_state()},
    )


def draw_images(key: jax.Array, images: BalancedData | Batch, batch_size: int) -> Batch:
    """Returns the batch of a step: drawn from what lies here, or the one that came."""
    if isinstance(images, Batch):
        return images._replace(x=from_uint8(images.x))
    return draw_batch(key, images, batch_size)


def estimate_speed(feed: Feed) -> str:
    """Returns how fast images come, in words, when nothing else happens."""
    if feed.position() is None:
        return "data: on the device"
    began, num_images = time.monotonic(), 0
    while (seconds := time.monotonic() - began) < SECONDS_TIMED:
        jax.block_until_ready(feed.next_data())
        num_images += feed.batch_size
    return f"data: streamed, {num_images / seconds:,.0f} images/s"
