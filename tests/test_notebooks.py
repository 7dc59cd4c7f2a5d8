"""The notebooks: stored clean, written with the facade alone, and they run.

They run in a shortened form, in which they train for seconds and download nothing.
"""

import ast
import json
import os
import re
import shutil
from pathlib import Path

import pytest

import jdiff

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
NUM_FIGURES = {
    "01_linear_diffusion.ipynb": 13,
    "02_densities_x0.ipynb": 10,
    "03_emnist_unet.ipynb": 11,
    "04_sentences.ipynb": 19,
    "05_solvers.ipynb": 9,
}
NUM_ANIMATIONS = {"03_emnist_unet.ipynb": 1, "04_sentences.ipynb": 1}

every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code_cells(name):
    cells = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def nodes(name):
    """Yields all syntax of a notebook; its magics count as `pass`."""
    for cell in code_cells(name):
        source = re.sub(r"^(\s*)[%!].*", r"\1pass", "".join(cell["source"]), flags=re.M)
        yield from ast.walk(ast.parse(source))


def test_the_notebooks_are_there():
    assert set(NUM_FIGURES) <= set(NOTEBOOKS)


@every_notebook
def test_a_notebook_is_stored_without_outputs(name):
    for cell in code_cells(name):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert cell["metadata"] == {}


@every_notebook
def test_a_notebook_imports_only_the_facade(name):
    for node in nodes(name):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
            assert all(m == "jdiff" or m.split(".")[0] != "jdiff" for m in modules)
        if isinstance(node, ast.ImportFrom):
            assert node.module.split(".")[0] != "jdiff"


@every_notebook
def test_a_notebook_uses_only_public_names(name):
    used = {
        node.attr
        for node in nodes(name)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "jdiff"
    }
    assert used
    assert used <= set(jdiff.__all__)


@every_notebook
def test_a_notebook_runs_and_shows_its_figures(name, tmp_path, monkeypatch):
    reason = "running notebooks needs pip install '.[test]'"
    nbformat = pytest.importorskip("nbformat", reason=reason)
    nbclient = pytest.importorskip("nbclient", reason=reason)
    pytest.importorskip("ipykernel", reason=reason)
    folder = shutil.copytree(FOLDER, tmp_path / "notebooks")
    monkeypatch.setenv("JDIFF_NOTEBOOK_SHORT", "1")
    package = str(Path(jdiff.__file__).parents[1])
    monkeypatch.setenv("PYTHONPATH", package, prepend=os.pathsep)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))

    notebook = nbformat.read(folder / name, as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(folder)}}
    nbclient.NotebookClient(notebook, timeout=300, resources=resources).execute()

    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    shown = [kind for out in outputs for kind in out.get("data", {})]
    assert shown.count("image/png") >= NUM_FIGURES.get(name, 1)
    assert shown.count("image/gif") >= NUM_ANIMATIONS.get(name, 0)
