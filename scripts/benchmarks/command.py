"""What the command lines of the benchmarks share."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import jdiff


def make_parser(doc: str) -> argparse.ArgumentParser:
    """Returns a parser without options; --help prints the program's docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def check_positive(args: argparse.Namespace, *names: str) -> None:
    """Raises a ValueError unless each of these options, or all its values, is >= 1."""
    for name in names:
        values = getattr(args, name)
        if min(values if isinstance(values, list) else [values]) < 1:
            raise ValueError(f"--{name.replace('_', '-')} must be >= 1, got {values}.")


def save_json(path: Path, figures: dict) -> None:
    """Writes figures, all of them or none."""
    with jdiff.storage.atomic_write(path) as draft:
        draft.write_text(json.dumps(figures, indent=1, default=str))


def run(main: Callable[[], None]) -> None:
    """Runs a program; a wrong command ends it with one sentence and exit code 2."""
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)
