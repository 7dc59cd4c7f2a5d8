"""An evaluation as a table for the terminal, as JSON, and as a picture."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jdiff.evaluation.bootstrap import Estimate
from jdiff.evaluation.compare import Evaluation, Figures
from jdiff.evaluation.selection import chars_of
from jdiff.images import on_paper, tile

_NUM_WORST = 8  # characters in the table
_NUM_ROWS = 10  # characters, as rows, in each half of the picture
_NUM_PAIRS = 6  # samples with their neighbours in a row of the picture
_LABEL_WIDTH = 100
_LEGEND = "read (of real images): samples, each with its nearest training image in grey"
# Titles in the table, of fields of `Legibility` and of `FeatureDistances`.
_READ = {"legible": "strict", "look-alikes merged": "merged"}
_COMPARED = {"Frechet distance": "frechet_distance", "directions": "direction_distance"}
_COMPARED |= {name: name for name in ("precision", "recall", "density", "coverage")}
_SEEN = ("pyramid", "spectrum", "grey areas", "stroke width", "connected parts")
_DISTANCES = ("Frechet distance", "directions", *_SEEN)
_KEY = "[ ] 95%, * outside real"
# The distances of appearance are small numbers of no unit.
_PLAIN_NUMBERS = (*_DISTANCES, "density")


def headline(figures: Figures) -> dict[str, Estimate]:
    """Returns the figures of the table by name, in its order; all judges, all views."""
    rows = {}
    for titles, views in (_READ, figures.legibility), (_COMPARED, figures.distances):
        for title, field in titles.items():
            for name, view in views.items():
                if (estimate := getattr(view, field)) is not None:
                    rows[f"{title}, {name}"] = estimate
    rows |= zip(_SEEN, figures.appearance, strict=True)
    rows["repeated"] = figures.repeated
    if figures.copying is not None:
        rows["nearer to training"] = figures.copying.nearer
        rows["among the nearest 1%"] = figures.copying.closest
    return rows


def outside(samples: Figures, real: Figures) -> list[str]:
    """Returns the names of the figures that lie outside the real images' interval."""
    found, floor = headline(samples), headline(real)
    return [
        name
        for name, estimate in found.items()
        if not floor[name].low <= estimate.value <= floor[name].high
    ]


def worst_view(samples: Figures, real: Figures) -> tuple[str, float]:
    """Returns the distance that is the largest multiple of its floor, and how large."""
    found, floor = headline(samples), headline(real)
    ratios = {
        name: found[name].value / floor[name].value
        for name in found
        if name.startswith(_DISTANCES) and floor[name].value > 0
    }
    name = max(ratios, key=ratios.__getitem__)
    return name, ratios[name]


def format_table(evaluation: Evaluation) -> str:
    """Returns the figures of samples and real images side by side, as plain text.

    No line is longer than 80 characters. In brackets are 95% bootstrap intervals; a
    star marks what lies outside that of real images.
    """
    samples, real = headline(evaluation.samples), headline(evaluation.real)
    marked = outside(*evaluation[:2])
    num = f"{sum(evaluation.num_samples.values()):,}"
    lines = [f"{_KEY:25}{f'{num} samples':24}{f'{num} real images':23}   ratio"]
    for name in samples:
        pair = samples[name], real[name]
        number = _number if name.startswith(_PLAIN_NUMBERS) else _percent
        times = f"{pair[0].value / pair[1].value:.2f}" if pair[1].value > 0 else ""
        star = "*" if name in marked else " "
        texts = [number(estimate) for estimate in pair]
        lines.append(f"{name:25}{texts[0]:22}{star} {texts[1]:23}{times:>8}".rstrip())
    name, ratio = worst_view(*evaluation[:2])
    views = evaluation.samples.distances.values()
    least = min(view.precision.value for view in views)
    lines.append(
        f"worst view: {name}, {ratio:.1f} times its floor; least precision {least:.0%}"
    )
    if evaluation.missing:
        lines.append(f"missing characters of the reference: {evaluation.missing}")
    lines.append("")
    judges = list(evaluation.samples.legibility)
    first = judges[0]
    fractions = evaluation.samples.legibility[first].per_class
    worst = sorted(fractions, key=fractions.__getitem__)[:_NUM_WORST]
    title = f"least legible, {first}"
    lines.append(f"{title:24}" + "".join(f"{char:>7}" for char in worst))
    for name, figures in (("samples", evaluation.samples), ("real", evaluation.real)):
        found = figures.legibility[first]
        for suffix, by_char in (
            ("", found.per_class),
            (", merged", found.per_class_merged),
        ):
            row = "".join(f"{by_char[char]:7.0%}" for char in worst)
            lines.append(f"{name + suffix:24}{row}".rstrip())
    drops = [_drop(evaluation, name) for name in judges]
    return "\n".join([*lines, "", *drops])


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the figures as plain dicts and numbers, for JSON."""
    return {
        "samples": _plain(evaluation.samples),
        "real": _plain(evaluation.real),
        "outside": outside(*evaluation[:2]),
        "worst_view": dict(
            zip(("name", "ratio"), worst_view(*evaluation[:2]), strict=True)
        ),
        "missing": evaluation.missing,
        "num_samples": evaluation.num_samples,
        "num_real": evaluation.num_real,
    }


def picture(evaluation: Evaluation, samples, train) -> np.ndarray:
    """Returns the worst characters above the best, uint8[H, W], dark on white.

    A row shows samples of one character, each with its nearest training image to its
    right, and says how many of its samples the first judge reads, beside real images.
    """
    first = next(iter(evaluation.samples.legibility))
    fractions, of_real = (
        figures.legibility[first].per_class for figures in evaluation[:2]
    )
    order = sorted(fractions, key=lambda char: (fractions[char], char))
    chosen = list(dict.fromkeys(order[:_NUM_ROWS] + order[-_NUM_ROWS:]))
    chars = chars_of(samples)
    rows = []
    for char in chosen:
        places = np.flatnonzero(chars == char)[:_NUM_PAIRS]
        pairs = samples.images[places]
        if evaluation.neighbours is not None:
            neighbours = train.images[evaluation.neighbours[places]] // 2
            pairs = np.concatenate([pairs, neighbours], axis=2)
        pairs = pairs[..., 0]
        blank = np.zeros((_NUM_PAIRS - len(pairs), *pairs.shape[1:]), np.uint8)
        strip = tile(np.concatenate([pairs, blank]), _NUM_PAIRS, padding=4)
        label = f"{char}  {fractions[char]:.0%} ({of_real[char]:.0%})"
        rows.append(np.hstack([_label(label, len(strip), _LABEL_WIDTH), strip]))
    legend = _LEGEND if evaluation.neighbours is not None else _LEGEND.split(",")[0]
    return on_paper(np.vstack([_label(legend, 20, rows[0].shape[1]), *rows]))


def _percent(e: Estimate) -> str:
    return f"{e.value:6.1%} [{100 * e.low:.1f}, {100 * e.high:.1f}]"


def _number(e: Estimate) -> str:
    places = 3 - min(len(f"{max(e.high, 1.0):.0f}") - 1, 3)
    return f"{e.value:6.{places}f} [{e.low:.{places}f}, {e.high:.{places}f}]"


def _drop(evaluation: Evaluation, judge: str) -> str:
    """Returns the largest drop of a character below real images, and its chance."""
    samples, real = (figures.legibility[judge].per_class for figures in evaluation[:2])
    char = max(samples, key=lambda char: real[char] - samples[char])
    drop = 100 * (real[char] - samples[char])
    # Two sets of real images, so many a character, also differ in some character.
    rng = np.random.default_rng(0)
    draws = []
    for counts in (evaluation.num_real, evaluation.num_samples):
        num = np.array([counts[char] for char in real])
        draws.append(rng.binomial(num, [*real.values()], (2000, len(num))) / num)
    drops = 100 * (draws[0] - draws[1]).max(-1)
    return (
        f"largest drop, {judge}: {drop:.1f} points, {char} ({samples[char]:.0%}, "
        f"real {real[char]:.0%}); 1 in 20 by chance: {np.quantile(drops, 0.95):.1f}"
    )


def _plain(value: Any) -> Any:
    parts = value._asdict() if hasattr(value, "_asdict") else value
    if isinstance(parts, dict):
        return {name: _plain(part) for name, part in parts.items()}
    return value


def _label(text: str, height: int, width: int) -> np.ndarray:
    image = Image.new("L", (width, height), 0)
    font = ImageFont.load_default(11)
    ImageDraw.Draw(image).text((4, height // 2), text, 255, font, anchor="lm")
    return np.asarray(image)
