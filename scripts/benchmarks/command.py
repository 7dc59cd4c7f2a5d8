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


def check_json(path: Path | None) -> None:
    """Raises a ValueError unless figures can be written there, if they are to be."""
    if path:
        jdiff.storage.check_output(path, ".json")


def save_json(path: Path | None, figures: dict) -> None:
    """Writes figures, all of them or none, if a path is given."""
    if not path:
        return
    with jdiff.storage.atomic_write(path) as draft:
        draft.write_text(json.dumps(figures, indent=1, default=str))


def header(*columns: str) -> str:
    """Returns the first two lines of a table in Markdown."""
    return f"| {' | '.join(columns)} |\n" + "| --- " * len(columns) + "|"


def run(main: Callable[[], None]) -> None:
    """Runs a program; a wrong command ends it with one sentence and exit code 2."""
    try:
        main()
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)
