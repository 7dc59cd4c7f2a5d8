"""The architecture: who may import whom."""

import ast
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import jdiff

PACKAGE = Path(jdiff.__file__).parent
ROOT = Path(__file__).parents[1]
CORE = {"schedules", "grids", "diffusion", "losses", "sampling"}
CORE |= {"solvers", "renoising", "guidance", "preconditioning"}
CORE |= {"bound", "likelihood", "elbo"}
BENCHMARK = {"evaluation", "judge", "report"}
LEAVES = {"networks", "data", "files", "text"}

# What each module may import from jdiff; every module has to be listed.
ALLOWED = {
    "schedules": set(),
    "diffusion": {"schedules"},
    "losses": {"schedules", "grids", "diffusion"},
    "grids": {"schedules"},
    "sampling": {"schedules", "grids", "diffusion"},
    "solvers": {"schedules", "grids", "diffusion", "sampling"},
    "renoising": {"schedules", "diffusion", "sampling"},
    "guidance": {"sampling"},
    "preconditioning": set(),
    "moments": set(),
    "linear": {"moments", "checkpoints"},
    "lineardiffusion": {"linear"},
    "gaussian": {"schedules", "sampling"},
    "mixtures": {"moments", "linear", "gaussian", "checkpoints"}
    | {"schedules", "sampling"},
    "bound": {"schedules", "grids", "diffusion", "sampling"},
    "likelihood": {"bound", "schedules", "diffusion", "sampling"},
    "elbo": {"diffusion"},
    "latents": {"diffusion", "networks", "moments", "checkpoints"},
    "learned_variance": {"schedules", "diffusion", "losses", "sampling", "bound"},
    "learned_schedule": {"schedules", "diffusion"},
    "importance": {"schedules", "diffusion", "losses"},
    "editing": {"schedules", "grids", "diffusion", "sampling", "renoising"}
    | {"bound", "likelihood"},
    "analytic": {"gaussian", "mixtures", "schedules", "sampling"},
    "training": set(),
    "networks": {"networks"},
    "data": {"data", "files", "text"},
    "text": set(),
    "files": set(),
    "compiled": {"files"},
    "images": {"files"},
    "ink": set(),
    "style": {"ink"},
    "kerning": {"ink"},
    "lines": set(),
    "typesetting": {"ink", "kerning", "lines", "text"},
    "pages": {"ink", "typesetting"},
    "animations": {"files", "images"},
    "vector": {"files", "images"},
    "writing": {"lines", "typesetting", "pages", "images", "animations", "vector"}
    | {"files", "style"},
    "checkpoints": {"files"},
    "manifests": {"checkpoints"},
    "states": {"manifests", "checkpoints"},
    "restoring": {"states", "manifests", "checkpoints"},
    "models": CORE
    | {"networks", "checkpoints", "restoring", "mixtures", "latents", "style"},
    "generation": CORE | {"models", "style"},
    "judge": {"networks", "checkpoints", "data"},
    "metrics": {"judge", "data", "metrics"},
    "evaluation": {"judge", "data", "metrics"},
    "report": {"evaluation", "images", "metrics"},
    "cli": CORE
    | LEAVES
    | BENCHMARK
    | {"compiled", "images", "writing", "models", "generation"},
    "__main__": {"cli"},
}
HEAVY = ["haiku", "optax", "orbax", "tensorflow", "tensorflow_datasets", "grain"]
HEAVY += ["PIL", "matplotlib", "safetensors"]
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(ROOT.glob("scripts/*.py"))
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


def imports_of(tree):
    """Dotted names of all that a program imports: "jdiff.data.glyphs", ..."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def siblings_of(path):
    """Modules and folders of jdiff that a module imports."""
    names = imports_of(ast.parse(path.read_text()))
    return {name.split(".")[1] for name in names if name.startswith("jdiff.")}


def module_of(path):
    """Name of the file or folder, right below jdiff, that a module lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(path):
    if module_of(path) != "__init__":
        assert siblings_of(path) <= ALLOWED[module_of(path)]


@pytest.mark.parametrize("name", sorted(CORE))
def test_the_core_needs_jax_numpy_and_chex_alone(name):
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    roots = {imported.split(".")[0] for imported in imports_of(tree)}
    foreign = roots - set(sys.stdlib_module_names) - {"jdiff"}
    assert foreign <= {"jax", "numpy", "chex"}


def test_importing_jdiff_imports_nothing_heavy():
    code = f"import jdiff, sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_every_public_name_resolves():
    for name in jdiff.__all__:
        assert getattr(jdiff, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        jdiff.no_such_name  # noqa: B018


def test_public_names_are_sorted():
    # Constants, then classes, then functions, as ruff sorts them.
    def rank(name):
        return (not name.isupper(), not name[0].isupper(), name)

    assert jdiff.__all__ == sorted(set(jdiff.__all__), key=rank)


def test_public_names_are_those_that_the_facade_imports():
    # So that type checkers, which read the imports, see what users see.
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    names = {name for name in imports_of(tree) if name.startswith("jdiff.")}
    assert {name.split(".")[-1] for name in names} == set(jdiff.__all__)


def facade_only(source):
    """Asserts that a program knows of jdiff the facade and its data alone."""
    for name in imports_of(ast.parse(source)):
        root, _, rest = name.partition(".")
        if root == "jdiff" and rest:
            assert rest in jdiff.__all__ or rest.startswith("data."), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_know_the_facade_alone(path):
    facade_only(path.read_text())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebooks_know_the_facade_alone(path):
    cells = json.loads(path.read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            # Shell commands are not Python.
            facade_only(re.sub(r"(?m)^(\s*)[!%].*", r"\1pass", "".join(cell["source"])))


@pytest.mark.parametrize(
    ("program", "names"),
    [
        ("import jdiff.data as d", {"jdiff.data"}),
        ("from jdiff import sample, ddim", {"jdiff.sample", "jdiff.ddim"}),
        ("def f():\n    from jdiff.text import encode", {"jdiff.text.encode"}),
    ],
)
def test_imports_are_found_wherever_they_stand(program, names):
    assert imports_of(ast.parse(program)) == names
