"""Prints the table of docs/solvers.md: bits per dimension of test images.

    python scripts/benchmarks/likelihood.py --out likelihood.json

All figures are bits for each pixel of 256 values, upper bounds, given the character,
with the standard error of the mean over the same --num test images:

- Gaussian: of the pixels made continuous by noise of one grey level (Theis et al.
  2016), under the mean and covariance of each class, plus one variance that those of
  the training images choose that the fit left out, one in ten.
- bound: the variational bound of the UNet and its three terms.
- flow: the probability flow of the UNet down to the first step of its schedule, with a
  Hutchinson trace, and from there to pixels the last term of the bound: the network
  makes a point of paper, which has no density. The integration error is what half the
  steps change; more than 0.01 is refused.

Digits have the labels 0-9 of EMNIST's characters.
"""

import argparse
import functools
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from command import check_json, check_positive, header, make_parser, run, save_json

import jdiff

FLOORS = np.geomspace(1e-6, 1e-2, 25)
BATCH = 16
TERMS = ("Gaussian", "bound", "prior", "diffusion", "reconstruction", "flow")
COLUMNS = ("test images", *TERMS, "integration error")


def main(argv=None) -> None:
    args = parse_args(argv)
    check_json(args.out)
    model = jdiff.load_model(args.model)
    one_batch = compile_bits(model, args)
    print(header(*COLUMNS))
    table = {name: measure(name, model, one_batch, args) for name in args.data}
    save_json(args.out, {"arguments": vars(args), "bits": table})


def parse_args(argv=None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    sets = ["emnist/byclass", "mnist"]
    parser.add_argument("--data", nargs="+", default=sets, help="also FILE.npz")
    parser.add_argument("--data-dir", help="else JDIFF_DATA_DIR, or a download")
    parser.add_argument("--model", default="unet", help="or FILE.safetensors")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.json", help="the figures, unrounded"
    )
    parser.add_argument("--num", type=int, default=96, help="test images of each set")
    parser.add_argument("--steps", type=int, default=48, help="of the flow, even")
    parser.add_argument("--bound-steps", type=int, default=100)
    parser.add_argument("--tolerance", type=float, default=0.01, help="of the flow")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    check_positive(args, "bound_steps")
    if args.num < 2:
        raise ValueError(f"--num must be >= 2 for a standard error, got {args.num}.")
    if args.steps < 4 or args.steps % 2:
        raise ValueError(f"--steps must be even and >= 4, got {args.steps}.")
    return args


def measure(name: str, model: jdiff.models.Model, one_batch, args) -> dict:
    """Returns the figures of one data set, and prints its row."""
    train, test = load(name, args)
    images, labels = inputs(test, model)
    bits, floor = gaussian_bits(train, test, args.seed)
    rows = np.arange(len(images))
    one_batch = functools.partial(one_batch, model.params)
    parts = jdiff.images.in_batches(one_batch, BATCH, rows, images, labels)
    bound, flow = jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)
    figures = {"Gaussian": mean(bits), "floor": floor, "bound": mean(sum(bound))}
    figures |= {term: mean(bits) for term, bits in bound._asdict().items()}
    figures["flow"] = jdiff.likelihood.mean_bits(flow, args.tolerance)._asdict()
    print_row(name, figures)
    return figures


def load(name: str, args: argparse.Namespace):
    """Returns the training set and --num of the test images."""
    train, test = jdiff.evaluation.reference_splits(name, args.data_dir)
    if args.num > len(test.images):
        raise ValueError(
            f"--num must be at most {len(test.images)}, the test images of {name}, "
            f"got {args.num}."
        )
    rng = np.random.default_rng(args.seed)
    rows = rng.permutation(len(test.images))[: args.num]
    return train, jdiff.data.select(test, rows)


def pixels(images: np.ndarray) -> np.ndarray:
    """Returns images in [-1, 1], float64[N, D]."""
    return images.reshape(len(images), -1) * jdiff.likelihood.PIXEL - 1.0


def gaussian_bits(train, test, seed: int) -> tuple[np.ndarray, float]:
    """Returns the bits of each test image under its class's Gaussian, and the floor."""
    rng = np.random.default_rng(seed)
    chosen_by, wanted = [], np.empty((len(test.images), len(FLOORS)))
    for k in np.unique(test.labels):
        own = train.images[rng.permutation(np.flatnonzero(train.labels == k))]
        others, fitted = np.split(own, [max(1, len(own) // 10)])
        if len(fitted) < 2:
            raise ValueError(
                f"data must have 2 training images of each class, got {len(fitted)} "
                f"of {test.classes[k]!r}."
            )
        x, is_k = pixels(fitted), test.labels == k
        center = x.mean(0)
        variances, vectors = np.linalg.eigh(np.cov(x, rowvar=False))
        law = center, vectors, np.maximum(variances, 0.0)
        chosen_by.append(log_losses(rng, *law, others))
        wanted[is_k] = log_losses(rng, *law, test.images[is_k])
    best = np.concatenate(chosen_by).mean(0).argmin()
    return wanted[:, best], float(FLOORS[best])


def log_losses(rng, center, vectors, variances, images) -> np.ndarray:
    """Returns the bits per dimension of pixels, with each floor: [N, floors]."""
    x = pixels(images)
    x += jdiff.likelihood.PIXEL * rng.uniform(-0.5, 0.5, x.shape)
    squares = np.square((x - center) @ vectors)
    law = variances + FLOORS[:, None]
    nats = 0.5 * (squares @ (1.0 / law).T + np.log(2 * math.pi * law).sum(1))
    return nats / (x.shape[1] * math.log(2.0)) - math.log2(jdiff.likelihood.PIXEL)


def path_above_first(schedule: jdiff.Schedule, num_steps: int) -> jdiff.Schedule:
    """Returns data, and the schedule from its step 1 to T in num_steps.

    They are spread over the log-SNR, the shortest first, where `flow_bits` is of order
    1; there the schedule has too few, so it is interpolated. Above twice the size of
    the data the flow hardly bends, so the last step goes from there to T.
    """
    alpha, sigma = (np.asarray(table, np.float64)[1:] for table in schedule)
    level = np.log(sigma / np.maximum(alpha, 1e-9))
    fraction = np.linspace(0.0, 1.0, num_steps) ** 1.5
    wanted = level[0] + fraction * (math.log(2.0) - level[0])
    wanted = np.append(wanted, level[-1])
    t = np.interp(wanted, level, np.arange(len(level)))
    tables = (np.interp(t, np.arange(len(level)), table) for table in (alpha, sigma))
    tables = (np.append(x, table) for x, table in zip((1, 0), tables, strict=True))
    return jdiff.Schedule(*(jnp.asarray(table, jnp.float32) for table in tables))


def of_first(path: jdiff.Schedule):
    """Returns the schedule whose data are a path's step 1, and its denoiser.

    x_t = a_t x_1 + s_t eps,  a_t = alpha_t / alpha_1,  s_t^2 = g_t sigma_t^2
    E[x_1 | x_t] = a_t r_t x_t + g_t alpha_1 E[x_0 | x_t]
    r_t = (sigma_1 / sigma_t)^2,  g_t = 1 - a_t^2 r_t

    (Tweedie's formula for both.) It is the same flow of the same x_t, but written in
    x_t / c_t, c_t = (sigma_t / sigma_1)^(1/2). Where D is constant x_t grows as sigma_t
    does, where D follows x_t it stays as it is: halfway between the two the trapezoids
    of the trace err by an eighth.
    """
    alpha, sigma = (np.asarray(table, np.float64)[1:] for table in path)
    a, r = alpha / alpha[0], np.square(sigma[0] / sigma)
    c, g = r**-0.25, 1.0 - np.square(a) * r
    tables = (a / c, sigma * np.sqrt(g) / c, c, a * r * c, g * alpha[0])
    a, s, c, own, given = (jnp.asarray(table, jnp.float32) for table in tables)

    def lift(denoise):
        return lambda x_t, t: own[t] * x_t + given[t] * denoise(c[t] * x_t, t + 1)

    return jdiff.Schedule(a, s), lift


def compile_bits(model: jdiff.models.Model, args: argparse.Namespace):
    """Returns a function of a batch: (params, rows, images, labels) -> bound, flow."""
    schedule, path = model.schedule, path_above_first(model.schedule, args.steps)
    noisy, lift = of_first(path)
    times = jdiff.spaced_timesteps(schedule, args.bound_steps)
    flow_times = np.arange(args.steps, -1, -1)
    alpha, sigma = path.alpha[1], path.sigma[1]

    def one(params, row, x_0, label):
        key = jax.random.fold_in(jax.random.key(args.seed), row)
        key_bound, key_noise, key_trace = jax.random.split(key, 3)

        def denoiser(schedule, clip):
            on_path = model._replace(params=params, schedule=schedule)
            return jdiff.models.denoiser(on_path, label, clip=clip)

        clipped = denoiser(schedule, 1.0)
        bound = jdiff.likelihood.variational_bound(
            key_bound, clipped, schedule, x_0, times, jdiff.likelihood.pixel_decoder
        )
        x_1 = jdiff.q_sample(path, x_0, 1, jax.random.normal(key_noise, x_0.shape))
        denoise = lift(denoiser(path, None))  # clipped, the flow would have corners
        flow = jdiff.likelihood.flow_bits(key_trace, denoise, noisy, x_1, flow_times)
        # log q(x_1 | x_0) - log p(x_0 | x_1): -log p(x_0) <= E[that - log p(x_1)].
        ends = jdiff.likelihood.gaussian_decoder(x_1, alpha * x_0, sigma)
        ends -= jdiff.likelihood.pixel_decoder(x_0, clipped(x_1, 1), sigma / alpha)
        unit = x_0.size * math.log(2.0)
        return bound, jax.tree.map(lambda bits: bits + ends / unit, flow)

    return jax.jit(jax.vmap(one, (None, 0, 0, 0)))


def inputs(test, model: jdiff.models.Model) -> tuple[np.ndarray, np.ndarray]:
    """Returns images and labels as the network knows them, if it does."""
    if test.images.shape[1:] != model.shape:
        raise ValueError(
            f"data must be images of {list(model.shape)}, which the model draws, "
            f"got {list(test.images.shape[1:])}."
        )
    unknown = sorted(set(test.classes) - set(model.classes))
    if unknown:
        raise ValueError(f"data must have characters of the model, got {unknown}.")
    places = np.array([model.classes.index(char) for char in test.classes])
    images = pixels(test.images).reshape(test.images.shape)
    return images.astype(np.float32), places[test.labels]


def mean(bits: np.ndarray) -> dict[str, float]:
    bits = np.asarray(bits, np.float64)
    error = bits.std() / math.sqrt(len(bits))
    return {"bits": float(bits.mean()), "standard_error": float(error)}


def print_row(name: str, figures: dict) -> None:
    pairs = [figures[column].values() for column in TERMS]
    cells = [f"{bits:.3f} ± {error:.3f}" for bits, error, *_ in pairs]
    cells.append(f"{figures['flow']['integration_error']:.4f}")
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    run(main)
