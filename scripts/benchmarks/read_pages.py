"""Pages of handwriting, read by an OCR engine that is not ours.

    apt-get install tesseract-ocr fonts-breip fonts-comic-neue fonts-dkg-handwriting \
        fonts-klee fonts-rufscript
    python scripts/benchmarks/read_pages.py --model pen latent --hands pen-train.npz

writes five texts with each model and seed, as `jdiff write --width 700` does, and with
five open handwriting fonts, from tidy to casual. Each page is enlarged twice, which
tesseract expects, and read. Printed are character error rates: the edit distance to the
text divided by its length, for letters of any case and as they are. Line ends count as
spaces. One step is that of the distilled model: --model latent --steps 1.

--texts ordinary takes the fifty texts of ordinary.txt: letters, addresses, sums.
--hands adds people: the texts, set in the same way with characters of held-back hands
(`jdiff.data.HELD_BACK`), and lines as they were written. Where the blanks of a line
were is not known, so these are read without.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from command import check_json, check_positive, make_parser, run, save_json
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

import jdiff
from jdiff import data, handwriting, models

TEXTS = {
    "five": (
        "The quick brown fox jumps over the lazy dog near the river bank",
        "Dear Anna thank you for the letter and the five pictures of your garden",
        "Pack my box with six dozen liquor jugs before the train leaves at 7",
        "We met in May 1998 and walked along the harbour until the rain began",
        "Every morning the baker opens his shop at half past 6 and sells bread",
    ),
    "ordinary": Path(__file__).with_name("ordinary.txt").read_text().splitlines(),
}
# Package in Debian, and the file in it.
FONTS = {
    "fonts-breip": "Breip.ttf",
    "fonts-comic-neue": "ComicNeue-Regular.otf",
    "fonts-dkg-handwriting": "dkg.ttf",
    "fonts-klee": "KleeOne-Regular.ttf",
    "fonts-rufscript": "Rufscript010.ttf",
}
FONT_FOLDERS = (Path("/usr/share/fonts"), Path("/usr/local/share/fonts"))
WIDTH = 700
CAP_HEIGHT = 44
MARGIN = 30
NUM_PAGES = 50  # of people, who take turns
NUM_LINES = 10  # of each of them
# Of a line as it was written: characters, and the gap between them in heights of an x.
# Who leaves more, or none, has written letters into cells, not words.
LEAST_LENGTH, WIDEST_GAP = 10, 0.7


def main(argv: list[str] | None = None) -> None:
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--model", nargs="+", default=["latent"], help="names, or files of weights")
    add("--texts", choices=TEXTS, default="five")
    add("--hands", type=Path, help="FILE.npz of pen strokes: people, too")
    add("--seeds", type=int, default=10, help="seeds of each model")
    add("--first-seed", type=int, default=0)
    add("--steps", type=int, default=10)
    add("--out", type=Path, help="a JSON file for all that was read")
    args = parser.parse_args(argv)
    check_positive(args, "seeds", "steps")
    check_json(args.out)
    if not shutil.which("tesseract"):
        raise ValueError(
            "tesseract must be installed to read the pages: apt-get install "
            "tesseract-ocr."
        )
    fonts = find_fonts()
    texts = TEXTS[args.texts]
    pages = {package: draw_with_font(path, texts) for package, path in fonts.items()}
    if args.hands:
        pen = data.read_pen(args.hands)
        pages["people, set as pages"] = draw_with_people(pen, texts)
        pages["people, as written"] = draw_lines(pen)
    seeds = range(args.first_seed, args.first_seed + args.seeds)
    for model in args.model:
        pages[model] = draw_with_model(model, texts, seeds, args.steps)
    result = {name: read_all(drawn, name) for name, drawn in pages.items()}
    print(f"{'':24}{'any case':>12}{'with case':>12}{'pages':>8}")
    for name, read in result.items():
        rates = [error_rates(page["text"], page["read"]) for page in read]
        folded, exact = np.mean(rates, 0)
        print(f"{name:24}{folded:12.3f}{exact:12.3f}{len(read):8}")
    save_json(args.out, result)


def find_fonts() -> dict[str, Path]:
    """Returns the file of each font by its package, if all are installed."""
    files = {
        path.name: path for folder in FONT_FOLDERS for path in folder.rglob("*.?tf")
    }
    missing = [package for package, name in FONTS.items() if name not in files]
    if missing:
        raise ValueError(
            "the fonts to compare with must be installed: apt-get install "
            f"{' '.join(missing)}."
        )
    return {package: files[name] for package, name in FONTS.items()}


def draw_with_font(path: Path, texts: Sequence[str]) -> list[tuple[str, np.ndarray]]:
    """Returns (text, page uint8[H, W]) of each text, with capitals 44 pixels high."""
    trial = ImageFont.truetype(str(path), 200)
    left, top, right, bottom = trial.getbbox("H")
    font = ImageFont.truetype(str(path), round(200 * CAP_HEIGHT / (bottom - top)))
    pages = []
    for text in texts:
        lines = wrap(text, font)
        pitch = round(1.8 * CAP_HEIGHT)
        page = Image.new("L", (WIDTH, 2 * MARGIN + pitch * len(lines)), 255)
        for row, line in enumerate(lines):
            ImageDraw.Draw(page).text((MARGIN, MARGIN + pitch * row), line, 0, font)
        pages.append((text, np.asarray(page)))
    return pages


def wrap(text: str, font: ImageFont.FreeTypeFont) -> list[str]:
    """Returns lines that fit between the margins, broken at spaces."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= WIDTH - 2 * MARGIN:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def draw_with_model(model: str, texts: Sequence[str], seeds: range, steps: int):
    """Returns (text, page uint8[H, W]) of each text and seed."""
    pages = []
    for seed in tqdm(seeds, desc=model):
        for text in texts:
            page = jdiff.write(text, model, seed=seed, steps=steps, width=WIDTH)
            pages.append((text, page.image))
    return pages


def draw_with_people(pen: data.Pen, texts: Sequence[str]):
    """Returns (text, page uint8[H, W]) of texts, each in characters of one person."""
    model = models.load_pen()
    num = max(1, NUM_PAGES // len(texts))
    pages = []
    for k, text in enumerate(texts):
        drawn = text.replace(" ", "")
        labels = handwriting.encode(drawn, data.PEN_CHARS)
        gaps = models.gaps_between(model, labels, handwriting.GAP)
        hands = [
            writer
            for writer in data.HELD_BACK
            if not set(labels) - set(pen.labels[_rows_of(pen, writer)])
        ]
        for writer in np.roll(hands, -k * num)[:num]:
            random, rows = np.random.default_rng(writer), _rows_of(pen, writer)
            chosen = [random.choice(rows[pen.labels[rows] == k]) for k in labels]
            glyphs = [_redraw(pen.strokes[row]) for row in chosen]
            layout = handwriting.set_strokes(text, glyphs, width=WIDTH, gaps=gaps)
            pages.append((text, handwriting.stroke_page(layout, glyphs).image))
    return pages


def _rows_of(pen: data.Pen, writer: int) -> np.ndarray:
    """Returns which characters of a hand `jdiff write` could have drawn, int[n]."""
    few = np.array([len(strokes) <= handwriting.MAX_STROKES for strokes in pen.strokes])
    return np.flatnonzero((pen.writers == writer) & pen.has_baseline & few)


def _redraw(strokes):
    """Returns the strokes of a character as `jdiff write` draws its own."""
    decoded = handwriting.decode_strokes(handwriting.encode_strokes(strokes))
    return [handwriting.restyle(stroke, reach=handwriting.REACH) for stroke in decoded]


def draw_lines(pen: data.Pen):
    """Returns (text, page uint8[H, W]) of lines as held-back hands wrote them."""
    unit = CAP_HEIGHT / handwriting.CAP_HEIGHT
    width_of_pen = handwriting.STROKE_PEN * CAP_HEIGHT
    pages = []
    for writer in data.HELD_BACK:
        rows = np.flatnonzero((pen.writers == writer) & pen.has_baseline)
        lines = [rows[pen.lines[rows] == line] for line in np.unique(pen.lines[rows])]
        lines = [line for line in lines if is_running(pen, line)][:NUM_LINES]
        for line in lines:
            strokes = [
                unit * (stroke + [pen.x[row], 0.0]) * [1.0, -1.0]
                for row in line
                for stroke in pen.strokes[row]
            ]
            points = np.concatenate(strokes)
            low, high = points.min(0) - MARGIN, points.max(0) + MARGIN
            width, height = np.ceil(high - low).astype(int)
            placed = [stroke - low for stroke in strokes]
            ink = handwriting.draw_strokes(placed, width_of_pen, height, width)
            text = handwriting.decode(pen.labels[line], data.PEN_CHARS)
            pages.append((text, 255 - ink))
    return pages


def is_running(pen: data.Pen, line: np.ndarray) -> bool:
    """Returns whether characters int[n] are a line of words, not one of cells."""
    if len(line) < LEAST_LENGTH:
        return False
    ends = [max(stroke[:, 0].max() for stroke in pen.strokes[row]) for row in line]
    gaps = np.diff(pen.x[line]) - ends[:-1]
    return bool(0.0 < np.median(gaps) < WIDEST_GAP)


def read_all(pages, name: str) -> list[dict[str, str]]:
    """Returns the text of each page and what tesseract reads."""
    return [
        {"text": text, "read": read(image)} for text, image in tqdm(pages, desc=name)
    ]


def read(image: np.ndarray) -> str:
    """Returns what tesseract reads on a page of one block of text."""
    page = Image.fromarray(image)
    page = page.resize((2 * page.width, 2 * page.height), Image.Resampling.BICUBIC)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.png"
        page.save(path)
        command = ["tesseract", str(path), "stdout", "--psm", "6", "-l", "eng"]
        # Its threads wait for one another longer than they work.
        environment = os.environ | {"OMP_THREAD_LIMIT": "1"}
        result = subprocess.run(
            command, capture_output=True, text=True, env=environment
        )
    if result.returncode:
        raise ValueError(f"tesseract must read the page, but: {result.stderr.strip()}")
    return " ".join(result.stdout.split())


def error_rates(text: str, found: str) -> tuple[float, float]:
    """Returns character error rates, of letters in any case and of letters as they are.

    Blanks count if the text has some.
    """
    found = found if " " in text else found.replace(" ", "")
    folded = edit_distance(text.lower(), found.lower()) / len(text)
    return folded, edit_distance(text, found) / len(text)


def edit_distance(a: str, b: str) -> int:
    """Returns how many letters to insert, delete or replace (Levenshtein 1966)."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            change = diagonal + (x != y)
            diagonal = row[j]
            row[j] = min(change, row[j] + 1, row[j - 1] + 1)
    return row[-1]


if __name__ == "__main__":
    run(main)
