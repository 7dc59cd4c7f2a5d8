"""The notebooks: stored clean, begun alike, and they run.

They run in a shortened form, in which they train for seconds and download nothing.
"""

import importlib.util
import json
import os
import re
import shutil
import sys
import types
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


def test_the_notebooks_are_there():
    assert set(NUM_FIGURES) <= set(NOTEBOOKS)


@every_notebook
def test_a_notebook_is_stored_without_outputs(name):
    for cell in code_cells(name):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        assert cell["metadata"] == {}


def install_cell(name):
    first, *_ = code_cells(name)
    assert first["id"] == "install"
    return "".join(first["source"])


@every_notebook
def test_a_notebook_begins_as_all_do(name):
    assert install_cell(name) == install_cell(NOTEBOOKS[0])


@every_notebook
def test_a_notebook_leads_to_nobody_else_s_account(name):
    text = (FOLDER / name).read_text(encoding="utf-8")
    assert "colab.research.google.com" not in text and "github.com" not in text


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Runs the first cell in an empty folder, as far as pip; returns what it installs.

    Whether jdiff is there already, the argument says.
    """
    monkeypatch.chdir(tmp_path)
    source = install_cell(NOTEBOOKS[0])
    assert source.count("%pip") == 1
    source = re.sub(r"%pip install -q \"{(\w+)}\"", r"installed.append(\1)", source)

    def run(is_there):
        installed = []
        find = (lambda name: object()) if is_there else (lambda name: None)
        with monkeypatch.context() as patch:
            patch.setattr(importlib.util, "find_spec", find)
            exec(source, {"installed": installed})
        return installed

    return run


def test_where_jdiff_is_installed_nothing_is(install):
    assert install(is_there=True) == []


def test_a_notebook_installs_from_the_clone_around_it(install, tmp_path, monkeypatch):
    shutil.copy(FOLDER.parent / "pyproject.toml", tmp_path)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert install(is_there=False) == ["..[train]"]


def test_a_notebook_installs_a_wheel_beside_it(install, tmp_path):
    wheel = "jdiffusion-0.1.0-py3-none-any.whl"
    (tmp_path / wheel).touch()
    assert install(is_there=False) == [f"{wheel}[train]"]


def test_without_either_it_says_what_to_do(install):
    with pytest.raises(ImportError, match="Put a wheel, jdiffusion-.*, beside"):
        install(is_there=False)


def test_the_other_jdiff_is_recognised(install, monkeypatch):
    monkeypatch.setitem(sys.modules, "jdiff", types.ModuleType("jdiff"))
    with pytest.raises(ImportError, match="is another project"):
        install(is_there=True)


@pytest.mark.slow
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
