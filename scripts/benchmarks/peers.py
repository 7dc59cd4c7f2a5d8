"""Prints how far jdiff's solvers are from those of diffusers, on the same problem.

    pip install '.[peers]' && python scripts/benchmarks/peers.py

Both see one schedule, one grid, one start, one draw of noise per step, and the exact
denoiser of a Gaussian in 32 dimensions. What had to be agreed on:

- Steps: diffusers counts from 0, so its t is t + 1 here, and data has no number. Ours
  end with a step to 0; there that is `final_sigmas_type="zero"`, which makes the last
  step one of order 1, as here. Grid: every (T / N)-th step, "trailing".
- Output: its network predicts x_0 (`prediction_type="sample"`) and is not clipped.
- Heun: its sample is x / alpha and its levels are sigma / alpha. That is our `heun` on
  the variance-exploding form of the path, Schedule(1, sigma / alpha).
- DDPM: `variance_type="fixed_small"` is the posterior's variance. Its noise comes from
  the keys of ours.
- UniPC: `solver_type="bh2"`, of order 2; the last sample is not corrected.
- Betas are given as an array. Its tables are float32, of 1 - alpha_bar, ours hold
  sigma: this is most of the difference left.
"""

import diffusers
import jax
import jax.numpy as jnp
import numpy as np
import torch

import jdiff
from jdiff.closed_form import gaussian

T, NUM_STEPS, SIZE = 1000, 20, 32
TOLERANCE = 1e-4
BETAS = np.linspace(1e-4, 0.02, T)
CONFIG = {
    "num_train_timesteps": T,
    "trained_betas": BETAS,
    "timestep_spacing": "trailing",
    "prediction_type": "sample",
}
UNCLIPPED = CONFIG | {"clip_sample": False}
POSTERIOR = UNCLIPPED | {"variance_type": "fixed_small"}
MULTISTEP = CONFIG | {"solver_order": 2, "final_sigmas_type": "zero"}


def ours(normal, schedule, solver, x_T):
    """Returns x_0 by jdiff; the loop of `jdiff.sample`, with known keys."""
    denoise = gaussian.denoiser(normal, schedule)
    state, times = solver.init(x_T), jdiff.timesteps(schedule, NUM_STEPS)
    for k, (t, s) in enumerate(zip(times, times[1:], strict=False)):
        state = solver.step(jax.random.key(k), denoise, state, t, s)
    return np.asarray(state.x)


def theirs(normal, schedule, scheduler, x_T):
    """Returns x_0 by diffusers, with the noise of `ours`."""
    denoise = jax.jit(gaussian.denoiser(normal, schedule))
    scheduler.set_timesteps(NUM_STEPS)
    draws = (jax.random.normal(jax.random.key(k), (SIZE,)) for k in range(NUM_STEPS))
    diffusers.schedulers.scheduling_ddpm.randn_tensor = lambda *_, **__: tensor(
        next(draws)
    )
    x = tensor(x_T)
    for t in scheduler.timesteps:
        estimate = denoise(jnp.asarray(x[0].numpy()), int(t) + 1)
        x = scheduler.step(tensor(estimate), t, x).prev_sample
    return x[0].numpy()


def tensor(array):
    return torch.tensor(np.asarray(array))[None]


def main():
    jax.config.update("jax_enable_x64", True)
    schedule = jdiff.from_betas(BETAS)
    exploding = jdiff.Schedule(
        jnp.ones_like(schedule.alpha), schedule.sigma / schedule.alpha
    )
    rng = np.random.default_rng(0)
    root = rng.standard_normal((SIZE, SIZE)) / np.sqrt(SIZE)
    normal = gaussian.from_covariance(rng.standard_normal(SIZE), root @ root.T)
    noise = jnp.asarray(rng.standard_normal(SIZE))
    dpmpp = diffusers.DPMSolverMultistepScheduler(**MULTISTEP)
    unipc = diffusers.UniPCMultistepScheduler(**MULTISTEP, solver_type="bh2")
    pairs = (
        ("DDPM", jdiff.ddpm, diffusers.DDPMScheduler(**POSTERIOR)),
        ("DDIM", jdiff.ddim, diffusers.DDIMScheduler(**UNCLIPPED)),
        ("DPM++(2M)", jdiff.dpmpp_2m, dpmpp),
        ("UniPC", jdiff.unipc, unipc),
        ("Heun", jdiff.heun, diffusers.HeunDiscreteScheduler(**CONFIG)),
    )
    for name, solver, scheduler in pairs:
        path = exploding if solver is jdiff.heun else schedule
        x_T = noise * path.sigma[-1]
        mine = ours(normal, path, solver(path), x_T)
        peer = theirs(normal, path, scheduler, x_T)
        difference = np.abs(mine - peer).max() / np.abs(mine).max()
        verdict = "ok" if difference <= TOLERANCE else "DIFFERS"
        print(f"{name:10} largest relative difference {difference:.1e}  {verdict}")


if __name__ == "__main__":
    main()
