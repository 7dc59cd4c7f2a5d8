"""Ctrl-C and SIGTERM at random moments of `jdiff write`, `sample`, `evaluate`, `train`.

A command must end within seconds: with 128 plus the number of the signal, with its own
code if it was done, or, for a training loop, with 0, its state saved. It prints no
traceback and leaves no draft and no partial file.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

import jdiff

TRAIN = [
    "train",
    "unet",
    "--data",
    "a.npz",
    "--num-channels",
    "16",
    "--num-blocks",
    "1",
]
TRAIN += ["--batch-size", "8", "--minutes", "9", "--num-steps", "20", "--out", "run"]
COMMANDS = {
    "write": ["write", "Hello World 2026 " * 9, "--width", "900", "--out", "a.png"],
    "sample": ["sample", "--model", "latent", "--num", "99", "--out", "b.npz"],
    "evaluate": ["evaluate", "c.npz", "--reference", "c.npz", "--out", "d.json"],
    "train": TRAIN,
}
TRAINING = 8.0  # seconds after the first line of the log in which a signal may come
PATIENCE = 10.0  # seconds; a training loop first saves
SAVING = 60.0


def send_signals(num_signals: int, seed: int) -> dict:
    """Sends signals; prints and returns a table of what became of the commands."""
    table, fallen = {name: Counter() for name in COMMANDS}, []
    seconds = {name: measure(name) for name in COMMANDS}
    for number in range(num_signals):
        name = list(COMMANDS)[number % len(COMMANDS)]
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            moment = random.Random(f"{seed} {number}")
            verdict = send_one(name, moment, seconds[name], Path(folder))
        table[name]["sent"] += 1
        table[name][verdict] += 1
        if verdict not in ("ended", "done", "saved"):
            fallen.append((number, f"{name}: {verdict}"))
            print(f"signal {number}: {name}: {verdict}", file=sys.stderr)
    for name, counts in table.items():
        print(f"{name:10s}" + ", ".join(f"{v} {k}" for k, v in counts.items()))
    return {"counts": {name: dict(c) for name, c in table.items()}, "fallen": fallen}


def write_inputs(folder: Path) -> None:
    """Writes what the commands read."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    images = rng.integers(0, 256, (40, 8, 8), np.uint8)
    np.savez(folder / "a.npz", images=images, labels=labels, chars="ab")
    images = rng.integers(0, 256, (200, 28, 28), np.uint8)
    labels = np.arange(200) % 2
    np.savez(folder / "c.npz", images=images, labels=labels, chars="01")


def begin(name: str, folder: Path) -> subprocess.Popen:
    """Starts a command; returns once Python has reached it."""
    argv = [sys.executable, "-X", "importtime", "-m", "jdiff", *COMMANDS[name]]
    with (folder / "errors").open("w") as errors:
        process = subprocess.Popen(
            argv, cwd=folder, stdout=subprocess.DEVNULL, stderr=errors
        )
    # Python itself starts before anybody could catch a signal.
    while " jdiff.cli\n" not in (folder / "errors").read_text():
        if process.poll() is not None:
            raise ValueError(f"jdiff must start, got exit code {process.poll()}.")
        time.sleep(0.002)
    return process


def measure(name: str) -> float:
    """Returns how long a command takes here, or until it has trained for a while."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        log = Path(folder) / "run" / "log.jsonl"
        write_inputs(Path(folder))
        process, began = begin(name, Path(folder)), time.monotonic()
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.05)
        seconds = time.monotonic() - began
        process.kill()
        process.wait()
    return seconds + TRAINING if name == "train" else 1.1 * seconds


def send_one(name: str, moment: random.Random, seconds: float, folder: Path) -> str:
    """Returns what became of one command."""
    write_inputs(folder)
    before = {path.name for path in folder.iterdir()}
    process = begin(name, folder)
    number = moment.choice([signal.SIGINT, signal.SIGTERM])
    time.sleep(moment.uniform(0.02, seconds))
    is_done = process.poll() is not None
    process.send_signal(number)
    try:
        code = process.wait(SAVING if name == "train" else PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return "ignored"
    said = (folder / "errors").read_text()
    if "Traceback" in said or "Fatal" in said:
        return f"traceback ({said[said.rfind('Error') - 200 :][-300:]!r})"
    # While Python shuts down, its handlers are gone: for a shell it is the same.
    if code not in (128 + number, -number, 0):
        return f"exit code {code}"
    left = [path for path in folder.rglob("*") if path.name.startswith(".")]
    if left:
        return f"left {left[0].name}"
    new = {path.name for path in folder.iterdir()} - before - {"errors"}
    if damage := next(
        (path for path in sorted(new) if is_partial(folder / path)), None
    ):
        return f"partial {damage}"
    if code == 0:
        return "done" if is_done or name != "train" else "saved"
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
            case "" if (path / "weights.safetensors").exists():
                jdiff.load_model(path)
        return os.path.isfile(path) and path.stat().st_size == 0
    except (ValueError, OSError):
        return True
