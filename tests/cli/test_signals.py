"""Ctrl-C and SIGTERM at any moment: the right code, no traceback, no files."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

MORE_DELAYS = [0.1, 0.6, 1.5, 4.0]
SLOW = ["write", "word " * 400, "--width", "900", "--model", "unet", "--steps", "50"]


def slow(value):
    return pytest.param(value, marks=pytest.mark.slow)


def begin(folder, argv):
    """Starts the command, and returns once the interpreter has reached it."""
    with open(folder / "errors", "w") as errors:
        process = subprocess.Popen(
            [sys.executable, "-X", "importtime", "-m", "jdiff", *argv],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    # The last that is imported before the command line is read.
    while " jdiff.cli\n" not in (folder / "errors").read_text():
        assert process.poll() is None
        time.sleep(0.005)
    return process


def assert_ends(folder, process, number):
    process.send_signal(number)
    process.wait(timeout=5)
    assert process.returncode == 128 + number
    assert "Traceback" not in (folder / "errors").read_text()
    assert [path.name for path in folder.iterdir()] == ["errors"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("delay", [0.02, 0.3, 1.0, 2.5, *map(slow, MORE_DELAYS)])
def test_a_signal_ends_the_command_at_once(tmp_path, number, delay):
    """While it imports jax, reads weights, compiles and samples."""
    process = begin(tmp_path, [*SLOW, "--out", "a.png"])
    time.sleep(delay)
    assert_ends(tmp_path, process, number)


def test_a_signal_takes_drafts_with_it(tmp_path):
    program = (
        "import time; from jdiff import storage; from jdiff.cli import signals\n"
        "signals.exit_on_signals()\n"
        "with storage.atomic_write('a.png') as draft:\n"
        "    draft.write_text('half'); print(flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], cwd=tmp_path, stdout=subprocess.PIPE
    )
    process.stdout.readline()
    assert [path.suffix for path in tmp_path.iterdir()] == [".png"]
    process.terminate()
    assert process.wait(timeout=5) == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_a_handler_of_the_training_loop_takes_precedence(tmp_path):
    program = (
        "import os, signal, time; from jdiff.cli.signals import exit_on_signals;"
        "exit_on_signals(); caught = [];"
        "signal.signal(signal.SIGINT, lambda number, _: caught.append(number));"
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(0.2); print(caught)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0 and done.stdout == b"[2]\n"


def test_a_signal_to_a_forked_child_leaves_its_parent_alone():
    program = (
        "import os, signal, time; from jdiff.cli.signals import exit_on_signals\n"
        "exit_on_signals()\n"
        "child = os.fork()\n"
        "if not child:\n    time.sleep(60)\n"
        "time.sleep(0.2); os.kill(child, signal.SIGTERM)\n"
        "_, status = os.waitpid(child, 0); time.sleep(0.2)\n"
        "print(os.WTERMSIG(status))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True
    )
    assert done.returncode == 0 and done.stdout == b"15\n"


def test_a_signal_while_python_shuts_down_is_too_late():
    program = (
        "import os, signal\n"
        "from jdiff.cli.signals import exit_on_signals\n"
        "class Late:\n"
        "    def __del__(self, kill=os.kill, pid=os.getpid(), number=signal.SIGINT):\n"
        "        kill(pid, number)\n"
        "exit_on_signals(); late = Late()"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
