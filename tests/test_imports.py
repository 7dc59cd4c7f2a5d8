"""The architecture: who may import whom."""

import ast
import importlib
import json
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import jdiff

PACKAGE = Path(jdiff.__file__).parent
ROOT = Path(__file__).parents[1]
# What each file of the core may import from jdiff.
CORE = {
    "checks": set(),
    "schedules": {"checks"},
    "diffusion": {"checks", "schedules"},
    "losses": {"checks", "schedules", "diffusion"},
    "sampling": {"checks", "schedules", "diffusion"},
    "solvers": {"checks", "schedules", "diffusion", "sampling"},
    "guidance": {"schedules", "sampling"},
    "training": set(),
}
# What each room, and each file beside the core, may import besides itself.
ROOMS = {
    "storage": set(),
    "networks": {"checks"},
    "images": {"storage"},
    "data": {"storage"},
    "handwriting": {"images", "storage"},
    "likelihood": {*CORE},
    "closed_form": {*CORE, "images", "storage"},
    "extensions": {*CORE, "likelihood"},
    "models": {*CORE, "networks", "storage", "closed_form", "extensions"}
    | {"handwriting", "images"},
    "evaluation": {"data", "networks", "storage", "images"},
    "runs": {*CORE, "data", "models", "storage", "images"},
    "export": {"models", "networks", "handwriting", "storage", "losses"},
    "hands": {*CORE, "data", "models", "networks", "storage", "handwriting"},
    "core": {*CORE},
    "plots": {"handwriting", "images"},
    "writing": {*CORE, "handwriting", "images", "models", "storage"},
}
ALLOWED = CORE | ROOMS
ALLOWED["recipes"] = {*ALLOWED}
ALLOWED["cli"] = {*ALLOWED, "recipes"}
ALLOWED["__main__"] = {"cli"}
HEAVY = [
    "jax",
    "numpy",
    "haiku",
    "optax",
    "orbax",
    "tensorflow",
    "tensorflow_datasets",
    "grain",
]
HEAVY += ["PIL", "matplotlib", "safetensors"]
MODULES = sorted(PACKAGE.rglob("*.py"))
SCRIPTS = sorted(ROOT.glob("scripts/**/*.py"))
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
    """Dotted names below jdiff that a module imports."""
    names = imports_of(ast.parse(path.read_text()))
    return {name.removeprefix("jdiff.") for name in names if name.startswith("jdiff.")}


def module_of(path):
    """Name of the file or room, right below jdiff, that a module lies in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_module_imports_only_what_lies_below_it(path):
    home = module_of(path)
    if home == "__init__":
        return
    for name in siblings_of(path):
        room, *rest = name.split(".")
        if room == home:
            continue
        assert room in ALLOWED[home], f"{home} must not import {name}"
        # Of another room only what its __init__ shows.
        is_room = (PACKAGE / room).is_dir()
        assert not is_room or len(rest) <= 1, f"{name} is a file of another room"


def test_rooms_do_not_import_each_other_in_a_circle():
    graph = {home: ALLOWED[home] - {home} for home in ALLOWED}
    while graph:
        free = {home for home, below in graph.items() if not below & graph.keys()}
        assert free, f"a circle among {sorted(graph)}"
        graph = {home: below for home, below in graph.items() if home not in free}


def test_the_architecture_is_what_lies_beside_the_core():
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__"}
    assert files == {*CORE, "core", "images", "plots", "writing"}
    assert {path.parent.name for path in PACKAGE.glob("*/__init__.py")} <= {*ALLOWED}


@pytest.mark.parametrize("name", sorted(CORE))
def test_the_core_needs_jax_numpy_and_chex_alone(name):
    tree = ast.parse((PACKAGE / f"{name}.py").read_text())
    roots = {imported.split(".")[0] for imported in imports_of(tree)}
    foreign = roots - set(sys.stdlib_module_names) - {"jdiff"}
    # The train step imports optax when it is made, not before.
    assert foreign <= {"jax", "numpy", "chex"} | (
        {"optax"} if name == "training" else set()
    )


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


PUBLIC = {name for name in dir(jdiff) if not name.startswith("_")}


def test_every_public_name_resolves():
    for name in PUBLIC:
        assert getattr(jdiff, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        jdiff.no_such_name  # noqa: B018


def test_what_type_checkers_see_is_what_users_see():
    files = [(PACKAGE / name).read_text() for name in ("__init__.py", "core.py")]
    imports = set().union(*(imports_of(ast.parse(file)) for file in files))
    names = {name.split(".")[-1] for name in imports if "jdiff" in name} - {"*"}
    # Files and rooms are attributes, too, once they are imported.
    assert names <= PUBLIC | {"TYPE_CHECKING", "Any"}
    assert PUBLIC - names <= {*ALLOWED, "importlib", "TYPE_CHECKING", "Any"}


def private_names(source):
    """The names of jdiff that a program uses and that are not public.

    A public name is one of the facade, of a room, or of a module that a room shows.
    """
    tree = ast.parse(source)
    used = [name.split(".") for name in imports_of(tree)]
    used += filter(None, map(dotted, ast.walk(tree)))
    return {
        ".".join(names)
        for names in used
        if names[0] == "jdiff" and len(names) > 1 and not public(names[1:])
    }


def dotted(node):
    """The names of a.b.c, or nothing."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *names[::-1]] if names and isinstance(node, ast.Name) else []


def public(names):
    """Whether each of the names is public, as far as they lead through modules."""
    found = jdiff
    if names == ["__version__"]:
        return True
    for name in names:
        if not isinstance(found, types.ModuleType):
            return True
        if name.startswith("_"):
            return False
        if found is not jdiff and not hasattr(found, name):
            return False
        is_room = found is jdiff and (PACKAGE / name).is_dir()
        if found is jdiff and name not in PUBLIC and not is_room:
            return False
        found = (
            importlib.import_module(f"jdiff.{name}")
            if is_room
            else getattr(found, name)
        )
    return True


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda p: p.name)
def test_scripts_know_the_facade_alone(path):
    assert not private_names(path.read_text())


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
def test_notebooks_know_the_facade_alone(path):
    cells = json.loads(path.read_text())["cells"]
    for cell in cells:
        if cell["cell_type"] == "code":
            # Shell commands are not Python.
            code = re.sub(r"(?m)^(\s*)[!%].*", r"\1pass", "".join(cell["source"]))
            assert not private_names(code)


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
