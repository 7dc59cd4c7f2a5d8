"""Trains a judge, a classifier behind `jdiff evaluate`, on real characters.

    python scripts/train_judge.py patch --minutes 8 --data-dir DIR
    python scripts/train_judge.py plain --minutes 8 --data-dir DIR

reads half of the training splits of EMNIST byclass and MNIST, each architecture its
own, writes the weights, and prints how the judge reads both test splits. MNIST's digits
are a part of every batch because they are smaller, sharper and centred by mass; no test
image of either set is seen.
"""

import argparse
import sys
import time
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tqdm import tqdm

import jdiff

EMNIST_BATCH, MNIST_BATCH = 112, 16
# By architecture: which half of the images it sees, and its width at full resolution.
HALVES = {"patch": 0, "plain": 1}
CHANNELS = {"patch": 32, "plain": 16}


def main() -> None:
    args = parse_args()
    out = args.out or jdiff.evaluation.SHIPPED_JUDGES[args.architecture]
    try:
        jdiff.storage.check_output(out, ".safetensors")
        sets = load_sets(args.data_dir)
    except (ValueError, OSError) as error:
        print(f"train_judge.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    network = jdiff.evaluation.make_classifier(
        jdiff.evaluation.ARCHITECTURES[args.architecture],
        CHANNELS[args.architecture],
        args.features,
    )
    half = HALVES[args.architecture]
    emnist, mnist = (
        [array[half::2] for array in sets[name]] for name in ("emnist", "mnist")
    )
    params = jax.device_get(train(network, emnist, mnist, args))
    description = {
        "network": "classifier",
        "architecture": args.architecture,
        "half": half,
        "chars": jdiff.evaluation.MERGED_CHARS,
        "num_channels": CHANNELS[args.architecture],
        "num_features": args.features,
    }
    jdiff.storage.save_weights(out, params, description)
    report(jdiff.evaluation.load_judge(out), sets)


def parse_args() -> argparse.Namespace:
    formatter = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("architecture", choices=HALVES, help="which judge")
    parser.add_argument("--minutes", type=float, default=8.0, help="training time")
    parser.add_argument("--data-dir", help="else JDIFF_DATA_DIR, or a download")
    parser.add_argument("--out", help="by default the judge that ships")
    parser.add_argument("--features", type=int, default=128, help="feature space")
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="the peak")
    parser.add_argument(
        "--balance",
        type=float,
        default=0.5,
        help="0: expect EMNIST's class frequencies, 1: equal ones",
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not 0.0 < args.minutes < float("inf"):
        parser.error(f"--minutes must be a positive number, got {args.minutes}.")
    return args


def load_sets(data_dir: str | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Returns (images uint8[N, 28, 28, 1], characters str[N]) of each split."""
    sets = {}
    for name, source in (("emnist", "emnist/byclass"), ("mnist", "mnist")):
        for split, suffix in (("train", ""), ("test", "_test")):
            dataset = jdiff.data.load(source, split, data_dir)
            chars = np.array(list(dataset.classes))[dataset.labels]
            sets[name + suffix] = dataset.images, chars
    return sets


def train(network, emnist, mnist, args):
    """Returns the moving average of the weights after `args.minutes`."""
    labels = jdiff.evaluation.merged_labels(emnist[1])
    frequency = np.bincount(labels, minlength=len(jdiff.evaluation.MERGED_CHARS)) / len(
        labels
    )
    loss_fn = make_loss(network, args.balance * np.log(np.maximum(frequency, 1e-6)))
    optimizer = optax.inject_hyperparams(optax.adamw)(0.0, weight_decay=1e-2)
    step = jax.jit(jdiff.make_train_step(loss_fn, optimizer, ema_decay=0.995))

    key_init, key = jax.random.split(jax.random.key(args.seed))
    rng = np.random.default_rng(args.seed)
    feeds = feed(rng, *emnist, EMNIST_BATCH), feed(rng, *mnist, MNIST_BATCH)
    params = jax.jit(network.init)(key_init, next(feeds[0])[0])
    state = jdiff.init_train_state(key, params, optimizer)
    done, start = 0.0, time.monotonic()
    with tqdm(total=100, unit="%", bar_format="{l_bar}{bar}|{postfix}") as bar:
        while done < 1.0:
            state.opt_state.hyperparams["learning_rate"] = jnp.float32(
                args.learning_rate * schedule(done)
            )
            parts = zip(next(feeds[0]), next(feeds[1]), strict=True)
            state, metrics = step(state, jdiff.Batch(*map(np.concatenate, parts)))
            jax.block_until_ready(metrics)  # else the clock would run ahead
            done = (time.monotonic() - start) / (60 * args.minutes)
            if int(state.step) % 20 == 0:
                loss, hits = float(metrics["loss"]), float(metrics["hits"])
                bar.update(min(100 * done, 100) - bar.n)
                bar.set_postfix(step=int(state.step), loss=loss, hits=hits)
    return state.ema_params


def schedule(done: float) -> float:
    """Returns the share of the peak learning rate: 5% warm-up, then half a cosine."""
    warm_up = 0.05
    if done < warm_up:
        return done / warm_up
    return 0.5 + 0.5 * np.cos(np.pi * min((done - warm_up) / (1 - warm_up), 1.0))


def feed(rng, images, chars, size):
    """Yields (images, labels) for ever; every image once before any comes again."""
    labels = jdiff.evaluation.merged_labels(chars)
    while True:
        order = rng.permutation(len(images))
        for start in range(0, len(order) - size + 1, size):
            rows = order[start : start + size]
            yield images[rows].astype(np.float32) / 127.5 - 1.0, labels[rows]


def make_loss(network, prior):
    """Returns the cross-entropy of warped images, smoothed because labels are noisy.

    A share of the classes' log-frequencies is added in training alone, so that the
    judge owes less to them when it reads (logit adjustment, Menon et al. 2021).
    """

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
    result = jdiff.evaluation.legibility(judge, images, chars)
    classes = np.mean(list(result.per_class.values()))
    print(f"EMNIST test, {len(images):,} images: {result.strict.value:.2%}, "
          f"look-alikes merged {result.merged.value:.2%}, "
          f"mean of the {len(result.per_class)} characters {classes:.2%}")  # fmt: skip
    mnist, digits = sets["mnist_test"]
    read = jdiff.evaluation.read_images(judge, mnist).logits[:, :10].argmax(-1)
    share = np.mean(read == jdiff.evaluation.merged_labels(digits))
    print(f"MNIST test, {len(mnist):,} images, digits only: {share:.2%}")
    print("most frequent mistakes, as shares of the character in EMNIST test:")
    read = jdiff.evaluation.read_images(judge, images).logits.argmax(-1)
    names = np.array(list(jdiff.evaluation.MERGED_CHARS))
    wrong = read != jdiff.evaluation.merged_labels(chars)
    count = Counter(chars.tolist())
    pairs = Counter(zip(chars[wrong], names[read[wrong]], strict=True))
    shares = {pair: number / count[pair[0]] for pair, number in pairs.items()}
    for char, taken in sorted(shares, key=shares.get, reverse=True)[:20]:
        print(f"  {char} read as {taken}: {shares[char, taken]:.0%}")


if __name__ == "__main__":
    main()
