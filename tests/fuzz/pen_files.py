"""Areas: pen strokes, in .npz files and in UNIPEN's own."""

from pathlib import Path
from random import Random

import numpy as np
from spoil import check, npz, spoil, spoil_npy, spoil_zip

from jdiff import data

RECORDING = """\
.X_POINTS_PER_INCH 1000
.Y_POINTS_PER_INCH 1000
.COORD X Y P
.WRITER_ID ada
.PEN_DOWN
0 1000 1 100 1050 1
.PEN_UP
100 1000 0
.PEN_DOWN
200 1000 1 300 1050 1
"""
SEGMENTS = """\
.INCLUDE ada.dat
.SEGMENT CHARACTER 0-2 OK "n"
.SEGMENT CHARACTER 0 ? "A"
.SEGMENT CHARACTER 2:0-2:1,0 ? "b"
"""
LINES = [
    ".INCLUDE segments.dat",
    ".INCLUDE ada.dat",
    ".INCLUDE /etc/passwd",
    ".INCLUDE " + "a" * 999,
    ".COORD P",
    ".X_POINTS_PER_MM 0",
    ".PEN_DOWN\n9e99 nan inf",
    ".WRITER_ID",
    '.SEGMENT CHARACTER 0-99999999999 ? "x"',
    '.SEGMENT CHARACTER 1:2:3,,- OK "\\',
]

TWO = np.array([0, 1], np.uint16)
PEN_FILE = npz(
    points=np.arange(12, dtype=np.int16).reshape(6, 2),
    stroke_lengths=np.array([1, 2, 3], np.uint16),
    num_strokes=np.array([1, 2], np.uint8),
    chars=np.array([65, 66], np.uint8),
    writers=TWO,
    documents=TWO,
    lines=TWO,
    x=np.array([0, 300], np.int32),
    has_baseline=np.array([True, False]),
)


def try_strokes(folder: Path):
    """Pen strokes in .npz files."""
    path = folder / "pen.npz"

    def attempt(random: Random) -> None:
        path.write_bytes(spoil_zip(random, PEN_FILE, spoil_npy))
        pen = data.read_pen(path)
        check(all(stroke.shape[1] == 2 for own in pen.strokes for stroke in own))
        check_labels(pen)

    return attempt


def try_unipen(folder: Path):
    """Pen strokes in UNIPEN's own files."""

    def attempt(random: Random) -> None:
        for name, text in (("ada.dat", RECORDING), ("segments.dat", SEGMENTS)):
            content = spoil_lines(random, text).encode()
            spoiled = spoil(random, content) if random.random() < 0.3 else content
            (folder / name).write_bytes(spoiled)
        pen = data.read_pen(folder)
        check(all(len(stroke) for own in pen.strokes for stroke in own))
        check_labels(pen)

    return attempt


def spoil_lines(random: Random, text: str) -> str:
    """Returns a text with up to two lines replaced, removed or put in."""
    lines = text.splitlines()
    for _ in range(random.randint(0, 2)):
        at = random.randrange(len(lines))
        match random.randrange(3):
            case 0:
                lines[at] = random.choice(LINES)
            case 1:
                del lines[at]
            case 2:
                lines[at:at] = [random.choice(LINES)] * random.choice([1, 99])
    return "\n".join(lines)


def check_labels(pen: data.Pen) -> None:
    """Raises Wrong unless every character is one."""
    check(0 <= pen.labels.min() <= pen.labels.max() < len(data.PEN_CHARS))
