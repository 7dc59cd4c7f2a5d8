"""Tries thousands of bad inputs, or of signals, and says what became of them.

    python scripts/benchmarks/fuzz.py --minutes 60
    python scripts/benchmarks/fuzz.py --areas npz weights --tries 10000
    python scripts/benchmarks/fuzz.py --areas npz --only 1234
    python scripts/benchmarks/fuzz.py --signals 400

Seed, area and number decide an input, so that one can be tried again, with `--only`,
which shows its traceback. The inputs of an area are tried in one process after
another, so that a crash or a hang costs one input. Exit code 1 if anything fell.
"""

import argparse
import contextlib
import os
import queue
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fuzz_signals
from command import check_positive, make_parser, run, save_json

# The areas stand beside their tests.
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "fuzz"))

LIMIT = 300.0  # seconds after which an input hangs, on a machine with other work
CACHE = f"{tempfile.gettempdir()}/jdiff-fuzz"  # of compiled programs
EACH = 2000  # inputs of a process, which keeps all programs that it compiles
STARTING = 300.0  # seconds that a process may take before its first input
COLUMNS = [
    "tried",
    "accepted",
    "refused",
    "traceback",
    "wrong",
    "hang",
    "crash",
    "draft",
]
FALLEN = COLUMNS[3:]
MOST = ["peak MB", "slowest s"]  # the latter of all cores together
SHOWN = 5  # of what fell in an area


def parse() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = make_parser(__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=10.0, help="for all areas together")
    add("--tries", type=int, default=10**9, help="at most, for each area")
    add("--areas", nargs="+", help="by default all")
    add("--seed", type=int, default=0)
    add("--only", type=int, help="try this one again, here")
    add("--signals", type=int, help="in place of inputs, so many signals at most")
    add("--out", type=Path, help="F.json, the table")
    add("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


def work(area: str, seed: int, numbers: Iterator[int]) -> None:
    """Tries inputs in this process; reports each on stdout, before and after."""
    # What jdiff prints, also from C, is no report.
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from areas import AREAS, judge

    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        attempt = AREAS[area](Path(folder))
        for number in numbers:
            print("begin", number, file=report)
            began = time.process_time()
            verdict = judge(area, seed, number, attempt, Path(folder))
            seconds = time.process_time() - began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
            print("end", verdict, peak, f"{seconds:.1f}", file=report)
        os.chdir("/")


class Worker:
    """A process that tries inputs, and a thread that reads its reports."""

    def __init__(self, area: str, seed: int, first: int, last: int, log: Path):
        argv = [sys.executable, __file__, "--areas", area, "--seed", str(seed)]
        argv += ["--worker", str(first), str(last)]
        self.log = log.open("ab")
        self.process = subprocess.Popen(
            argv, stdout=subprocess.PIPE, stderr=self.log, text=True
        )
        self.reports: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self.reports.put(line)
        self.reports.put(None)

    def next_report(self, seconds: float) -> list[str]:
        """Returns the words of a report, or what became of the process instead.

        That is "done", "crash" or, after so many seconds, "hang".
        """
        try:
            line = self.reports.get(timeout=seconds)
        except queue.Empty:
            return ["hang"]
        if line is not None:
            return line.split()
        return ["done" if self.process.wait() == 0 else "crash"]

    def stop(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.wait()
        self.log.close()


def run_area(area: str, args: argparse.Namespace, seconds: float, log: Path) -> dict:
    """Returns the counts of an area, its peak memory, and what fell."""
    end, first = time.monotonic() + seconds, 0
    found = {"counts": Counter(), "peak_mb": 0, "slowest_s": 0.0, "fallen": []}
    while first < args.tries and time.monotonic() < end:
        last = min(args.tries, first + EACH)
        worker, current = Worker(area, args.seed, first, last, log), None
        while current is not None or time.monotonic() < end:
            wait = STARTING if current is None else LIMIT
            kind, *rest = worker.next_report(wait)
            if kind == "begin":
                current = int(rest[0])
            elif kind == "end":
                first, current = current + 1, None
                verdict, peak_mb, slowest_s = rest
                count(found, first - 1, verdict, int(peak_mb), float(slowest_s))
            elif kind == "done":
                break
            elif current is None and not found["counts"]:
                raise ValueError(f"the area {area} does not start, see {log}.")
            else:
                count(found, first, kind)
                first += 1
                break
        worker.stop()
    return found


def count(found: dict, number: int, verdict: str, peak_mb=0, slowest_s=0.0) -> None:
    """Adds an input to the counts of its area."""
    found["counts"].update(["tried", verdict])
    found["peak_mb"] = max(found["peak_mb"], peak_mb)
    found["slowest_s"] = max(found["slowest_s"], slowest_s)
    if verdict in FALLEN:
        found["fallen"].append((number, verdict))


def show(results: dict[str, dict]) -> None:
    """Prints the table, and the numbers of what fell."""
    print(f"{'':12s}" + "".join(f"{name:>11s}" for name in [*COLUMNS, *MOST]))
    for area, result in results.items():
        counts = [result["counts"].get(name, 0) for name in COLUMNS]
        cells = "".join(f"{n:11,d}" for n in [*counts, result["peak_mb"]])
        print(f"{area:12s}{cells}{result['slowest_s']:11.1f}")
    for area, result in results.items():
        for number, verdict in result["fallen"][:SHOWN]:
            print(f"{area} {verdict}: --areas {area} --only {number}")


def main() -> None:
    """Runs the areas, or the signals, and prints the table."""
    args = parse()
    if args.worker:
        return work(args.areas[0], args.seed, iter(range(*args.worker)))
    check_positive(args, "tries")
    # Each process would compile the same programs.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    if args.signals:
        seconds = 60.0 * args.minutes
        found = fuzz_signals.send_signals(args.signals, args.seed, seconds)
        results = {"signals": found}
    else:
        results = run_areas(args)
    if results is None:
        return None
    if args.out:
        save_json(args.out, results)
    if any(result["fallen"] for result in results.values()):
        sys.exit(1)


def run_areas(args: argparse.Namespace) -> dict[str, dict] | None:
    """Returns the results by area; None after a single input."""
    from areas import AREAS, judge

    areas = args.areas or list(AREAS)
    unknown = set(areas) - set(AREAS)
    if unknown:
        known = ", ".join(AREAS)
        raise ValueError(f"--areas must be of {known}, got {', '.join(unknown)}.")
    if args.only is not None:
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            attempt = AREAS[areas[0]](Path(folder))
            print(judge(areas[0], args.seed, args.only, attempt, Path(folder)))
            os.chdir("/")
        return None
    log = Path(tempfile.gettempdir()) / f"fuzz-{os.getpid()}.log"
    results = {}
    for area in areas:
        with contextlib.suppress(KeyboardInterrupt):
            seconds = 60.0 * args.minutes / len(areas)
            results[area] = run_area(area, args, seconds, log)
    show(results)
    print(f"tracebacks are in {log}")
    return results


if __name__ == "__main__":
    run(main)
