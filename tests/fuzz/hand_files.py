"""Areas: hands of one's own, and photos of their sheets."""

import io
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image
from spoil import check, spoil, spoil_weights
from weight_files import PEN, make_params

from jdiff import hands, models, storage


def load_tiny(folder: Path) -> models.PenModel:
    """Returns a model of strokes that is written to the folder."""
    path = folder / "pen.safetensors"
    storage.save_weights(path, make_params()["pen"][0], PEN)
    return models.load_pen(path)


def try_hand(folder: Path):
    """Hands in .hand files."""
    model, path = load_tiny(folder), folder / "my.hand"
    models.save_hand(path, models.own_hand(model.hands[0]), model)
    content, code = path.read_bytes(), models.load_hand(path, model).code

    def attempt(random: Random) -> None:
        path.write_bytes(spoil_weights(random, content))
        check(np.array_equal(models.load_hand(path, model).code, code))

    return attempt


def try_photos(folder: Path):
    """Photos of an empty sheet: spoilt files, and strange pictures."""
    model, path = load_tiny(folder), folder / "sheet.png"
    page = hands.draw_sheet(hands.SHORT, 60)
    file = io.BytesIO()
    Image.fromarray(page).save(file, "PNG")
    content = file.getvalue()

    def attempt(random: Random) -> None:
        if random.randrange(2):
            path.write_bytes(spoil(random, content))
        else:
            Image.fromarray(distort(random, page)).save(path)
        reading = hands.read_hand(path, model)
        check(not reading.chars and reading.empty == hands.SHORT.chars)

    return attempt


def distort(random: Random, page: np.ndarray) -> np.ndarray:
    """Returns a page that is cut, turned, dark, mirrored, or in part covered."""
    top, left = map(random.randrange, page.shape)
    covered = page.copy()
    covered[top : top + 99, left : left + 99] = 255
    ways = [
        page[top:, left:],
        np.rot90(page, random.randrange(4)),
        (page * random.random()).astype(np.uint8),
        covered[:, ::-1],
        covered,
    ]
    return random.choice(ways)
