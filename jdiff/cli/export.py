"""`jdiff export`: a model as ONNX graphs and JSON, for other programs."""

import argparse
from pathlib import Path
from typing import Any

from jdiff.cli import options


def add_command(commands: Any) -> None:
    """Adds the command to `argparse`'s subparsers."""
    command = commands.add_parser(
        "export", help="a model for other programs, as ONNX", allow_abbrev=False
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("model", help="pen, latent or distilled; weights, or the folder of a run")
    add("--out", type=Path, required=True, help="F.onnx; F.json comes beside it")


def run(args: argparse.Namespace) -> None:
    """Writes the files."""
    for path in write(args.model, args.out):
        print(f"wrote {path}: {path.stat().st_size / 1e6:.2f} MB")


def write(name: str | Path, out: Path) -> list[Path]:
    """Writes the model that a name, a file or the folder of a run stands for.

    Raises:
        ValueError: ONNX is missing, or whatever `jdiff.export` complains of.
    """
    from jdiff import export, models, storage

    out = storage.check_output(out, ".onnx")
    options.start_jax()
    model = models.find_pen(name) or models.load_model(str(name))
    try:
        return export.export(out, model)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{error.name} must be installed to export: "
            "pip install 'jdiffusion[export]'."
        ) from error
