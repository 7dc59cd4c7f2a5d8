"""Trains a judge, a classifier that `jdiff evaluate` reads with, on real characters.

    jdiff train judge patch --minutes 8 --data-dir DIR
    jdiff train judge plain --minutes 8 --data-dir DIR

reads half of the training splits of EMNIST byclass and MNIST, each architecture its
own, writes the weights, and prints how the judge reads both test splits. MNIST's digits
are a part of every batch because they are smaller, sharper and centred by mass; no test
image of either set is seen.
"""

import argparse
import time
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np

from jdiff import data, evaluation, runs, storage, training
from jdiff.images import from_uint8
from jdiff.recipes import options

EMNIST_BATCH, MNIST_BATCH = 112, 16
# By architecture: which half of the images it sees, and its width at first.
HALVES = {"patch": 0, "plain": 1}
CHANNELS = {"patch": 32, "plain": 16}
NUM_FEATURES = 128
PEAK_LEARNING_RATE = 3e-3
# Between 0, which expects EMNIST's class frequencies, and 1, which expects equal ones.
BALANCE = 0.5


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this recipe."""
    add = parser.add_argument
    add("architecture", choices=HALVES, help="which judge")
    add("--minutes", type=float, default=8.0, help="training time")
    add("--steps", type=int, help="a number of steps instead of a budget")
    add("--data-dir", help="where the data sets lie; otherwise JDIFF_DATA_DIR, cache")
    add("--out", help="F.safetensors; by default the judge that ships")
    add("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> None:
    """Trains a judge, writes its weights and prints how it reads."""
    options.check_numbers(args, "minutes", "steps")
    out = args.out or evaluation.SHIPPED_JUDGES[args.architecture]
    storage.check_output(out, ".safetensors")
    sets = load_sets(args.data_dir)
    channels, half = CHANNELS[args.architecture], HALVES[args.architecture]
    architecture = evaluation.ARCHITECTURES[args.architecture]
    network = evaluation.make_classifier(architecture, channels, NUM_FEATURES)
    emnist, mnist = (
        [array[half::2] for array in sets[name]] for name in ("emnist", "mnist")
    )
    params = jax.device_get(train(network, emnist, mnist, args))
    description = {
        "network": "classifier",
        "architecture": args.architecture,
        "half": half,
        "chars": evaluation.MERGED_CHARS,
        "num_channels": channels,
        "num_features": NUM_FEATURES,
    }
    storage.save_weights(out, params, description)
    report(evaluation.load_judge(out), sets)


def load_sets(data_dir: str | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns (images uint8[N, 28, 28, 1], characters str[N]) of each split."""
    sets = {}
    for name, source in (("emnist", "emnist/byclass"), ("mnist", "mnist")):
        for split, suffix in (("train", ""), ("test", "_test")):
            dataset = data.load(source, split, data_dir)
            sets[name + suffix] = dataset.images, evaluation.chars_of(dataset)
    return sets


def train(network, emnist, mnist, args):
    """Returns the moving average of the weights when the budget is spent."""
    import optax  # here, because help texts need no optimizer

    budget = runs.Budget(time.monotonic(), args.minutes, args.steps)
    labels = evaluation.merged_labels(emnist[1])
    counts = np.bincount(labels, minlength=len(evaluation.MERGED_CHARS))
    prior = BALANCE * np.log(np.maximum(counts / len(labels), 1e-6))
    optimizer = optax.inject_hyperparams(optax.adamw)(0.0, weight_decay=1e-2)
    train_step = training.make_train_step(make_loss(network, prior), optimizer, 0.995)
    key_init, key = jax.random.split(jax.random.key(args.seed))
    rng = np.random.default_rng(args.seed)
    feeds = (
        feed(rng, emnist[0], emnist[1], EMNIST_BATCH),
        feed(rng, mnist[0], mnist[1], MNIST_BATCH),
    )
    params = jax.jit(network.init)(key_init, next(feeds[0])[0])
    state = training.init_train_state(key, params, optimizer)

    def next_batch():
        parts = zip(*map(next, feeds), strict=True)
        x, label = (jnp.asarray(np.concatenate(part)) for part in parts)
        return training.Batch(x, label)

    step = runs.compile_step(train_step, PEAK_LEARNING_RATE)
    both = runs.Feed(next_batch, EMNIST_BATCH + MNIST_BATCH)
    return runs.train(state, step, both, budget).ema_params


def feed(rng, images, chars, size):
    """Yields (images, labels) for ever; every image once before any comes again."""
    labels = evaluation.merged_labels(chars)
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield from_uint8(images[rows]), labels[rows]


def make_loss(network, prior):
    """Returns the cross-entropy of warped images, smoothed because labels are noisy.

    A share of the classes' log-frequencies is added in training alone, so that the
    judge owes less to them when it reads (logit adjustment, Menon et al. 2021).
    """

    import optax  # here, because help texts need no optimizer

    def loss_fn(params, key, batch):
        warped = jax.vmap(warp)(jax.random.split(key, len(batch.x)), batch.x)
        logits = network.apply(params, warped)[0]
        target = optax.smooth_labels(jax.nn.one_hot(batch.label, len(prior)), 0.05)
        loss = optax.softmax_cross_entropy(logits + prior[None], target).mean()
        return loss, {"loss": loss, "hits": (logits.argmax(-1) == batch.label).mean()}

    return loss_fn


def warp(key, image):
    """Returns an image [28, 28, 1] turned, slanted, stretched and moved a little."""
    key_matrix, key_shift = jax.random.split(key)
    matrix = jnp.eye(2) + 0.08 * jax.random.truncated_normal(key_matrix, -2, 2, (2, 2))
    shift = jax.random.uniform(key_shift, (2,), minval=-1.5, maxval=1.5)
    middle = (jnp.array(image.shape[:2]) - 1) / 2
    places = jnp.stack(jnp.indices(image.shape[:2]), -1) - middle[None, None]
    y, x = jnp.moveaxis(places @ matrix + (middle + shift)[None, None], -1, 0)
    pixels = jax.scipy.ndimage.map_coordinates(image[..., 0], [y, x], 1, cval=-1.0)
    return pixels[..., None]


def report(judge, sets) -> None:
    """Prints how often the judge reads the test images, and what it takes for what."""
    images, chars = sets["emnist_test"]
    result = evaluation.legibility(evaluation.read_images(judge, images), chars)
    classes = np.mean(list(result.per_class.values()))
    print(f"EMNIST test, {len(images):,} images: {result.strict.value:.2%}, "
          f"look-alikes merged {result.merged.value:.2%}, "
          f"mean of the {len(result.per_class)} characters {classes:.2%}")  # fmt: skip
    mnist, digits = sets["mnist_test"]
    read = evaluation.read_images(judge, mnist).logits[:, :10].argmax(-1)
    share = np.mean(read == evaluation.merged_labels(digits))
    print(f"MNIST test, {len(mnist):,} images, digits only: {share:.2%}")
    print("most frequent mistakes, as shares of the character in EMNIST test:")
    read = evaluation.read_images(judge, images).logits.argmax(-1)
    names = np.array(list(evaluation.MERGED_CHARS))
    wrong = read != evaluation.merged_labels(chars)
    count = Counter(chars.tolist())
    pairs = Counter(zip(chars[wrong], names[read[wrong]], strict=True))
    shares = {pair: number / count[pair[0]] for pair, number in pairs.items()}
    for char, taken in sorted(shares, key=shares.__getitem__, reverse=True)[:20]:
        print(f"  {char} read as {taken}: {shares[char, taken]:.0%}")
