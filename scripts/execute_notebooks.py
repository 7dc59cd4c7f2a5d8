"""Runs notebooks and stores what they show, for readers who run nothing.

    python scripts/execute_notebooks.py [NAME ...]

It needs `jdiffusion[notebooks]`, and the data of `JDIFF_DATA_DIR` or a network; in all,
it takes half an hour on two cores. A stored notebook holds a digest of its code
cells and jdiff's version, by which a test sees that its outputs are of this code.
"""

import argparse
import base64
import hashlib
import io
import json
import re
import resource
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import jdiff

FOLDER = Path(__file__).parents[1] / "notebooks"
MAX_BYTES = 1_500_000
COLOURS = 64  # of a picture; more make it larger, and nobody sees them
# A folder of the machine, in front of a name.
FOLDERS = re.compile(r"(?<![\w.:/])(?:/[\w.+@~-]+)+/(?=[\w.+-])")


def digest(notebook: dict[str, Any]) -> str:
    """Returns the SHA-256 of all code cells of a notebook, in their order."""
    code = [cell["source"] for cell in notebook["cells"] if cell["cell_type"] == "code"]
    lines = ["".join(source) for source in code]
    return hashlib.sha256(json.dumps(lines).encode()).hexdigest()


def fewer_colours(png: str) -> str:
    """Returns a picture, PNG in base64, with a palette, if that makes it smaller."""
    from PIL import Image

    data, file = base64.b64decode(png), io.BytesIO()
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(min(data, file.getvalue(), key=len)).decode()


def without_folders(text: str) -> str:
    """Returns a text in which files have no folders: a.png, not /home/ada/a.png."""
    return FOLDERS.sub("", text)


def tidy(output: dict[str, Any]) -> None:
    """Takes this machine's folders out of an output of a cell, and makes it smaller."""
    if "text" in output:
        output["text"] = without_folders(output["text"])
    data = output.get("data", {})
    if "text/plain" in data:
        data["text/plain"] = without_folders(data["text/plain"])
    if "image/png" in data:
        data["image/png"] = fewer_colours(data["image/png"])
    if "metadata" in output:
        output["metadata"] = {}


def execute(path: Path) -> Any:
    """Returns a notebook with the outputs of a run in a copy of its folder.

    Warnings and progress bars, which go to stderr, are printed and not stored.
    """
    import nbclient
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as scratch:
        folder = shutil.copytree(path.parent, Path(scratch) / "notebooks")
        resources = {"metadata": {"path": str(folder)}}
        nbclient.NotebookClient(notebook, timeout=None, resources=resources).execute()
    for cell in notebook.cells:
        cell.metadata = nbformat.NotebookNode()
        if cell.cell_type == "code":
            said = [out for out in cell.outputs if out.get("name") == "stderr"]
            print(*(out["text"] for out in said), sep="", end="", file=sys.stderr)
            cell.outputs = [out for out in cell.outputs if out not in said]
            for output in cell.outputs:
                tidy(output)
    made_by = {"code": digest(notebook), "version": jdiff.__version__}
    notebook.metadata["jdiff"] = nbformat.from_dict(made_by)
    notebook.metadata["language_info"] = nbformat.from_dict({"name": "python"})
    return notebook


def store(path: Path, notebook: Any) -> int:
    """Writes a notebook as the others are written, and returns its size in bytes."""
    import nbformat

    nbformat.validate(notebook)
    text = nbformat.writes(notebook, indent=1) + "\n"
    size = len(text.encode())
    if size > MAX_BYTES:
        sys.exit(f"{path.name} must have at most {MAX_BYTES:,} bytes, got {size:,}.")
    path.write_text(text, encoding="utf-8")
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    names = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
    parser.add_argument("names", nargs="*", metavar="NAME", help="all by default")
    chosen = parser.parse_args().names or names
    if unknown := sorted({*chosen} - {*names}):
        parser.error(f"NAME must be in {names}, got {unknown}.")
    for name in chosen:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        path = FOLDER / f"{name}.ipynb"
        size = store(path, execute(path))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        print(f"{name}: {size / 1e6:.2f} MB, {seconds:.0f} s of one core", flush=True)


if __name__ == "__main__":
    main()
