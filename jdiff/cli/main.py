"""The command `jdiff`: its subcommands, and what it says when one goes wrong.

Invalid commands fail with one sentence on stderr and exit code 2, and leave no file.
They fail before the first sample is drawn, except for errors that depend on glyph
widths. What a command does not use is not imported.
"""

import argparse
import sys
from collections.abc import Sequence

import jdiff
from jdiff.cli import evaluate, sample, signals, train, write


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the command line; exits with code 2 and one sentence if it is wrong.

    Args:
        argv: the arguments; by default those of this process, which then ends at once
            when a signal comes.
    """
    if argv is None:
        signals.exit_on_signals()
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        print(f"jdiff {args.command}: error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


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
    return parser
