"""Runs that are killed at any moment, saves included, lose their last steps alone.

Run as a program this file is such a run: its arguments are those of the script.
`JDIFF_NUM_KILLS=50 pytest tests/storage/test_crashes.py` kills more often.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1]))  # as a program
from commands import (  # noqa: E402
    TINY,
    log_of,
    losses_of,
    steps_of,
    train_linear,
    write_data,
)

NUM_KILLS = int(os.environ.get("JDIFF_NUM_KILLS", 2))
EVERY = 10  # steps between two lines of the log, each with a checkpoint


def logged(out, start=0):
    """Steps of whole lines of the log, those after one."""
    return [line["step"] for line in log_of(out) if line["step"] > start]


def killed(argv, out, seconds):
    """Starts a run, waits for its first new line and kills it some seconds later."""
    start, log = (steps_of(out) or [0])[-1], out / "log.jsonl"
    before = log.stat().st_ino if log.exists() else None
    process = subprocess.Popen(
        [sys.executable, __file__, *map(str, argv), "--out", str(out)],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 200
        # Lines past the checkpoint go before the first new one comes, in a new file.
        while not log.exists() or log.stat().st_ino == before or not logged(out, start):
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        time.sleep(seconds)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_from_a_whole_checkpoint(tmp_path):
    data, out = write_data(tmp_path), tmp_path / "run"
    options = ["--data", data, *TINY, "--steps", 10**6, "--save-minutes", 1e-9]
    choose = random.Random(0)
    for number in range(NUM_KILLS):
        argv = ["--resume"] if number else options
        killed(argv, out, choose.uniform(0.0, 2.0))
        steps = logged(out)
        assert steps == list(range(EVERY, steps[-1] + 1, EVERY))
        # At most one interval behind the checkpoint that was being written.
        newest = (steps_of(out) or [0])[-1]
        assert newest >= steps[-1] - 2 * EVERY
        names = os.listdir(out / "checkpoints")
        print(f"kill {number + 1}: {steps[-1]} steps, {names}")
    end = steps[-1] + 5 * EVERY
    assert train_linear("--resume", "--out", out, stop_at=end)[0] == 0
    options[-1] = 10  # minutes, as nothing is to be killed
    assert train_linear(*options, "--out", tmp_path / "whole", stop_at=end)[0] == 0
    assert losses_of(out) == losses_of(tmp_path / "whole")
    assert len(losses_of(out)) == end // EVERY
    # What half a save left behind is gone, and no checkpoint had to be put aside.
    assert all(path.name.isdigit() for path in (out / "checkpoints").iterdir())


if __name__ == "__main__":
    code, _, error = train_linear(*sys.argv[1:])
    print(error, file=sys.stderr)
    sys.exit(code)
