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
import jax.numpy as jnp
import scale

import jdiff

KINDS = "emnist/NAME, mnist, ascii, glyphs, FILE.npz, folder:PATH, tfds:NAME[/CONFIG]"
MAX_BYTES_ON_DEVICE = 10**9  # of uint8; what is larger is streamed
SECONDS_TIMED = 3.0  # of the stream alone, in a dry run


class Feed(NamedTuple):
    """Where steps get their images.

    Attributes:
        next_data: () -> what the next step takes: a `BalancedData`, or a `Batch` of
            uint8 images.
        position: () -> where a stream stands, ready for JSON; None if there is none.
    """

    next_data: Callable[[], jdiff.BalancedData | jdiff.Batch]
    position: Callable[[], Any]


def open_source(args) -> jdiff.data.Source:
    """Returns the data set of a run.

    Raises:
        DataError: it is missing or broken.
        ValueError: the UNet does not take its images.
    """
    given = args.data, "train", args.data_dir, args.skip_broken
    source = jdiff.data.open_source(*given)
    height, width, channels = source.image_shape
    divisor = 2**args.num_levels
    if height % divisor or width % divisor:
        raise ValueError(
            f"height and width must be divisible by {divisor}, for {args.num_levels} "
            f"levels, got {height} x {width}."
        )
    if channels not in (1, 3):
        raise ValueError(f"images must be grey or RGB, got {channels} channels.")
    return source


def make_feed(args, source: jdiff.data.Source, mesh, position=None) -> Feed:
    """Returns the feed of a data set: the one place that decides where it lies.

    Args:
        args: of the run.
        source: from `open_source`.
        mesh: from `scale.make_mesh`.
        position: where a stream is to go on, from a checkpoint.

    Raises:
        DataError: an image cannot be read; of a stream, `next_data` raises it.
        ValueError: the position is one in other data.
    """
    if source.num_images * math.prod(source.image_shape) <= MAX_BYTES_ON_DEVICE:
        dataset = jdiff.data.read_all(source)
        data = scale.place(jdiff.balance(dataset.images, dataset.labels), mesh)
        return Feed(lambda: data, lambda: None)
    processes = jax.process_index(), jax.process_count()
    batches = jdiff.data.stream(source, args.batch_size, args.seed, *processes)
    if position is not None:
        if position["num_images"] != source.num_images:
            raise ValueError(
                f"{args.data} must be what the run began with, {position['num_images']}"
                f" images, got {source.num_images}."
            )
        batches.set_state(position["stream"])
    place = functools.partial(
        jax.make_array_from_process_local_data, scale.by_example(mesh)
    )
    return Feed(
        lambda: jdiff.Batch(*map(place, next(batches))),
        lambda: {"num_images": source.num_images, "stream": batches.get_state()},
    )


def draw(key: jax.Array, data, batch_size: int) -> jdiff.Batch:
    """Returns the batch of a step: drawn from what lies here, or the one that came."""
    if isinstance(data, jdiff.Batch):
        return data._replace(x=data.x.astype(jnp.float32) / 127.5 - 1.0)
    return jdiff.draw_batch(key, data, batch_size)


def rehearse(feed: Feed, batch_size: int) -> str:
    """Returns how fast images come, in words, when nothing else happens."""
    if feed.position() is None:
        return "data: on the device"
    began, num_images = time.monotonic(), 0
    while (seconds := time.monotonic() - began) < SECONDS_TIMED:
        jax.block_until_ready(feed.next_data())
        num_images += batch_size
    return f"data: streamed, {num_images / seconds:,.0f} images/s"
