"""Characters to labels and back."""

from collections.abc import Sequence
from itertools import groupby

import numpy as np

BLANKS = str.maketrans("", "", " \t\r\n")  # a table for str.translate


def encode(text: str, classes: Sequence[str]) -> np.ndarray:
    """Returns the labels of the characters of a text that are drawn, int32[N].

    Spaces, tabs (one space) and line ends (\\n, \\r\\n, \\r) draw nothing.

    Args:
        text: what to write; names with commas between, if `classes` are names.
        classes: the characters, or a tuple of names, that a model knows; a label is an
            index into them.

    Raises:
        ValueError: a character or name is not in `classes`, or nothing would be drawn.

    >>> encode("A 1", "01ABC").tolist()
    [2, 1]
    """
    if not isinstance(classes, str):
        return _encode_names(text, classes)
    drawn = text.translate(BLANKS)
    unknown = drawn.lstrip(classes)
    if unknown:
        raise ValueError(
            f"cannot write {unknown[0]!r} (U+{ord(unknown[0]):04X}); "
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
