"""The command `jdiff`: its subcommands, and what it says when one goes wrong.

Invalid commands fail with one sentence on stderr and exit code 2, and leave no file.
They fail before the first sample is drawn, except for errors that depend on glyph
widths. What a command does not use is not imported.
"""

import argparse
import itertools
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import jdiff
from jdiff.cli import evaluate, export, hand, sample, serve, signals, train, write


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line; exits with code 2 and one sentence if it is wrong.

    Args:
        argv: the arguments; by default those of this process, which then ends at once
            when a signal comes.
    """
    is_process = argv is None
    if is_process:
        signals.exit_on_signals()
        _prepare_streams()
    if sys.flags.optimize:
        # Haiku leaves modules inside an `assert`, which is left out then.
        _refuse("jdiff", "Python must run without -O and PYTHONOPTIMIZE.")
    argv = sys.argv[1:] if argv is None else argv
    _check_values(argv)
    args = _parser().parse_args(argv)
    try:
        args.run(args)
        sys.stdout.flush()
        if is_process:
            signals.leave_at_once()
    except BrokenPipeError:  # nobody reads what is printed, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (ValueError, OSError, ImportError) as error:
        _refuse(f"jdiff {args.command}", error)
    except (MemoryError, RuntimeError) as error:
        # The latter is how JAX says it, and much else.
        if type(error) is not MemoryError and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        _refuse(f"jdiff {args.command}", f"there must be enough memory, got: {error}")
    except KeyboardInterrupt:
        sys.exit(130)


def _check_values(argv: Sequence[str]) -> None:
    """Refuses `--option=--`, which argparse takes for no value on some Pythons."""
    for argument in itertools.takewhile(lambda argument: argument != "--", argv):
        option, _, value = argument.partition("=")
        if option.startswith("--") and value == "--":
            _refuse("jdiff", f"{option} must have a value, got --.")


def _refuse(command: str, reason: Exception | str) -> NoReturn:
    print(f"{command}: error: {reason}", file=sys.stderr)
    sys.exit(2)


def _prepare_streams() -> None:
    """Makes printing safe where a stream is closed or knows few characters."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))
        getattr(sys, name).reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jdiff", description="Diffusion that writes.", allow_abbrev=False
    )
    version = f"jdiff {jdiff.__version__}"
    parser.add_argument("--version", action="version", version=version)
    commands = parser.add_subparsers(dest="command", required=True)
    write.add_command(commands)
    sample.add_command(commands)
    evaluate.add_command(commands)
    train.add_command(commands)
    hand.add_command(commands)
    export.add_command(commands)
    serve.add_command(commands)
    return parser
