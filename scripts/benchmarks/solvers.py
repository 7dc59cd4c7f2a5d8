"""Prints the tables of docs/solvers.md: errors of the solvers against steps.

    python scripts/benchmarks/solvers.py

Gaussian data: the Wasserstein-2 distance of what a solver makes of x_T and the exact
x_0. Both are affine in x_T, so it is computed, not estimated. Mixture: the sliced
Wasserstein-2 distance of samples and exact draws, each less its cell's centre, so that
the chance numbers in the cells do not drown the rest. Sampling starts from the exact
law of x_T: what is left is the error of the steps.

    python scripts/benchmarks/solvers.py --shipped

The UNet that ships: the root mean square distance, per pixel in [-1, 1], of its letters
from those that the flow makes of the same noise by 100 steps. "Analytic start" leaves
out the steps above a noise level; its grids are those of as many calls more.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from command import check_positive, header, make_parser, run

import jdiff
from jdiff.closed_form import analytic_start, class_normal, gaussian, mixtures

DETERMINISTIC = {
    "ddim": jdiff.ddim,
    "heun (2 calls a step)": jdiff.heun,
    "dpmpp_2m": jdiff.dpmpp_2m,
    "unipc": jdiff.unipc,
}
SOLVERS = DETERMINISTIC | {
    "ddpm": jdiff.ddpm,
    "dpmpp_2m, eta = 1": partial(jdiff.dpmpp_2m, eta=1.0),
}
GRIDS = {
    "t": jdiff.timesteps,
    "log-SNR": jdiff.spaced_timesteps,
    "log-SNR, 0.03 to 10": partial(
        jdiff.spaced_timesteps, sigma_min=0.03, sigma_max=10.0
    ),
    "Karras": partial(jdiff.spaced_timesteps, spacing=jdiff.karras_spacing),
}
SCHEDULE = jdiff.cosine_schedule(1000)
NORMAL = gaussian.from_covariance(jnp.array([0.5, -0.2]), [[1.0, 0.6], [0.6, 0.5]])
ANGLE = np.arange(8, dtype=np.float32) * np.pi / 4
CENTRES = jnp.stack([jnp.cos(ANGLE), jnp.sin(ANGLE)], 1)
CELLS = jax.vmap(lambda centre: gaussian.from_covariance(centre, 0.01 * jnp.eye(2)))
MIXTURE = gaussian.Mixture(jnp.full(8, -jnp.log(8.0)), CELLS(CENTRES))
SHIPPED_GRIDS = {"t": jdiff.timesteps, "Karras": jdiff.karras_timesteps}
NUM_SKIPPED = (1, 2, 3, 4)


@partial(jax.jit, static_argnames="solver")
def gaussian_error(times, solver):
    """Returns the root mean square of the solver's affine map less the exact one."""
    denoise = gaussian.denoiser(NORMAL, SCHEDULE)
    law = gaussian.marginal(NORMAL, SCHEDULE, times[0])

    def error(eps):
        x_T, key = gaussian.colour(law, eps), jax.random.key(0)
        sample = jdiff.sample(key, denoise, solver(SCHEDULE), times, (2,), x_T)
        return sample.x_0 - gaussian.colour(NORMAL, eps)

    origin = error(jnp.zeros(2))
    columns = jax.vmap(error)(jnp.eye(2)) - origin[None]
    return jnp.sqrt(jnp.square(origin).sum() + jnp.square(columns).sum())


@partial(jax.jit, static_argnames="solver")
def mixture_error(keys, times, solver):
    """Returns the sliced Wasserstein-2 distance of samples and exact draws."""
    denoise = gaussian.mixture_denoiser(MIXTURE, SCHEDULE)

    def fold(x):
        return x - CENTRES[jnp.square(CENTRES - x[None]).sum(1).argmin()]

    def pair(key):
        key_0, key_eps, key_steps, key_exact = jax.random.split(key, 4)
        x_0 = gaussian.draw_mixture(key_0, MIXTURE)
        x_T = jdiff.q_sample(SCHEDULE, x_0, times[0], jax.random.normal(key_eps, (2,)))
        sample = jdiff.sample(key_steps, denoise, solver(SCHEDULE), times, (2,), x_T)
        return fold(sample.x_0), fold(gaussian.draw_mixture(key_exact, MIXTURE))

    samples, exact = jax.vmap(pair)(keys)
    angle = jnp.arange(8) * jnp.pi / 8
    axes = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
    gaps = jnp.sort(samples @ axes, 0) - jnp.sort(exact @ axes, 0)
    return jnp.sqrt(jnp.square(gaps).mean())


def print_table(title, steps, solvers, error):
    print(f"\n{title}\n\n" + header("solver", "grid", *map(str, steps)))
    for name, solver in solvers.items():
        for grid, make_times in GRIDS.items():
            errors = [error(make_times(SCHEDULE, num), solver) for num in steps]
            cells = " | ".join(f"{float(value):.2g}" for value in errors)
            print(f"| {name} | {grid} | {cells} |", flush=True)


@partial(jax.jit, static_argnames=("network", "solver", "guided"))
def letters(arrays, times, guidance, normals, network, solver, guided):
    """Returns a letter of each class, each from noise of its own: [K, H, W, C]."""
    model = network._replace(params=arrays[0], schedule=arrays[1])

    def one(label, normal):
        denoise = jdiff.models.denoiser(model, label)
        if guided:
            anything = jdiff.models.denoiser(model, None)
            denoise = jdiff.guide(denoise, anything, guidance)
        walk = solver(model.schedule)
        if normal is not None:
            walk = analytic_start(walk, model.schedule, normal)
        key = jax.random.fold_in(jax.random.key(0), label)
        denoise = jdiff.clip_x_0(denoise)
        return jdiff.sample(key, denoise, walk, times, model.shape).x_0

    return jax.vmap(one)(jnp.arange(len(network.classes)), normals)


def print_shipped(steps, guidance):
    """Prints the table of the UNet that ships, at one scale of guidance."""
    model = jdiff.load_model("unet")
    arrays = model.params, model.schedule
    network = model._replace(params=None, schedule=None)
    fitted = mixtures.load(jdiff.models.SHIPPED["mixture"])
    normals = jax.vmap(partial(class_normal, fitted))
    normals = jax.jit(normals)(jnp.arange(len(model.classes)))

    def draw(times, solver, normals=None):
        guided = guidance != 1.0
        return letters(arrays, times, guidance, normals, network, solver, guided)

    exact = draw(jdiff.karras_timesteps(model.schedule, 100, sigma_max=40), jdiff.unipc)

    def error(*choices):
        return f"{float(jnp.sqrt(jnp.square(draw(*choices) - exact).mean())):.3f}"

    title = f"\nGuidance {guidance:g}\n\n"
    print(title + header("solver", "grid", *map(str, steps)))
    for name, solver in DETERMINISTIC.items():
        for grid, make in SHIPPED_GRIDS.items():
            cells = (error(make(model.schedule, num), solver) for num in steps)
            print(f"| {name} | {grid} | {' | '.join(cells)} |", flush=True)
    for skipped in NUM_SKIPPED:
        grids = [jdiff.karras_timesteps(model.schedule, n + skipped) for n in steps]
        cells = (error(times[skipped:], jdiff.unipc, normals) for times in grids)
        name = f"unipc, analytic start | Karras, {skipped} skipped"
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main(argv=None):
    parser = make_parser(__doc__)
    parser.add_argument("--steps", type=int, nargs="+", default=[5, 10, 20, 40, 100])
    parser.add_argument("--num-samples", type=int, default=5_000)
    parser.add_argument("--shipped", action="store_true", help="only the shipped UNet")
    args = parser.parse_args(argv)
    check_positive(args, "num_samples")
    if args.shipped:
        print_shipped([5, 10, 20], guidance=1.0)
        print_shipped([5, 10, 20], guidance=2.0)
        return
    title = "Gaussian data, Wasserstein-2 error after so many steps"
    print_table(title, args.steps, DETERMINISTIC, gaussian_error)
    title = (
        "Mixture of 8 Gaussians (standard deviation 0.1), sliced Wasserstein-2 error"
    )
    keys = jax.random.split(jax.random.key(0), args.num_samples)
    error = partial(mixture_error, keys)
    print_table(title, args.steps, SOLVERS, error)


if __name__ == "__main__":
    run(main)
