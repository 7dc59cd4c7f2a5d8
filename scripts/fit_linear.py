"""Fits diffusion models made of linear parts, and compares them.

    python scripts/fit_linear.py --data mnist --model mixture --out mixture.safetensors
    python scripts/fit_linear.py --data mnist --compare

The models are `article`, one regression at one level of noise; `affine`, the best
affine denoiser at every level; and `mixture`, several of these for each class.
--compare fits each in a process of its own, so that compilation and memory are its own,
draws --num images from it, and sets them beside test images: also from scikit-learn
following the article's recipe, where it is installed. Sets without a test split (.npz)
are fitted, not compared.
"""

import argparse
import importlib.util
import multiprocessing
import resource
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import jax
import numpy as np

import jdiff

COLUMNS = "fit s,draw s,peak GB,legible,Fréchet,precision,recall,bits/dim"


def main() -> None:
    args = parse_args()
    try:
        if args.out:
            jdiff.storage.check_output(args.out, ".safetensors")
        train = jdiff.data.load(args.data, "train", args.data_dir)
        if args.compare:
            test = jdiff.data.load(args.data, "test", args.data_dir)
            compare(args, test)
            return
        start = time.perf_counter()
        model = fit(args.model, args, train.images, names(train))
        print(f"fitted {len(train.images):,} images in "
              f"{time.perf_counter() - start:.1f} s")  # fmt: skip
        save = (
            jdiff.closed_form.linear.save
            if args.model == "article"
            else jdiff.closed_form.mixtures.save
        )
        save(args.out, model)
    except (ValueError, OSError) as error:
        print(f"fit_linear.py: error: {error}", file=sys.stderr)
        sys.exit(2)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="mnist", help="emnist/NAME, mnist, FILE.npz")
    parser.add_argument("--data-dir", help="else JDIFF_DATA_DIR, or a download")
    parser.add_argument(
        "--model", choices=("article", "affine", "mixture"), default="mixture"
    )
    parser.add_argument("--out", metavar="FILE.safetensors", help="where weights go")
    parser.add_argument("--compare", action="store_true", help="print the table")
    parser.add_argument("--cells", type=int, default=64, help="Gaussians of a class")
    parser.add_argument("--latents", type=int, default=100, help="latents of a mixture")
    parser.add_argument("--rank", type=int, default=30, help="variances of a cell")
    parser.add_argument("--shrinkage", type=float, default=10.0, help="in images")
    parser.add_argument("--num", type=int, default=6200, help="images to draw")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if not args.compare and not args.out:
        parser.error("give --out FILE.safetensors, --compare, or both in two runs.")
    if args.compare and args.out:
        parser.error("--compare writes no weights: leave --out away.")
    if args.num < 1000:
        parser.error(f"--num must be >= 1000 for a Fréchet distance, got {args.num}.")
    return args


def names(dataset) -> np.ndarray:
    """Returns the character of each image."""
    return np.array(list(dataset.classes))[dataset.labels]


def fit(name, args, images, labels):
    if name == "article":
        return jdiff.closed_form.linear.fit(images, labels)
    if name == "affine":
        size = images[0].size
        return jdiff.closed_form.mixtures.fit(
            images, labels, 1, size, size, args.shrinkage
        )
    numbers = args.cells, args.latents, args.rank, args.shrinkage, args.seed
    return jdiff.closed_form.mixtures.fit(images, labels, *numbers)


def measure(name, args, chars):
    """Fits and draws in this process; returns figures and images uint8."""
    train = jdiff.data.load(args.data, "train", args.data_dir)
    labels = names(train)
    start = time.perf_counter()
    if name == "scikit-learn":
        draw = fit_by_scikit_learn(train.images, labels)
        model = None
    else:
        model = fit(name, args, train.images, labels)
        generate = jdiff.closed_form.linear.generate if name == "article" else (
            jdiff.closed_form.mixtures.generate
        )  # fmt: skip

        def draw(wanted, seed):
            return generate(jax.random.key(seed), model, wanted)

    fit_seconds = time.perf_counter() - start
    draw(chars, args.seed + 1)  # compiles
    start = time.perf_counter()
    images = draw(chars, args.seed)
    draw_seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if name in ("article", "scikit-learn"):
        images = np.clip(np.round(images), 0, 255).astype(np.uint8)
    else:
        images = jdiff.images.to_uint8(images)
    bits = np.inf  # the article's images lie in a plane: it gives others no density
    if name not in ("article", "scikit-learn"):
        bits = bits_per_dimension(model, args)
    return fit_seconds, draw_seconds, peak, bits, images


def bits_per_dimension(model, args) -> float:
    """Returns the mean of -log2 p(x | class) / D + log2(127.5) over test images.

    An upper bound of bits for each pixel of 256 values (Theis et al. 2016, Eq. 3): each
    value is made continuous by noise that is uniform over its bin, 1 / 127.5 wide.
    """
    test = jdiff.data.load(args.data, "test", args.data_dir)
    places = {label: place for place, label in enumerate(model.labels)}
    index = np.array([places[name] for name in names(test)])
    bins = np.random.default_rng(args.seed).uniform(-0.5, 0.5, test.images.shape)
    images = ((test.images + bins) / 127.5 - 1).astype(np.float32)
    schedule = jdiff.cosine_schedule(1)
    arrays = model._replace(labels=())

    @jax.jit
    def densities(images, k):
        def one(x):
            return jdiff.closed_form.mixtures.log_density(arrays, schedule, x, 0, k)

        return jax.lax.map(one, images, batch_size=64)

    nats = [np.asarray(densities(images[index == k], k)) for k in places.values()]
    per_image = np.concatenate(nats).mean(dtype=np.float64) / np.log(2)
    return float(np.log2(127.5) - per_image / images[0].size)


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
        return encoder.inverse_transform(denoised).reshape(-1, *images.shape[1:])

    return draw


def compare(args, test) -> None:
    """Prints the table of all models, each measured in a process of its own."""
    judge, truth = jdiff.evaluation.load_judge(), names(test)
    reference = jdiff.evaluation.read_images(judge, test.images).features
    chars = np.array(list(test.classes))[
        np.arange(args.num) * len(test.classes) // args.num
    ]
    allowed = "".join(sorted(set(truth)))
    print(f"{'':14}" + "".join(f"{name:>11}" for name in COLUMNS.split(",")))
    members = ["article", "affine", "mixture"]
    if importlib.util.find_spec("sklearn"):
        members.append("scikit-learn")
    for name in members:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            *costs, bits, images = pool.submit(measure, name, args, chars).result()
        features = jdiff.evaluation.read_images(judge, images).features
        read = jdiff.evaluation.legibility(
            judge, images, chars, allowed=allowed
        ).overall
        distance = jdiff.evaluation.frechet_distance(features, reference).value
        # Equally many on both sides: the figures depend on the numbers.
        rows = np.random.default_rng(args.seed).permutation(len(reference))[: args.num]
        pair = jdiff.evaluation.precision_recall(features, reference[rows])
        figures = [*costs, 100 * read.value, distance, *(x.value for x in pair), bits]
        print(f"{name:14}" + "".join(f"{x:11.3f}" for x in figures), flush=True)


if __name__ == "__main__":
    main()
