"""Areas: command lines, and runs that go on."""

import contextlib
import io
import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import numpy as np
from pen_files import PEN_FILE
from spoil import CHARS, check, images_of, npz, spoil, spoil_json
from weight_files import save_models

from jdiff import cli, closed_form, evaluation, models, runs
from jdiff.cli import options
from jdiff.recipes import pen_data

GOOD = ["1", "2", "3", "0.5"]
NUMBERS = [*GOOD, "0", "-1", "7", "10", "1e-9", "-0.0", "nan", "inf", "-inf", "-5"]
NUMBERS += ["1e30", "1.7e308", "1e309", "1000000000", "2147483648", "4294967296"]
NUMBERS += ["9" * 20, "9" * 5000, "1_0", "\u0661", "\u00b2", "", "0x10", " 5", "none"]
NUMBERS += ["--"]
TEXTS = ["ab", "1", "a b", "a\\nb", "a\nb", "", " ", "\t", "\u00e9", "\U0001f600"]
TEXTS += ["\ud800", "a\0b", "-a", "--", "ab" * 6000, "a" * 300, "\u202e", "a,b", "\r"]
TEXTS += ["\u2019a", "b" * 60 + " a", "\u0301", "AZ09.,!?", "a\\", "\\n"]
PATHS = (
    "a.png b.gif c.svg d.apng e.webp f.npz g.json . / .. /dev/null /dev/full".split()
)
PATHS += "/proc/a.png /sys/a.npz nowhere/a.png ~nosuchuser/a.png folder.png".split()
PATHS += "folder.png fifo.png a.jpg noext A.PNG .png a.png/ a.png/b.png".split()
PATHS += ["", "\0", "a" * 300 + ".png", "\u00e9.png", "\udcff.png"]
COLOURS = "navy #102040 rgb(999,0,0) #12 hsl(0,100%,50%) nvy #fff8e7ff".split()
COLOURS += ["rgb(1,2,3)", "hsv(400,0%,0%)", "transparent", "rgb(-1,0,0)", "", "\0"]
DATA = "a.npz b.npz missing.npz emnist/klingon mnist folder:. folder: tfds:x".split()
DATA += ["folder:nowhere", "", "glyph", "emnist/byclass", "fifo.npz", "folder:images"]


def numbers(*names: str) -> dict[str, list[str]]:
    """Returns options whose values are numbers."""
    return {f"--{name}": NUMBERS for name in names}


SAMPLING = numbers("seed", "steps", "guidance")
SAMPLING |= {"--solver": ["ddpm", "ddim", "heun", "dpmpp_2m", "unipc", "euler", ""]}
SAMPLING |= {"--grid": ["karras", "uniform", ""]}
HAND = numbers("draws", "neatness")
WRITE = numbers("width", "height", "size", "margin", "jitter", "dpi", "slant", "weight")
WRITE |= numbers("letter-width", "roundness", "style-seed", "pen-width")
WRITE |= {"--ink": COLOURS, "--paper": COLOURS, "--out": PATHS}
WRITE |= {"--align": ["left", "up"], "--animate": ["pen", "noise", "x"]}
WRITE |= {"--no-gif": None, "--transparent": None, "--no-counter": None}
WRITE |= {"--no-hold": None, "--bogus": None, "--wid": ["9"]}
SAMPLE = {"--chars": TEXTS, "--out": PATHS} | numbers("num")
EVALUATE = {"--reference": DATA, "--out": PATHS, "--data-dir": PATHS}
EVALUATE |= {"--natural": None, "--fast": None} | numbers("num")
RUN = numbers("minutes", "steps", "batch-size", "learning-rate", "save-minutes")
RUN |= numbers("ema-decay", "seed")
DIFFUSION = numbers("label-dropout", "num-steps")
DIFFUSION |= {"--schedule": ["cosine", "flow", "karras", "x"]}
DIFFUSION |= {"--prediction": ["v", "eps"]}
UNET = numbers("num-channels", "num-blocks", "num-levels", "accumulate")
MLP = numbers("num-features", "num-layers")
# Of each recipe: what it is given first, and what may come then.
TRAIN = {
    "unet": (
        "--data=a.npz --num-channels=16 --num-blocks=1 --steps=1",
        UNET | RUN | DIFFUSION | {"--dry-run": None, "--start": PATHS, "--data": DATA},
    ),
    "autoencoder": (
        "--data=a.npz --autoencoder=pca --num-latents=2 --steps=1",
        {"--autoencoder": ["mlp", "conv", "pca", "x"], "--data": DATA}
        | numbers("num-latents", "widths", "beta")
        | RUN,
    ),
    "latent": (
        "--data=a.npz --autoencoder=auto --num-features=8 --steps=1",
        {"--autoencoder": PATHS, "--data": DATA}
        | numbers("style-dropout")
        | MLP
        | RUN
        | DIFFUSION,
    ),
    "distill": (
        "--weights=latent.safetensors --paths=2 --updates=2 --steps=1",
        {"--weights": PATHS}
        | numbers("paths", "updates", "teacher-steps", "guidance", "delta")
        | RUN,
    ),
    "pen": (
        "--data=pen.npz --judge-steps=1 --steps=1 --hold-back=9",
        numbers("judge-steps", "hold-back", "num-conditions") | MLP | RUN,
    ),
    "judge": (
        "patch --steps=1",
        numbers("minutes", "steps", "seed") | {"--out": PATHS},
    ),
    "mixture": (
        "--data=a.npz --cells=2 --latents=3 --rank=2 --out=m.safetensors",
        {"--model": ["article", "affine", "x"], "--out": PATHS, "--data": DATA}
        | numbers("cells", "latents", "rank", "shrinkage", "seed"),
    ),
    "points": (
        "--data=moons --num-points=64 --epochs=1",
        {"--gif": PATHS, "--out": PATHS, "--draw": PATHS, "--data": DATA}
        | numbers("labelled", "epochs", "seconds", "beta-end", "clip", "num-points")
        | MLP
        | SAMPLING,
    ),
}
# Where the work of a command begins, which takes seconds.
WORK = [
    (options, "show_progress"),
    (evaluation, "evaluate"),
    (runs, "run"),
    (runs, "train"),
    (runs.devices, "estimate_cost"),
    (models, "fit_pca"),
    (pen_data, "prepare"),
    (closed_form.linear, "fit"),
    (closed_form.mixtures, "fit"),
]


class Begun(Exception):
    """A command has been accepted, and was about to begin its work."""


def command(*argv: str) -> None:
    """Runs `jdiff` here; raises ValueError for its one sentence and exit code 2."""
    out, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            cli.main(argv)
    except SystemExit as stop:
        sentence = (errors.getvalue().strip().splitlines() or [""])[-1]
        if stop.code == 2 and "error: " in sentence:
            raise ValueError(sentence) from stop
        if stop.code not in (0, None):
            raise


def command_before_work(*argv: str) -> None:
    """Runs `jdiff` as `command` does, to where its work would begin."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.suppress(Begun))
        for module, name in WORK:
            stack.enter_context(mock.patch.object(module, name, side_effect=Begun))
        command(*argv)


def choose(random: Random, options: dict[str, Any], most: int = 4) -> list[str]:
    """Returns a few options of a command line, with a value each; half are good."""
    argv = []
    for name in random.choices(sorted(options), k=random.randint(0, most)):
        values = options[name]
        if values is NUMBERS and random.random() < 0.5:
            values = GOOD
        argv.append(name if values is None else f"{name}={random.choice(values)}")
    return argv


def make_place(folder: Path) -> list[str]:
    """Fills a folder with what command lines name, goes there; returns the weights."""
    files = save_models(folder)
    arrays = {"images": images_of(6, 8), "labels": np.arange(6) % 3, "chars": CHARS}
    (folder / "a.npz").write_bytes(npz(**arrays))
    arrays = {"images": images_of(150), "labels": np.arange(150) % 2, "chars": "ab"}
    (folder / "b.npz").write_bytes(npz(**arrays))
    (folder / "pen.npz").write_bytes(PEN_FILE)
    (folder / "folder.png").mkdir()
    for name in ("fifo.png", "fifo.npz", "fifo.safetensors"):
        os.mkfifo(folder / name)
    os.chdir(folder)
    os.environ["JDIFF_DATA_DIR"] = str(folder)
    return [path.name for path in files.values()]


@contextlib.contextmanager
def swept(folder: Path):
    """A context that removes what is new in a folder at its end, but for drafts."""
    known = {path.name for path in folder.iterdir()}
    try:
        yield
    finally:
        for path in folder.iterdir():
            if path.name not in known and not path.name.startswith(".jdiff-"):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def try_commands(folder: Path):
    """Command lines of `write`, `sample` and `evaluate`, drawn with tiny weights."""
    good = make_place(folder)
    weights = [*good, "b.npz", "missing", "fifo.safetensors", ".", "a.npz", "", "\0"]
    weights.append("~nosuchuser/a")

    def attempt(random: Random) -> None:
        chosen = random.choice(good if random.random() < 0.8 else weights)
        # A few programs, which are compiled once.
        argv = ["--steps=2", *choose(random, SAMPLING, 2)]
        name = random.choice(["write", "write", "sample", "evaluate"])
        does_work = random.random() < (0.01 if name == "evaluate" else 0.1)
        some = command if does_work else command_before_work
        with swept(folder):
            match name:
                case "write":
                    argv += [f"--weights={chosen}", *choose(random, WRITE | HAND)]
                    some("write", *argv, "--", random.choice(TEXTS))
                case "sample":
                    argv = ["--out=f.npz", "--num=2", f"--weights={chosen}", *argv]
                    argv += choose(random, SAMPLE | HAND, 3)
                    some("sample", *argv)
                    check_chars(argv)
                case "evaluate":
                    chosen = random.choice([chosen, "b.npz"])
                    argv = ["--reference=b.npz", "--num=130", *argv]
                    argv += choose(random, EVALUATE, 3)
                    some("evaluate", *argv, "--", chosen)

    return attempt


def check_chars(argv: list[str]) -> None:
    """Raises Wrong unless `sample` has drawn the characters that it was asked for."""
    last = dict(argument.split("=", 1) for argument in argv if "=" in argument)
    text = last.get("--chars")
    if text is None or not Path("f.npz").exists():
        return
    with np.load("f.npz") as file:
        found = file["chars"]
    found = map(chr, found) if found.dtype.kind == "u" else found
    check(set(found) == set(text) - set(" \t\n\r"))


def try_training(folder: Path):
    """Command lines of `train`, on tiny data; one in a hundred may do its work."""
    make_place(folder)
    command("train", "autoencoder", *TRAIN["autoencoder"][0].split(), "--out=auto")

    def attempt(random: Random) -> None:
        recipe = random.choice(sorted(TRAIN))
        first, options = TRAIN[recipe]
        argv = ["train", recipe, *first.split(), *choose(random, options, 3)]
        if recipe not in ("judge", "mixture", "points"):
            argv.append("--out=run")
        some = command if random.random() < 0.01 else command_before_work
        with swept(folder):
            some(*argv)

    return attempt


def try_resume(folder: Path):
    """Runs that go on, with what they began with spoiled."""
    (folder / "a.npz").write_bytes(npz(images=images_of(6, 8), labels=np.arange(6) % 3))
    begin = ["train", "autoencoder", "--autoencoder", "pca", "--num-latents", "3"]
    run = folder / "run"
    command(*begin, "--data", str(folder / "a.npz"), "--out", str(run))
    good = (run / "arguments.json").read_bytes()
    options = numbers("steps", "minutes", "seed", "batch-size", "ema-decay")

    def attempt(random: Random) -> None:
        spoiled = spoil(random, good)
        if random.random() < 0.7:
            spoiled = json.dumps(spoil_json(random, json.loads(good))).encode()
        (run / "arguments.json").write_bytes(spoiled)
        # Others would train for 15 minutes.
        is_solved = b'"autoencoder": "pca"' in spoiled
        some = command if is_solved and random.random() < 0.05 else command_before_work
        argv = choose(random, options, 1) if random.random() < 0.3 else []
        argv = ["train", "autoencoder", "--resume", "--out", str(run), *argv]
        some(*argv)

    return attempt
