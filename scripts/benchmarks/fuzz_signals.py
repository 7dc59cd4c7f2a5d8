"""Ctrl-C and SIGTERM at random moments of `jdiff write`, `sample`, `evaluate`, `train`.

A command must end within seconds: with 128 plus the number of the signal, with its own
code if it was done, or, for a training loop, with 0, its state saved. It prints no
traceback and leaves no draft and no partial file.
"""

import json
import random
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np

import jdiff

STARTED = " jdiff.cli\n"  # the last import before a command reads its options
TRAINING = "images/s"  # in the bar, from the tenth step on
WINDOW = 4.0  # seconds of a training loop in which a signal may come
PATIENCE = 10.0  # seconds; a training loop first saves
SAVING = 60.0


class Case(NamedTuple):
    """A command, and what it has printed before a signal may come."""

    argv: str
    marker: str = STARTED


UNET = "train unet --data a.npz --num-channels 16 --num-blocks 1 --batch-size 8"
UNET += " --num-steps 20 --save-minutes 0.02 --out run"
CASES = {
    "write": Case(f"write '{'Hello World 2026 ' * 9}' --width 900 --out a.png"),
    "sample": Case("sample --model latent --num 99 --out b.npz"),
    "evaluate": Case("evaluate c.npz --reference c.npz --fast --out d.json"),
    "train": Case(f"{UNET} --minutes 9"),
    "loop": Case(f"{UNET} --minutes 9", TRAINING),
    "points": Case("train points --epochs 99999 --num-points 999", TRAINING),
}


def send_signals(num_signals: int, seed: int, seconds: float) -> dict:
    """Sends signals for a while; prints and returns what became of the commands."""
    table, fallen, end = {name: Counter() for name in CASES}, [], time.time() + seconds
    lasts = {name: measure(case) for name, case in CASES.items()}
    for number in range(num_signals):
        if time.time() > end:
            break
        name = list(CASES)[number % len(CASES)]
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            chance = random.Random(f"{seed} {number}")
            verdict = send_one(CASES[name], chance, lasts[name], Path(folder))
        table[name].update(["sent", verdict])
        if verdict not in ("ended", "done", "saved"):
            fallen.append((number, f"{name}: {verdict}"))
            print(f"signal {number}: {name}: {verdict}", file=sys.stderr)
    for name, counts in table.items():
        print(f"{name:10s}" + ", ".join(f"{v} {k}" for k, v in counts.items()))
    return {"counts": {name: dict(c) for name, c in table.items()}, "fallen": fallen}


def write_inputs(folder: Path) -> None:
    """Writes what the commands read."""
    rng = np.random.default_rng(0)
    for name, num, side in (("a.npz", 40, 8), ("c.npz", 200, 28)):
        images = rng.integers(0, 256, (num, side, side), np.uint8)
        np.savez(folder / name, images=images, labels=np.arange(num) % 2, chars="01")


def begin(case: Case, folder: Path) -> subprocess.Popen:
    """Starts a command; returns once a signal may come."""
    argv = [sys.executable, "-X", "importtime", "-m", "jdiff", *shlex.split(case.argv)]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors
        )
    while case.marker not in (folder / "errors").read_text():
        if process.poll() is not None:
            raise ValueError(f"jdiff must start, got exit code {process.poll()}.")
        time.sleep(0.002)
    return process


def measure(case: Case) -> float:
    """Returns how long a command takes here, at most until it has trained."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        write_inputs(Path(folder))
        process, began = begin(case, Path(folder)), time.monotonic()
        errors = Path(folder) / "errors"
        while process.poll() is None and TRAINING not in errors.read_text():
            time.sleep(0.05)
        seconds = time.monotonic() - began
        process.kill()
        if process.wait() not in (0, -signal.SIGKILL):
            raise ValueError(f"jdiff must do its work, got: {errors.read_text()[-99:]}")
    return seconds


def send_one(case: Case, chance: random.Random, seconds: float, folder: Path) -> str:
    """Returns what became of one command."""
    write_inputs(folder)
    before = {path.name for path in folder.iterdir()}
    process = begin(case, folder)
    number = chance.choice([signal.SIGINT, signal.SIGTERM])
    if case.marker == TRAINING:
        time.sleep(chance.uniform(0.0, WINDOW))
    else:  # early moments are the more delicate ones
        time.sleep(0.02 * (1.1 * seconds / 0.02) ** chance.random())
    is_done = process.poll() is not None
    process.send_signal(number)
    trains = case.argv.startswith("train")
    try:
        code = process.wait(SAVING if trains else PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "ignored"
    said = (folder / "errors").read_text()
    if "Traceback" in said or "Fatal" in said:
        return f"traceback ({said[said.rfind('Error') - 200 :][-300:]!r})"
    if code not in (128 + number, 0):
        return f"exit code {code}"
    left = [path.name for path in folder.rglob("*") if path.name.startswith(".")]
    new = {path.name for path in folder.iterdir()} - before - {"errors"}
    left += [name for name in sorted(new) if is_partial(folder / name)]
    if left:
        return f"left {left[0]}"
    if code == 0:
        return "saved" if trains and not is_done else "done"
    return "ended"


def is_partial(path: Path) -> bool:
    """Whether a file that a command left cannot be read whole."""
    from PIL import Image

    try:
        match path.suffix:
            case ".json":
                json.loads(path.read_text())
            case ".npz":
                jdiff.data.read_npz(path)
            case ".png" | ".gif":
                with Image.open(path) as image:
                    image.load()
            case ".safetensors":
                jdiff.storage.load_weights(path)
            case "" if (path / "weights.safetensors").exists():
                jdiff.load_model(path)
        return path.is_file() and path.stat().st_size == 0
    except (ValueError, OSError):
        return True
