"""Compares diffusion models made of linear parts on a set with a test split.

    python scripts/benchmarks/linear.py --data mnist

`article` is one regression at one level of noise; `affine` the best affine denoiser at
every level; `mixture` several of these for each class; `scikit-learn` the article's own
recipe, where it is installed. Each is fitted in a process of its own, so that
compilation and memory are its own; --num images of it are set beside test images.
"""

import argparse
import functools
import importlib.util
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor

import jax
import numpy as np
from command import make_parser, run

import jdiff
from jdiff import evaluation
from jdiff.closed_form import linear, mixtures

COLUMNS = "fit s,draw s,peak GB,legible,Fréchet,precision,recall,bits/dim"


def fit(name: str, images, labels):
    """Returns (model, draw), draw(labels, seed) -> images uint8[N, H, W, C].

    The article's models have no density, so they are None.
    """
    if name == "scikit-learn":
        return None, fit_by_scikit_learn(images, labels)
    if name == "article":
        model = linear.fit(images, labels)
        return None, lambda wanted, seed: as_bytes(
            linear.generate(jax.random.key(seed), model, wanted)
        )
    size = images[0].size
    sizes = (1, size, size) if name == "affine" else (64, 150, 30)
    model = mixtures.fit(images, labels, *sizes)
    return model, lambda wanted, seed: jdiff.images.to_uint8(
        mixtures.generate(jax.random.key(seed), model, wanted)
    )


def as_bytes(images) -> np.ndarray:
    return np.clip(np.round(images), 0, 255).astype(np.uint8)


def fit_by_scikit_learn(images, labels, num_latents=144):
    """Returns a function (labels, seed) -> images, by the article's own recipe."""
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LinearRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    def features(text, latents):
        products = [latents * column[:, None] for column in text.T]
        return np.concatenate([latents, text, *products], axis=1)

    encoder = make_pipeline(StandardScaler(), PCA(num_latents))
    latents = encoder.fit_transform(images.reshape(len(images), -1))
    text = OneHotEncoder(drop="first", sparse_output=False).fit(labels[:, None])
    noise = np.random.default_rng(1337).normal(size=latents.shape)
    one_hot = text.transform(labels[:, None])
    model = LinearRegression().fit(features(one_hot, latents + noise), noise)

    def draw(wanted, seed):
        eps = np.random.default_rng(seed).normal(size=(len(wanted), num_latents))
        one_hot = text.transform(np.asarray(wanted)[:, None])
        denoised = eps - model.predict(features(one_hot, eps))
        drawn = encoder.inverse_transform(denoised)
        return as_bytes(drawn.reshape(-1, *images.shape[1:]))

    return draw


def measure(name: str, args: argparse.Namespace, chars: np.ndarray):
    """Returns seconds to fit and to draw, GB, bits per dimension, and images uint8."""
    train = jdiff.data.load(args.data, "train", args.data_dir)
    began = time.perf_counter()
    model, draw = fit(name, train.images, evaluation.chars_of(train))
    fit_seconds = time.perf_counter() - began
    draw(chars, 1)  # compiles
    began = time.perf_counter()
    images = draw(chars, 0)
    draw_seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    # The article's images lie in a plane: it gives others no density.
    bits = bits_per_dimension(model, args) if model else np.inf
    return fit_seconds, draw_seconds, peak, bits, images


def bits_per_dimension(model, args: argparse.Namespace) -> float:
    """Returns the mean of -log2 p(x | class) / D + log2(127.5) over test images.

    It bounds the bits of pixels (Theis et al. 2016, Eq. 3), which noise makes
    continuous, uniform over a bin 1 / 127.5 wide.
    """
    test = jdiff.data.load(args.data, "test", args.data_dir)
    places = {label: place for place, label in enumerate(model.labels)}
    index = np.array([places[char] for char in evaluation.chars_of(test)])
    bins = np.random.default_rng(0).uniform(-0.5, 0.5, test.images.shape)
    images = ((test.images + bins) / 127.5 - 1).astype(np.float32)
    schedule = jdiff.cosine_schedule(1)
    arrays = model._replace(labels=())

    @jax.jit
    def densities(images, k):
        density = functools.partial(mixtures.log_density, arrays, schedule)
        return jax.lax.map(lambda x: density(x, 0, k), images, batch_size=64)

    nats = [np.asarray(densities(images[index == k], k)) for k in places.values()]
    per_image = np.concatenate(nats).mean(dtype=np.float64) / np.log(2)
    return float(np.log2(127.5) - per_image / images[0].size)


def check_num(num: int) -> None:
    """Raises a ValueError if images are too few for `compare_with`."""
    if num < 1000:
        raise ValueError(f"--num must be >= 1000 for a Fréchet distance, got {num}.")


def compare_with(test: jdiff.data.Dataset):
    """Returns (images, chars) -> % legible, Fréchet distance, precision and recall.

    The judge is the one that normalises no image: the other one overlooks speckle.
    """
    judge = evaluation.load_judge("plain")
    reference = evaluation.read_images(judge, test.images).features
    allowed = "".join(sorted(set(evaluation.chars_of(test))))

    def compare(images: np.ndarray, chars: np.ndarray) -> list[float]:
        reading = evaluation.read_images(judge, images)
        read = evaluation.legibility(reading, chars, allowed=allowed).strict
        distance = evaluation.frechet_distance(reading.features, reference)
        # Equally many on both sides: precision and recall depend on the numbers.
        rows = np.random.default_rng(0).permutation(len(reference))[: len(images)]
        pair = evaluation.compare_manifolds(reading.features, reference[rows])[:2]
        return [100 * read.value, *(x.value for x in (distance, *pair))]

    return compare


def main(argv=None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--data", default="mnist", help="emnist/NAME, mnist")
    parser.add_argument("--data-dir", help="else JDIFF_DATA_DIR, or a download")
    parser.add_argument("--num", type=int, default=6200, help="images to draw")
    args = parser.parse_args(argv)
    check_num(args.num)
    test = jdiff.data.load(args.data, "test", args.data_dir)
    compare = compare_with(test)
    labels = np.arange(args.num) * len(test.classes) // args.num
    chars = np.array(list(test.classes))[labels]
    members = ["article", "affine", "mixture"]
    members += ["scikit-learn"] if importlib.util.find_spec("sklearn") else []
    print(f"{'':14}" + "".join(f"{name:>11}" for name in COLUMNS.split(",")))
    for name in members:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            *costs, bits, images = pool.submit(measure, name, args, chars).result()
        figures = [*costs, *compare(images, chars), bits]
        print(f"{name:14}" + "".join(f"{x:11.3f}" for x in figures), flush=True)


if __name__ == "__main__":
    run(main)
