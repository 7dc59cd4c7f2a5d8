"""A hand as an OpenType font, with three of each letter that take turns.

Outlines are quadratic splines around the ink, as TrueType has them. A feature, `calt`,
replaces the letters of a word in turn by the second and third of their kind, so that
neighbours are not copies. Kerning is what a page of strokes leaves between two letters.
"""

import string
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jdiff import handwriting, models, storage

NUM_ALTERNATES = 3
UNITS = 1000  # of the font in an em
X_HEIGHT = 300  # of them in a height of an x
_PIXELS = 48  # in a height of an x, in which outlines are traced
_LEAST_KERN = 8  # units
_SPACE = round(handwriting.WORD_SPACE * handwriting.CAP_HEIGHT * X_HEIGHT)


def save_font(
    path: str | Path,
    model: models.PenModel,
    hand: models.Hand,
    name: str,
    seed: int = 0,
    pen_width: float = handwriting.STROKE_PEN,
) -> None:
    """Writes a hand as a .ttf font of printable ASCII.

    Args:
        path: the file.
        model: that draws the letters.
        hand: from `models.load_hand` or `models.draw_hand`.
        name: of the family.
        seed: of the letters.
        pen_width: thickness of a line, in heights of a capital, (0, 0.5].

    Raises:
        ValueError: an argument is not as described, or the file cannot be written.
    """
    if not 0.0 < pen_width <= 0.5:
        raise ValueError(f"pen_width must be in (0, 0.5], got {pen_width}.")
    path = storage.check_output(path, ".ttf")
    letters = draw_letters(model, hand, seed)
    font = build_font(model, letters, _family(name), pen_width)
    with storage.atomic_write(path) as draft:
        font.save(draft)


def draw_letters(
    model: models.PenModel, hand: models.Hand, seed: int = 0
) -> list[list[list[np.ndarray]]]:
    """Returns three of each character of the model, as strokes."""
    labels = np.arange(NUM_ALTERNATES * len(model.classes)) % len(model.classes)
    key = jax.random.key(seed)
    batches = models.generate_strokes(key, model, labels, hand)
    arrays = np.concatenate([batch.x_0 for batch in batches])
    glyphs = [
        [handwriting.restyle(s, reach=1.0) for s in handwriting.decode_strokes(array)]
        for array in arrays
    ]
    num = len(model.classes)
    return [glyphs[start : start + num] for start in range(0, len(glyphs), num)]


def build_font(
    model: models.PenModel, letters: list[Any], family: str, pen_width: float
) -> Any:
    """Returns the font of letters, `fontTools.ttLib.TTFont`."""
    from fontTools.feaLib.builder import addOpenTypeFeaturesFromString
    from fontTools.fontBuilder import FontBuilder

    pen = pen_width * handwriting.CAP_HEIGHT
    gap, sides = handwriting.GAP, model.sides
    glyphs: dict[str, Any] = {".notdef": _outline([], pen, 0.0)}
    advances = {".notdef": _SPACE}
    for turn, characters in enumerate(letters):
        glyphs[f"space.{turn}"], advances[f"space.{turn}"] = glyphs[".notdef"], _SPACE
        for char, side, strokes in zip(model.classes, sides, characters, strict=True):
            ink = np.concatenate(strokes)[:, 0]
            left, right = gap / 2 + side
            glyph = _name(char, turn)
            glyphs[glyph] = _outline(strokes, pen, left - ink.min())
            advance = np.ptp(ink) + left + right
            advances[glyph] = max(1, round(X_HEIGHT * float(advance)))
    builder = FontBuilder(UNITS, isTTF=True)
    builder.setupGlyphOrder(list(glyphs))
    chars = " " + model.classes
    builder.setupCharacterMap(
        {ord(char): _name(char, 0) for char in chars} | {0xA0: "space.0"}
    )
    builder.setupGlyf(glyphs)
    table = builder.font["glyf"]
    builder.setupHorizontalMetrics(
        {name: (advances[name], getattr(table[name], "xMin", 0)) for name in glyphs}
    )
    ascent, descent = 850, -350
    builder.setupHorizontalHeader(ascent=ascent, descent=descent)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(
        sTypoAscender=ascent,
        sTypoDescender=descent,
        usWinAscent=max(ascent, *(getattr(g, "yMax", 0) for g in glyphs.values())),
        usWinDescent=max(-descent, *(-getattr(g, "yMin", 0) for g in glyphs.values())),
        sxHeight=X_HEIGHT,
        sCapHeight=round(handwriting.CAP_HEIGHT * X_HEIGHT),
    )
    builder.setupPost()
    addOpenTypeFeaturesFromString(builder.font, _features(model, letters[0]))
    return builder.font


def _features(model: models.PenModel, letters: list[Any]) -> str:
    """Returns the rotation and the kerning in the language of feature files."""
    chars = " " + model.classes
    classes = [
        f"@turn{turn} = [{' '.join(_name(char, turn) for char in chars)}];"
        for turn in range(NUM_ALTERNATES)
    ]
    # Each rule sees what became of the letter before: 0 1 2 0 1 2 ...
    turns = [
        f"  sub @turn{turn} @turn0' by @turn{turn + 1};"
        for turn in range(NUM_ALTERNATES - 1)
    ]
    kinds = [
        f"@kind{k} = [{' '.join(_name(char, t) for t in range(NUM_ALTERNATES))}];"
        for k, char in enumerate(model.classes)
    ]
    kerns = X_HEIGHT * _kern(model, letters)
    pairs = [
        f"  pos @kind{k} @kind{m} {round(kerns[k, m])};"
        for k, m in np.argwhere(np.abs(kerns) >= _LEAST_KERN)
    ]
    # A lookup of pairs must fit in 64 kB with one row for a kind.
    lines = ["languagesystem DFLT dflt;", "languagesystem latn dflt;", *classes, *kinds]
    lines += ["feature calt {", *turns, "} calt;", "feature kern {", *pairs, "} kern;"]
    return "\n".join(lines)


def _kern(model: models.PenModel, letters: list[Any]) -> np.ndarray:
    """Returns what a page adds to the gap of each pair, float[C, C], in x-heights."""
    num = len(letters)
    first, second = np.divmod(np.arange(num * num), num)
    order = np.stack([first, second], 1).ravel()
    gaps = models.gaps_between(model, order, handwriting.GAP)
    left = handwriting.space_pairs(letters, first, second, gaps[1::2])
    return (left - gaps[1::2]).reshape(num, num)


def _outline(strokes: list[np.ndarray], pen: float, left: float) -> Any:
    """Returns the glyph of strokes drawn with a pen, the ink's x moved by left."""
    from fontTools.pens.ttGlyphPen import TTGlyphPen

    drawn = TTGlyphPen(None)
    if strokes:
        points = np.concatenate(strokes)
        low, high = points.min(0) - pen, points.max(0) + pen
        origin = np.array([-low[0], high[1]])
        width, height = np.ceil(_PIXELS * (high - low)).astype(int).tolist()
        placed = [_PIXELS * (origin + s * [1.0, -1.0]) for s in strokes]
        ink = handwriting.draw_strokes(placed, _PIXELS * pen, height, width)
        for polygon in handwriting.trace_outlines(255 - ink):
            control = handwriting.spline(polygon)
            place = (control / _PIXELS - origin) * [1.0, -1.0] + [left, 0.0]
            units = np.rint(X_HEIGHT * place).astype(int).tolist()
            # Points between its controls are on the curve: a closed spline of TrueType.
            drawn.qCurveTo(*map(tuple, units), None)
            drawn.closePath()
    return drawn.glyph()


def _name(char: str, turn: int) -> str:
    """Returns the name of a glyph: a.0, space.2, exclam.1 as U+0021."""
    if char == " ":
        return f"space.{turn}"
    plain = char in string.ascii_letters
    return f"{char}.{turn}" if plain else f"uni{ord(char):04X}.{turn}"


def _family(name: str) -> str:
    """Returns a name of printable ASCII for a family."""
    kept = "".join(char for char in name if char.isascii() and char.isprintable())
    return kept.strip()[:31] or "hand"
