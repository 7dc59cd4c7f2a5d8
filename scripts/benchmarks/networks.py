"""Compares networks after equal time of training, on digits, by a judge of digits.

    python scripts/benchmarks/networks.py --minutes 20

The UNet for images, the one for series, to which an image is a series of its rows, and
the transformer of patches. Nothing else may run meanwhile.
"""

import time

import jax
import numpy as np
from command import make_parser, run
from linear import check_num, compare_with

import jdiff
from jdiff import evaluation

NETWORKS = {
    "unet": jdiff.networks.make_unet(10, 64, 1),
    "unet_1d": jdiff.networks.make_unet_1d(10, 64, 1),
    "dit": jdiff.networks.make_dit(10),
}


def fit_and_draw(name: str, train, labels, minutes: float):
    """Returns images of labels, uint8[N, 28, 28, 1], parameters, and ms an image."""
    x = jdiff.images.from_uint8(train.images)
    x = x[..., 0] if name == "unet_1d" else x
    model = jdiff.fit(x, train.labels, minutes=minutes, network=NETWORKS[name])
    num = sum(leaf.size for leaf in jax.tree.leaves(model.params))
    jdiff.generate(jax.random.key(1), model, labels[:64])  # compiles
    began = time.perf_counter()
    x_0 = jdiff.generate(jax.random.key(0), model, labels, guidance=2.0).x_0
    seconds = time.perf_counter() - began
    images = jdiff.images.to_uint8(np.clip(x_0, -1, 1).reshape(-1, 28, 28, 1))
    return images, num, 1e3 * seconds / len(labels)


def main(argv=None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, default=20.0, help="for each network")
    parser.add_argument("--num", type=int, default=2000, help="images to draw")
    parser.add_argument("--data-dir", help="with MNIST's files; else it is downloaded")
    args = parser.parse_args(argv)
    check_num(args.num)
    train, test = evaluation.reference_splits("mnist", args.data_dir)
    compare, labels = compare_with(test), np.arange(args.num) % 10
    chars = np.array(list(test.classes))[labels]
    print(f"{'':10}{'parameters':>12}{'legible %':>12}{'Fréchet':>10}{'ms':>8}")
    for name in NETWORKS:
        images, num, ms = fit_and_draw(name, train, labels, args.minutes)
        legible, distance, *_ = compare(images, chars)
        row = f"{num:12,}{legible:12.1f}{distance:10.2f}{ms:8.2f}"
        print(f"{name:10}{row}", flush=True)


if __name__ == "__main__":
    run(main)
