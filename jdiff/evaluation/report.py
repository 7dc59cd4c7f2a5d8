"""An evaluation as a table for the terminal, as JSON, and as a picture."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jdiff.evaluation.bootstrap import Estimate
from jdiff.evaluation.compare import Evaluation, Figures, chars_of
from jdiff.images import on_paper, tile

_NUM_WORST = 10  # characters in the table and, as rows, in each half of the picture
_NUM_PAIRS = 6  # samples with their neighbours in a row of the picture
_LABEL_WIDTH = 100
_LEGEND = "read (of real images): samples, each with its nearest training image in grey"


def format_table(evaluation: Evaluation) -> str:
    """Returns the figures of samples and real images side by side, as plain text."""
    samples, real = evaluation.samples, evaluation.real
    num = sum(evaluation.num_samples.values())
    lines = [f"{'':24}{f'{num:,} samples':26}{f'{num:,} real test images':26}ratio"]
    for name, share in _ROWS:
        a, b = _figure(samples, name), _figure(real, name)
        texts = [_percent(e) if share else _number(e) for e in (a, b)]
        ratio = f"{a.value / b.value:.2f}" if b.value > 0 else ""
        lines.append(f"{name:24}{texts[0]:26}{texts[1]:26}{ratio}".rstrip())
    lines += ["in brackets: 95% bootstrap intervals", ""]
    shares = samples.legibility.per_class
    worst = sorted(shares, key=shares.__getitem__)[:_NUM_WORST]
    lines.append("least legible     " + "".join(f"{char:>7}" for char in worst))
    for name, figures in (("samples", samples), ("real", real)):
        for suffix, by_char in (
            ("", figures.legibility.per_class),
            (" in context", figures.legibility.per_class_in_context),
        ):
            row = "".join(f"{by_char[char]:7.0%}" for char in worst)
            lines.append(f"{name + suffix:18}{row}")
    lines += ["", _drop(evaluation, "per_class"), ""]
    return "\n".join(lines + [_drop(evaluation, "per_class_in_context")])


def as_dict(evaluation: Evaluation) -> dict[str, Any]:
    """Returns the figures as plain dicts and numbers, for JSON."""
    return {
        "samples": _plain(evaluation.samples),
        "real": _plain(evaluation.real),
        "num_samples": evaluation.num_samples,
        "num_real": evaluation.num_real,
    }


def picture(evaluation: Evaluation, samples, train) -> np.ndarray:
    """Returns the worst characters above the best, uint8[H, W], dark on white.

    A row shows samples of one character, each with its nearest training image to its
    right, and says how many of its samples the judge reads, beside real images.
    """
    shares = evaluation.samples.legibility.per_class
    order = sorted(shares, key=lambda char: (shares[char], char))
    chosen = list(dict.fromkeys(order[:_NUM_WORST] + order[-_NUM_WORST:]))
    chars = chars_of(samples)
    rows = []
    for char in chosen:
        places = np.flatnonzero(chars == char)[:_NUM_PAIRS]
        neighbours = train.images[evaluation.neighbours[places]] // 2
        pairs = np.concatenate([samples.images[places], neighbours], axis=2)[..., 0]
        blank = np.zeros((_NUM_PAIRS - len(pairs), *pairs.shape[1:]), np.uint8)
        strip = tile(np.concatenate([pairs, blank]), _NUM_PAIRS, padding=4)
        label = f"{char}  {shares[char]:.0%} ({_real(evaluation, char):.0%})"
        rows.append(np.hstack([_label(label, len(strip), _LABEL_WIDTH), strip]))
    legend = _label(_LEGEND, 20, rows[0].shape[1])
    return on_paper(np.vstack([legend, *rows]))


_ROWS = (  # name, whether it is a share
    ("legibility", True),
    ("in context", True),
    ("Frechet distance", False),
    ("kernel distance", False),
    ("precision", True),
    ("recall", True),
    ("nearer to training", True),
    ("among the nearest 1%", True),
)


def _figure(figures: Figures, name: str) -> Estimate:
    return {
        "legibility": figures.legibility.overall,
        "in context": figures.legibility.in_context,
        "Frechet distance": figures.frechet_distance,
        "kernel distance": figures.kernel_distance,
        "precision": figures.precision,
        "recall": figures.recall,
        "nearer to training": figures.copying.nearer,
        "among the nearest 1%": figures.copying.closest,
    }[name]


def _percent(e: Estimate) -> str:
    return f"{e.value:6.1%}  [{e.low:.1%}, {e.high:.1%}]"


def _number(e: Estimate) -> str:
    return f"{e.value:6.3f}  [{e.low:.3f}, {e.high:.3f}]"


def _drop(evaluation: Evaluation, name: str) -> str:
    """Returns the largest drop of a character below real images, and its chance."""
    by_char = [getattr(figures.legibility, name)
               for figures in (evaluation.samples, evaluation.real)]  # fmt: skip
    samples, real = by_char
    char = max(samples, key=lambda char: real[char] - samples[char])
    drop = 100 * (real[char] - samples[char])
    # Two sets of real images, so many a character, also differ in some character.
    rng = np.random.default_rng(0)
    draws = []
    for counts in (evaluation.num_real, evaluation.num_samples):
        num = np.array([counts[char] for char in real])
        draws.append(rng.binomial(num, [*real.values()], (2000, len(num))) / num)
    drops = 100 * (draws[0] - draws[1]).max(-1)
    context = ", in context" if name == "per_class_in_context" else ""
    return (
        f"largest drop{context}: {drop:.1f} points below real images, for {char} "
        f"({samples[char]:.1%} against {real[char]:.1%});\n"
        f"    chance alone makes it {np.mean(drops):.1f} points on average, over "
        f"{np.quantile(drops, 0.95):.1f} in one of 20 draws"
    )


def _plain(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return {name: _plain(part) for name, part in value._asdict().items()}
    return value


def _real(evaluation: Evaluation, char: str) -> float:
    return evaluation.real.legibility.per_class[char]


def _label(text: str, height: int, width: int) -> np.ndarray:
    image = Image.new("L", (width, height), 0)
    font = ImageFont.load_default(11)
    ImageDraw.Draw(image).text((4, height // 2), text, 255, font, anchor="lm")
    return np.asarray(image)
