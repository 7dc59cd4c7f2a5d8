"""Fits diffusion models made of linear parts, in closed form.

    jdiff train mixture --data mnist --out mixture.safetensors
    jdiff sample --weights mixture.safetensors --out digits.png

The models are `article`, one regression at one level of noise; `affine`, the best
affine denoiser at every level; and `mixture`, several of these for each class.
"""

import argparse
import time
from pathlib import Path

import numpy as np

from jdiff import closed_form, data, storage
from jdiff.recipes import options


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options of this recipe."""
    add = parser.add_argument
    add("--data", default="mnist", help="emnist/NAME, mnist, FILE.npz")
    add("--data-dir", help="where the data set lies; otherwise JDIFF_DATA_DIR, cache")
    add("--model", choices=("article", "affine", "mixture"), default="mixture")
    add("--out", type=Path, default=Path("mixture.safetensors"))
    add("--cells", type=int, default=64, help="Gaussians of a class")
    add("--latents", type=int, default=150, help="latents of a mixture")
    add("--rank", type=int, default=30, help="variances of a cell")
    add("--shrinkage", type=float, default=10.0, help="in images")
    add("--seed", type=int, default=0)


def run(args: argparse.Namespace) -> None:
    """Fits a model and writes its weights."""
    options.check_numbers(args)
    storage.check_output(args.out, ".safetensors")
    images, labels, classes = data.load(args.data, "train", args.data_dir)
    began, names = time.perf_counter(), np.array(list(classes))[labels]
    if args.model == "article":
        closed_form.linear.save(args.out, closed_form.linear.fit(images, names))
    else:
        cells, latents, rank = args.cells, args.latents, args.rank
        if args.model == "affine":
            cells, latents, rank = 1, images[0].size, images[0].size
        fitted = closed_form.mixtures.fit(
            images, names, cells, latents, rank, args.shrinkage, args.seed
        )
        closed_form.mixtures.save(args.out, fitted)
    seconds = time.perf_counter() - began
    print(f"fitted {len(images):,} images in {seconds:.1f} s")
