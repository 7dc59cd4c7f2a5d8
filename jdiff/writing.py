"""`write`: from a text to a page of handwriting.

A text becomes labels, labels become glyphs by diffusion, and glyphs become a page:

    page = write("Dear Ada", seed=7)        # page.image is uint8[H, W]
    handwriting.save_page("letter.png", page)
"""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

import jax
import numpy as np

from jdiff import handwriting, images, models
from jdiff.handwriting import (
    FLUSH_LEFT,
    MARGIN,
    MAX_STYLE,
    PEN,
    STYLES,
    Alignment,
    Page,
)
from jdiff.sampling import Sample, Solver
from jdiff.schedules import Schedule, karras_timesteps

SEED = 7
STEPS = 10
CAP_HEIGHT = 44.0  # pixels

# In the order of `handwriting.STYLES`.
_STYLE_ARGUMENTS = ("slant", "weight", "letter_width", "roundness")

# A pen is thicker by this factor per standard deviation of weight, as in EMNIST.
PEN_OF_WEIGHT = 1.25

# What a standard deviation of style does to strokes.
SHEAR_OF_SLANT = 0.1
STRETCH_OF_WIDTH = 1.07
CALM_OF_ROUNDNESS = 0.3

# More frames than this make an animation larger, hardly smoother.
NUM_FRAMES = 41
# Of all glyphs of an animation, which are kept until it is written.
MAX_STATES = 10_000 * NUM_FRAMES


def write(
    text: str,
    model: str | Path | models.Model | models.PenModel = "pen",
    *,
    seed: int = SEED,
    slant: float | None = None,
    weight: float | None = None,
    letter_width: float | None = None,
    roundness: float | None = None,
    style_seed: int | None = None,
    steps: int = STEPS,
    guidance: float | None = None,
    solver: Callable[[Schedule], Solver] | None = None,
    grid: Callable[[Schedule, int], jax.typing.ArrayLike] = karras_timesteps,
    width: int | None = None,
    height: int | None = None,
    size: float = CAP_HEIGHT,
    margin: float = MARGIN,
    align: Alignment = FLUSH_LEFT,
    jitter: float | None = None,
    pen_width: float | None = None,
    neatness: float | None = None,
    draws: int | None = None,
    hand: str | Path | models.Hand | None = None,
    animate: bool = False,
    frames: int = NUM_FRAMES,
    progress: Callable[[Iterable[Sample], int], Iterable[Sample]] | None = None,
) -> Page:
    r"""Returns a text as a page of handwriting.

    The same arguments give the same page. What can be wrong with them raises before
    the first glyph is drawn, except errors that depend on glyph widths.

    Args:
        text: what to write, at most 10,000 characters; "\n" begins a new line.
            Typographic characters are written as those of a keyboard.
        model: a model, a file of weights, or the name of weights that ship: "pen",
            which draws strokes, "latent", "unet", "distilled" or "mixture". Up to 4
            steps, "latent" means "distilled" unless a solver or guidance is given.
        seed: of the glyphs, and of the style unless style_seed is given, [0, 2^32).
        slant: of the hand, in standard deviations from the average one, in [-3, 3]:
            -3 leans to the left, 3 to the right. None: `style_seed` chooses.
        weight: likewise; -3 is fine, 3 is bold.
        letter_width: likewise; -3 is narrow, 3 is wide.
        roundness: likewise; -3 is angular, 3 is round.
        style_seed: >= 0, chooses what of the style is not given.
        steps: of the solver, in [1, T].
        guidance: 0 ignores the letter, 1 follows it, more exaggerates it; by default
            what suits the model.
        solver: schedule -> Solver, as `jdiff.ddim`; by default what suits the model.
        grid: (schedule, steps) -> descending steps, as `jdiff.timesteps`.
        width: of the page in pixels; longer lines are wrapped. By default as wide as
            the longest line.
        height: of the page in pixels; by default as the lines need.
        size: height of a capital in pixels.
        margin: paper around the text, in heights of a capital, [0.1, 10].
        align: one of the `Alignment`s in `jdiff.handwriting`.
        jitter: how far a glyph may stray from its line, in heights of a capital,
            [0, 0.1]; 0 is a ruler. By default 0.06, and 0 of strokes, which stray
            themselves.
        pen_width: thickness of a line, in heights of a capital, (0, 0.5]; by default
            about 0.11, as `weight` says.
        neatness: of a hand that writes strokes, from a doctor's, 0, to a teacher's, 1;
            by default 1.
        draws: of each character of strokes, the best of which is written, >= 1; by
            default 4.
        hand: who writes: a .hand file of `jdiff hand learn`, or a `models.Hand`, in
            place of the one that style_seed chooses.
        animate: whether the page keeps the path out of noise as frames.
        frames: of the animation, >= 2, evenly spaced; at most one for each step, and
            the last. Times the length of the text at most 410,000.
        progress: (batches, number of glyphs) -> the same batches; shows how far it is.

    Raises:
        ValueError: an argument is not as described, the model cannot write the text, or
            it does not fit on the page.

    Examples:
        >>> import jdiff
        >>> page = jdiff.write("hi", steps=1)
        >>> page.image.dtype, page.image.ndim
        (dtype('uint8'), 2)
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2^32), got {seed}.")
    layout: dict[str, Any] = {"cap_height": size, "width": width, "height": height}
    layout |= {"margin": margin, "jitter": jitter, "pen": pen_width}
    layout = {k: value for k, value in layout.items() if value is not None}
    pen = models.find_pen(model)
    text = handwriting.to_ascii(text)
    handwriting.check_page(text, **layout)
    layout |= {"align": align}
    given = (slant, weight, letter_width, roundness)
    hand_seed = seed if style_seed is None else style_seed
    chosen = _choose_style(given, hand_seed)
    sampling: dict[str, Any] = {"key": jax.random.key(seed), "num_steps": steps}
    sampling |= {"guidance": guidance, "solver": solver, "grid": grid}
    sampling |= {"with_path": animate}
    show = progress or (lambda batches, num: batches)
    shown = min(frames, steps + 1)
    if frames < 2 or animate and shown * len(text) > MAX_STATES:
        raise ValueError(
            f"frames must be >= 2, and at most {MAX_STATES:,} letters in all of them, "
            f"got {frames} for {len(text):,} characters."
        )
    if pen is not None:
        if hand is not None and style_seed is not None:
            raise ValueError(f"a hand has its own style, got style_seed {style_seed}.")
        writer = models.find_hand(pen, hand, hand_seed, neatness)
        sampling |= {"num_draws": models.NUM_DRAWS if draws is None else draws}
        return _write_strokes(text, pen, writer, given, sampling, frames, show, layout)
    models.check_no_strokes(neatness=neatness, draws=draws, hand=hand)
    if not isinstance(model, models.Model):
        name = models.suit_steps(
            cast(str, model), steps, solver=solver, guidance=guidance
        )
        model = models.load_model(name)
    if not model.has_style:
        _check_no_style(given, style_seed)
    style = chosen if model.has_style else None
    return _write_glyphs(text, model, style, sampling, frames, show, layout)


def _write_glyphs(
    text: str,
    model: models.Model,
    style: np.ndarray | None,
    sampling: dict[str, Any],
    num_frames: int,
    show: Callable[[Iterable[Sample], int], Iterable[Sample]],
    layout: dict[str, Any],
) -> Page:
    """Returns the page of a model of images."""
    labels = _encode(text, model)
    batches = models.generate_batches(
        model=model, labels=labels, style=style, **sampling
    )
    frames, times = _frames(model.schedule, sampling, num_frames)
    drawn, states = [], []
    for batch in show(batches, len(labels)):
        drawn.append(images.to_uint8(np.asarray(batch.x_0)[..., 0]))
        if sampling["with_path"]:
            states.append(images.to_uint8(np.asarray(batch.path)[:, frames][..., 0]))
    glyphs = np.concatenate(drawn)
    path = np.concatenate(states).swapaxes(0, 1) if states else None
    if style is not None:
        weight = style[STYLES.index("weight")]
        layout = {"pen": PEN * PEN_OF_WEIGHT**weight} | layout
    placed = handwriting.typeset(text, glyphs, **layout)
    return handwriting.glyph_page(placed, glyphs, path, times)


def _write_strokes(
    text: str,
    model: models.PenModel,
    hand: models.Hand,
    style: tuple[float | None, ...],
    sampling: dict[str, Any],
    num_frames: int,
    show: Callable[[Iterable[Sample], int], Iterable[Sample]],
    layout: dict[str, Any],
) -> Page:
    """Returns the page of a model of strokes, in a hand that style changes."""
    chars = text.translate(handwriting.BLANKS)
    spelled = list(map(handwriting.spell, chars))
    labels = handwriting.encode("".join(spelled), model.classes)
    batches = models.generate_strokes(model=model, labels=labels, hand=hand, **sampling)
    samples = list(show(batches, len(labels)))
    slant, weight, width, roundness = (value or 0.0 for value in style)
    restyle = functools.partial(
        handwriting.restyle,
        slant=SHEAR_OF_SLANT * slant,
        width=STRETCH_OF_WIDTH**width,
        calm=handwriting.CALM * (1.0 + CALM_OF_ROUNDNESS * roundness),
        reach=handwriting.REACH,
    )

    def decode(array, finished=None):
        return list(map(restyle, handwriting.decode_strokes(array, finished)))

    arrays = np.concatenate([batch.x_0 for batch in samples])
    finished = list(map(decode, arrays))
    # What is drawn for a character begins at one of these and ends at the next.
    places = np.cumsum([0, *map(len, spelled)])

    def join(drawn):
        return [
            handwriting.join_marks(char, drawn[start:stop], finished[start:stop])
            for char, start, stop in zip(chars, places[:-1], places[1:], strict=True)
        ]

    glyphs = join(finished)
    gaps = models.gaps_between(model, labels[places[:-1]], handwriting.GAP)
    layout = {"pen": handwriting.STROKE_PEN * PEN_OF_WEIGHT**weight} | layout
    placed = handwriting.set_strokes(text, glyphs, gaps=gaps, **layout)
    if not sampling["with_path"]:
        return handwriting.stroke_page(placed, glyphs)
    frames, times = _frames(model.schedule, sampling, num_frames)
    paths = np.concatenate([batch.path[:, frames] for batch in samples])
    path = [join(list(map(decode, states, arrays))) for states in paths.swapaxes(0, 1)]
    return handwriting.stroke_page(placed, glyphs, path, times)


def _frames(
    schedule: Schedule, sampling: dict[str, Any], num_frames: int
) -> tuple[np.ndarray, list[int]]:
    """Returns which states of a path an animation shows, int[F], and their steps."""
    num_steps = sampling["num_steps"]
    frames = np.unique(np.linspace(0, num_steps, num_frames).round().astype(int))
    times = np.asarray(sampling["grid"](schedule, num_steps))
    return frames, times[frames].tolist()


def _choose_style(given: tuple[float | None, ...], style_seed: int) -> np.ndarray:
    """Returns the style, float64[4]: what is given, the rest drawn."""
    if style_seed < 0:
        raise ValueError(f"style_seed must be >= 0, got {style_seed}.")
    for name, value in zip(_STYLE_ARGUMENTS, given, strict=True):
        if value is not None and not abs(value) <= MAX_STYLE:
            raise ValueError(f"{name} must be in [-3, 3], got {value}.")
    drawn = handwriting.draw_style(style_seed)
    pairs = zip(given, drawn, strict=True)
    return np.array([own if value is None else value for value, own in pairs])


def _check_no_style(given: tuple[float | None, ...], style_seed: int | None) -> None:
    pairs = zip((*_STYLE_ARGUMENTS, "style_seed"), (*given, style_seed), strict=True)
    used = [name for name, value in pairs if value is not None]
    if used:
        raise ValueError(
            f"the model has no styles (latent has some), got {', '.join(used)}."
        )


def _encode(text: str, model: models.Model) -> np.ndarray:
    """Returns the labels of a text, int[N], if the model can write it."""
    if model.shape[2] != 1:
        raise ValueError(f"the weights must draw grey images, got {model.shape}.")
    if not isinstance(model.classes, str):
        got = ", ".join(model.classes[:5])
        raise ValueError(f"the weights must draw characters, to write, got {got}.")
    return handwriting.encode(text, model.classes)
