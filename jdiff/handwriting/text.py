"""Characters to labels and back."""

import unicodedata
from collections.abc import Sequence
from itertools import groupby

import numpy as np

_SIBLINGS = {
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2032\u2039\u203a", "'"),
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2033\u00ab\u00bb", '"'),
    **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"),
    **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", ""),
    **dict.fromkeys("\u2028\u2029\u0085", "\n"),
    "\u2022": "*",
    "\u00b7": "*",
    "\u00d7": "x",
    "\u2044": "/",
    "\u00e6": "ae",
    "\u00c6": "AE",
    "\u0153": "oe",
    "\u0152": "OE",
    "\u00df": "ss",
}
_MAX_NAMED = 5  # of the characters that a model does not know
BLANKS = str.maketrans("", "", " \t\r\n")  # a table for str.translate


def to_ascii(text: str) -> str:
    r"""Returns a text with typographic characters as those of a keyboard.

    Curly quotes, dashes, the ellipsis, no-break and other spaces, ligatures, full-width
    letters; invisible marks are left out. What has no sibling stays, an accented letter
    as one character.

    Examples:
        >>> to_ascii("\u201cFine\u201d \u2013 that\u2019s \ufb01ne\u2026")
        '"Fine" - that\'s fine...'
    """
    return "".join(map(_to_ascii, unicodedata.normalize("NFC", text)))


def _to_ascii(char: str) -> str:
    if char.isascii():
        return char
    if char in _SIBLINGS:
        return _SIBLINGS[char]
    # Ligatures, full-width letters and widths of spaces; no accents, no fractions.
    compatible = unicodedata.normalize("NFKC", char)
    return compatible if compatible.isascii() else char


def encode(text: str, classes: Sequence[str]) -> np.ndarray:
    """Returns the labels of the characters of a text that are drawn, int32[N].

    Spaces, tabs (one space) and line ends (\\n, \\r\\n, \\r) draw nothing.

    Args:
        text: what to write; names with commas between, if `classes` are names.
        classes: the characters, or a tuple of names, that a model knows; a label is an
            index into them.

    Raises:
        ValueError: a character or name is not in `classes`, or nothing would be drawn.

    Examples:
        >>> encode("A 1", "01ABC").tolist()
        [2, 1]
    """
    if not isinstance(classes, str):
        return _encode_names(text, classes)
    drawn = text.translate(BLANKS)
    unknown = [char for char in dict.fromkeys(drawn) if char not in classes]
    if unknown:
        named = ", ".join(f"{c!r} (U+{ord(c):04X})" for c in unknown[:_MAX_NAMED])
        more = ", ..." * (len(unknown) > _MAX_NAMED)
        raise ValueError(
            f"cannot write {named}{more}; "
            f"this model writes spaces and {_ranges(classes)}."
        )
    if not drawn:
        raise ValueError("the text is empty: there is nothing to write.")
    return np.array([classes.index(char) for char in drawn], np.int32)


def _encode_names(text: str, names: Sequence[str]) -> np.ndarray:
    wanted = [name.strip() for name in text.split(",")]
    unknown = [name for name in wanted if name not in names]
    if unknown:
        some = ", ".join(names[:20]) + ", ..." * (len(names) > 20)
        raise ValueError(
            f"this model draws {some} (with commas between), got {unknown[0]!r}."
        )
    return np.array([names.index(name) for name in wanted], np.int32)


def decode(labels: np.ndarray, classes: str) -> str:
    """Returns the characters that labels int[N] stand for; blanks are lost.

    Raises:
        ValueError: a label is outside [0, len(classes)).
    """
    for label in labels:
        if not 0 <= label < len(classes):
            raise ValueError(f"labels must be in [0, {len(classes)}), got {label}.")
    return "".join(classes[label] for label in labels)


def _ranges(chars: str) -> str:
    """Returns characters with runs abbreviated: 'abcdxy' is 'a-dxy'."""
    pairs = groupby(enumerate(chars), lambda pair: ord(pair[1]) - pair[0])
    runs = ["".join(char for _, char in run) for _, run in pairs]
    return "".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else run for run in runs)
