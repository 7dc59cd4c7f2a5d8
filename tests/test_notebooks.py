"""The notebooks: stored with outputs of their own code, begun alike, and they run.

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

import jax
import pytest

import jdiff

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
NUM_FIGURES = {
    "01_linear_diffusion.ipynb": 16,
    "02_densities_x0.ipynb": 14,
    "02b_noise_score_guidance.ipynb": 10,
    "02c_open_ideas.ipynb": 7,
    "03_emnist_unet.ipynb": 13,
    "04_sentences.ipynb": 22,
    "05_solvers.ipynb": 10,
    "06_your_hand.ipynb": 6,
}
NUM_ANIMATIONS = {
    "02_densities_x0.ipynb": 1,
    "02b_noise_score_guidance.ipynb": 2,
    "03_emnist_unet.ipynb": 1,
    "04_sentences.ipynb": 1,
}

_spec = importlib.util.spec_from_file_location(
    "execute_notebooks", ROOT / "scripts/execute_notebooks.py"
)
execute_notebooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(execute_notebooks)

every_notebook = pytest.mark.parametrize("name", NOTEBOOKS)


def code_cells(name):
    cells = json.loads((FOLDER / name).read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_the_notebooks_are_there():
    assert set(NUM_FIGURES) <= set(NOTEBOOKS)


def outputs_of(name):
    return [output for cell in code_cells(name) for output in cell["outputs"]]


@every_notebook
def test_a_notebook_is_stored_as_it_ran_from_top_to_bottom(name):
    cells = code_cells(name)
    counts = [cell["execution_count"] for cell in cells]
    assert counts == list(range(1, len(cells) + 1))
    assert all(cell["metadata"] == {} for cell in cells)


@every_notebook
def test_stored_outputs_are_of_the_code_above_them(name):
    notebook = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    made_by = notebook["metadata"]["jdiff"]
    again = f"run scripts/execute_notebooks.py {Path(name).stem}"
    assert made_by["code"] == execute_notebooks.digest(notebook), again
    assert made_by["version"] == jdiff.__version__, again


@every_notebook
def test_stored_outputs_show_the_figures_and_no_error(name):
    outputs = outputs_of(name)
    shown = [kind for output in outputs for kind in output.get("data", {})]
    assert shown.count("image/png") >= NUM_FIGURES.get(name, 1)
    assert shown.count("image/gif") >= NUM_ANIMATIONS.get(name, 0)
    kinds = {output.get("name", output["output_type"]) for output in outputs}
    assert kinds <= {"stdout", "display_data", "execute_result"}


@every_notebook
def test_a_notebook_is_no_larger_than_a_page_of_the_web(name):
    assert (FOLDER / name).stat().st_size <= execute_notebooks.MAX_BYTES <= 1_500_000


@every_notebook
def test_stored_outputs_name_no_folder_of_a_machine(name):
    texts = ["".join(output.get("text", "")) for output in outputs_of(name)]
    texts += [
        "".join(output.get("data", {}).get("text/plain", ""))
        for output in outputs_of(name)
    ]
    for text in texts:
        assert not re.search(r"(?<![\w.])/\w+/", text), text


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("wrote /home/ada/x-1/a.png.", "wrote a.png."),
        ("'/tmp/tmp_1/notebooks/b.gif', 1/2 of it", "'b.gif', 1/2 of it"),
        ("see https://example.org/a/b and docs/c.md", None),
    ],
)
def test_folders_are_taken_out_of_what_a_notebook_says(said, stored):
    assert execute_notebooks.without_folders(said) == (stored or said)


def test_a_changed_cell_changes_the_digest_and_prose_does_not():
    notebook = {"cells": [{"cell_type": "code", "source": ["a = 1\n", "b = 2"]}]}
    prose = {"cell_type": "markdown", "source": "A sentence."}
    digest = execute_notebooks.digest(notebook)
    assert execute_notebooks.digest({"cells": [prose, *notebook["cells"]]}) == digest
    notebook["cells"][0]["source"] = "a = 1\nb = 2"  # as nbformat reads it
    assert execute_notebooks.digest(notebook) == digest
    notebook["cells"][0]["source"] = "a = 1\nb = 3"
    assert execute_notebooks.digest(notebook) != digest


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
    assert len(re.findall(r"(?m)^ *%pip", source)) == 1
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
    assert install(is_there=False) == ["..[notebooks]"]


def test_a_notebook_installs_a_wheel_beside_it(install, tmp_path):
    wheel = "jdiffusion-0.1.0-py3-none-any.whl"
    (tmp_path / wheel).touch()
    assert install(is_there=False) == [f"{wheel}[notebooks]"]


def test_without_either_it_says_what_to_do(install):
    with pytest.raises(ImportError, match="Put a wheel, jdiffusion-.*, beside"):
        install(is_there=False)


@pytest.mark.parametrize(
    ("gpu", "backend"), [(True, "cpu"), (True, "gpu"), (False, "cpu")]
)
def test_a_gpu_that_an_upgrade_has_lost_is_noticed(
    gpu, backend, install, monkeypatch, capsys
):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/smi" if gpu else None)
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert install(is_there=True) == []
    said = capsys.readouterr().out
    assert str(jax.devices()) in said
    assert ("a GPU that JAX does not use" in said) == (gpu and backend == "cpu")


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
