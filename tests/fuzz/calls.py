"""Areas: numbers and texts given to functions."""

import contextlib
from pathlib import Path
from random import Random

import jax
import numpy as np
from spoil import check, images_of
from weight_files import save_models

import jdiff
from jdiff import handwriting, models

NUMBERS = [0, 1, -1, 2, 5, 10, 0.5, -0.5, 1e-30, 1e30, 1e308, 1e309, float("nan")]
NUMBERS += [-float("inf"), 10**20, True, None, "3", np.int64(4), np.float32(3), [1], 1j]
LENGTHS = [0, 1, 3, 4, 44, 700, 0.06, 0.1, 0.5, 10, 1e9, 1e308, -1, float("nan")]
LENGTHS += [None, 65_000, 10**20]
CHARACTERS = "ab .\n\tj-\u00e9\U0001f600\r"
ALIGNS = [handwriting.FLUSH_LEFT, handwriting.JUSTIFIED, handwriting.CENTRED]


def try_numbers(folder: Path):
    """Numbers given to the functions of the core and to `generate`."""
    files = save_models(folder)
    loaded = [models.load_model(files[name]) for name in ("unet", "latent", "mixture")]
    schedules = [jdiff.cosine_schedule(10), jdiff.flow_schedule(10)]
    schedules += [jdiff.karras_schedule(10)]

    def attempt(random: Random) -> None:
        # What is no number is Python's to refuse.
        with contextlib.suppress(TypeError), np.errstate(all="ignore"):
            if random.random() < 0.8:
                call_core(random, random.choice(schedules))
            else:
                call_generate(random, random.choice(loaded))

    return attempt


def call_core(random: Random, schedule: jdiff.Schedule) -> None:
    """Calls a function of the core with numbers drawn at random."""
    a, b, c = random.choices(NUMBERS, k=3)
    x = np.ones(3, np.float32)
    match random.randrange(8):
        case 0:
            makes = [jdiff.linear_schedule, jdiff.cosine_schedule]
            makes += [jdiff.quadratic_schedule, jdiff.sigmoid_schedule]
            makes += [jdiff.karras_schedule]
            made = random.choice(makes)(random.choice([10, a]), b, c)
            check(np.isfinite(made.alpha).all() and np.isfinite(made.sigma).all())
        case 1:
            check_grid(jdiff.karras_timesteps(schedule, random.choice([5, a]), b, c))
        case 2:
            check_grid(jdiff.timesteps(schedule, a))
        case 3:
            jdiff.log_snr(schedule, a)
        case 4:
            jdiff.q_sample(schedule, x, a, x)
        case 5:
            check(jdiff.q_posterior(schedule, x, x, a, b).variance >= 0)
        case 6:
            solver = jdiff.ddim(schedule, 0.0 if random.random() < 0.8 else a)
            denoise = jdiff.guide(lambda x, t: x, lambda x, t: x, 2.0)
            solver.step(jax.random.key(0), denoise, solver.init(x), a, b)
        case 7:
            check_grid(jdiff.spaced_timesteps(schedule, 5, sigma_min=a, sigma_max=b))


def call_generate(random: Random, model: models.Model) -> None:
    """Calls `generate` with one of its arguments drawn at random."""
    a, b, c = random.choices(NUMBERS, k=3)
    options = {"num_steps": 2, "guidance": 1.0, "batch_size": 4, "labels": [0, 1]}
    options[random.choice(sorted(options))] = random.choice([a, [a], [a, b]])
    if random.random() < 0.1:
        options["style"] = [a, b, c, 0.0]
    jdiff.models.generate_batches(jax.random.key(0), model, **options)


def check_grid(times: np.ndarray) -> None:
    """Raises Wrong unless a grid descends to 0."""
    check(times[-1] == 0 and (np.diff(times) < 0).all())


def try_pages(folder: Path):
    """Texts and numbers given to the typesetting of glyphs."""
    glyphs = images_of(40)
    names = ["cap_height", "width", "height", "margin", "jitter", "pen"]

    def attempt(random: Random) -> None:
        text = "".join(random.choices(CHARACTERS, k=random.randint(0, 40)))
        options = {name: random.choice(LENGTHS) for name in random.sample(names, 2)}
        if options.get("cap_height", 1) is None or options.get("margin", 1) is None:
            return
        own = glyphs[: sum(not char.isspace() for char in text)]
        with contextlib.suppress(TypeError):
            align = random.choice(ALIGNS)
            layout = handwriting.typeset(text, own, align=align, **options)
            check(handwriting.glyph_page(layout, own).image.size <= 89_000_000)

    return attempt
