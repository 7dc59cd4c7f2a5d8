"""Pictures for notebooks: sheets of images, points in the plane, diagrams, animations.

It needs matplotlib: `pip install 'jdiffusion[notebooks]'`.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from jdiff import handwriting, images

INK, ACCENT = "0.1", "tab:red"
# Okabe & Ito 2008, for labels 0 .. 3; the last one is of points without a label.
COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#BBBBBB"]

Box = tuple[float, float, float, float]  # left, right, bottom, top
Place = tuple[float, float]  # of the middle of a box of a diagram

_MOST_POINTS = 3000  # of a scatter plot; more make it larger, not clearer
_DOT = 2  # pixels of a point of an animation, each way
_STRIP = 18  # pixels below an animation, for the step


def use_style() -> None:
    """Sets matplotlib's defaults to those of all notebooks."""
    plt.rcParams |= {"figure.dpi": 110, "font.size": 9, "axes.titlesize": 9}
    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False}


def panels(num: int, size: float = 1.9, rows: int = 1, height: float = 1.0) -> Any:
    """Returns axes of a new figure: [num], or [rows, num], or one if both are 1.

    Args:
        num: panels in a row.
        size: width of a panel in inches.
        rows: of panels.
        height: of a panel, in its widths; titles come on top.
    """
    figsize = size * num, rows * (height * size + 0.2)
    return plt.subplots(rows, num, figsize=figsize, layout="constrained")[1]


def show_page(page: np.ndarray, axes: Any = None, title: str = "") -> None:
    """Shows a page of ink, uint8[H, W] where 255 is ink, as dark on white paper."""
    if axes is None:
        _, axes = plt.subplots(figsize=(page.shape[1] / 70, page.shape[0] / 70))
    axes.imshow(images.on_paper(page), cmap="gray", vmin=0, vmax=255)
    axes.set_title(title)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def show_images(
    x: Any,
    rows: Sequence[Any] = (),
    columns: Sequence[Any] = (),
    title: str = "",
    axes: Any = None,
    size: float = 0.55,
    own_greys: bool = False,
) -> None:
    """Shows images as a sheet of ink on paper, with names of its rows and columns.

    Args:
        x: float[R, N, S, S, 1] in [-1, 1], 1 is ink.
        rows: names of the first rows.
        columns: names of the first columns.
        title: of the sheet.
        axes: where; by default a new figure.
        size: of an image in a new figure, in inches.
        own_greys: whether each image reaches from white to black, as matplotlib shows
            an array by default, and not from -1 to 1.
    """
    x = np.asarray(x)
    num_rows, num_columns, side = x.shape[:3]
    if own_greys:
        low, high = (f(x, axis=(2, 3, 4), keepdims=True) for f in (np.min, np.max))
        x = 2.0 * (x - low) / np.maximum(high - low, 1e-6) - 1.0
    if axes is None:
        _, axes = plt.subplots(figsize=(size * num_columns, size * num_rows))
    flat = images.to_uint8(x.reshape(-1, *x.shape[2:]))
    show_page(images.tile(flat, num_columns), axes, title)
    middles = side / 2 + 2 + (side + 2) * np.arange(max(num_rows, num_columns))
    axes.set_yticks(middles[: len(rows)], rows)
    axes.set_xticks(middles[: len(columns)], columns)
    axes.tick_params(length=0, top=True, labeltop=True, labelbottom=False)


def show_points(
    axes: Any,
    x: Any,
    labels: Any = None,
    title: str = "",
    box: Box | None = None,
    color: str = INK,
    size: float = 0.6,
) -> None:
    """Shows at most 3,000 points of the plane.

    Args:
        axes: where.
        x: float[N, 2].
        labels: int[N], indices of `COLORS`; by default all points have one colour.
        title: of the panel.
        box: what is seen; by default as much as there is.
        color: of points without labels.
        size: of a point.
    """
    x = np.asarray(x)[:_MOST_POINTS]
    colours = (
        color if labels is None else np.array(COLORS)[np.asarray(labels)[: len(x)]]
    )
    axes.scatter(*x.T, s=size, c=colours, linewidths=0, rasterized=True)
    axes.set_title(title, fontsize=8)
    axes.set(xticks=[], yticks=[], aspect="equal")
    if box is not None:
        axes.axis(box)
    axes.spines[:].set_visible(False)


def smooth(values: Any, num: int = 50) -> np.ndarray:
    """Returns means of num neighbours, float[N - num + 1], or of all if N is less."""
    num = min(num, len(values))
    return np.convolve(values, np.ones(num) / num, mode="valid")


def show_losses(axes: Any, losses: Any, num: int = 50, title: str = "") -> None:
    """Shows the loss of each training step, and its mean over num of them."""
    means = smooth(losses, num)
    axes.plot(losses, color="0.8", linewidth=0.8, label="one batch")
    label = f"mean of {len(losses) - len(means) + 1}"
    middles = np.arange(len(means)) + (len(losses) - len(means)) / 2
    axes.plot(middles, means, color=INK, label=label)
    axes.set(xlabel="step", ylim=(0, 2.5 * means[-1]), title=title)


def show_diagram(
    axes: Any,
    boxes: Mapping[str, Place],
    arrows: Sequence[tuple[str, str, str]],
    colours: Mapping[str, str] | None = None,
) -> None:
    """Shows a diagram of named boxes and of arrows between them.

    Args:
        axes: where, in units of its own size: x and y are in [0, 1].
        boxes: the middle of each box, by the text that it holds.
        arrows: (from, to, label), the first two by their texts.
        colours: of boxes that are not white.
    """
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    shown = {}
    for text, place in boxes.items():
        face = (colours or {}).get(text, "white")
        frame = {"boxstyle": "round,pad=0.5", "facecolor": face, "edgecolor": INK}
        where = {"ha": "center", "va": "center", "zorder": 2}
        shown[text] = axes.text(*place, text, bbox=frame, **where)
    for start, stop, label in arrows:
        ends = {"patchA": shown[start].get_bbox_patch()}
        ends |= {"patchB": shown[stop].get_bbox_patch()}
        line = {"arrowstyle": "-|>", "color": INK, "shrinkA": 2, "shrinkB": 2, **ends}
        # Above the boxes, so after them: only when drawn does a box know its size.
        axes.annotate("", boxes[stop], boxes[start], arrowprops=line, zorder=3)
        x, y = np.mean([boxes[start], boxes[stop]], axis=0)
        axes.text(x, y + 0.02, label, ha="center", va="bottom", fontsize=8)


def make_gif(
    frames: Iterable[np.ndarray], steps: Sequence[int] | None = None, hold: int = 20
) -> bytes:
    """Returns pages as a GIF, for IPython's `Image`.

    Args:
        frames: dark on white, uint8[F, H, W].
        steps: int[F], said under each frame, if given.
        hold: the last frame lasts as long as this many.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "animation.gif"
        handwriting.save_animation(path, frames, steps=steps, hold=hold)
        return path.read_bytes()


def make_points_gif(
    paths: Any,
    labels: Any,
    steps: Sequence[int],
    box: Box,
    width: int = 400,
) -> bytes:
    """Returns points on their way, in the colours of their labels, as a GIF.

    Args:
        paths: float[N, F, 2]; frame k shows paths[:, k].
        labels: int[N], indices of `COLORS`.
        steps: int[F], said under each frame.
        box: what is seen.
        width: in pixels.
    """
    from PIL import Image, ImageColor, ImageDraw, ImageFont

    left, right, bottom, top = box
    scale = width / (right - left)
    height = round((top - bottom) * scale)
    palette = [channel for c in COLORS for channel in ImageColor.getrgb(c)]
    labels, drawn = np.asarray(labels), []
    for x, step in zip(np.asarray(paths).swapaxes(0, 1), steps, strict=True):
        place = np.floor((x - [left, top]) * [scale, -scale]).astype(int)
        page = np.zeros((height + _STRIP, width), np.uint8)  # 0 is paper
        for shift in np.ndindex(_DOT, _DOT):
            column, row = (place + shift).T
            seen = (0 <= column) & (column < width) & (0 <= row) & (row < height)
            page[row[seen], column[seen]] = 1 + labels[seen]
        frame = Image.fromarray(page)
        frame.putpalette([255, 255, 255, *palette])
        font = ImageFont.load_default(12)
        ImageDraw.Draw(frame).text((6, height + 1), f"t = {step}", len(COLORS), font)
        drawn.append(frame)
    file, durations = io.BytesIO(), [80] * (len(drawn) - 1) + [1600]
    options = {"save_all": True, "append_images": drawn[1:], "loop": 0}
    drawn[0].save(file, format="GIF", duration=durations, **options)
    return file.getvalue()
