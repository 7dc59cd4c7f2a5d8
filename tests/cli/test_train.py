"""`jdiff train`: what its help says, and what it needs for that."""

import subprocess
import sys

import pytest

import jdiff.recipes
from jdiff.cli import main
from jdiff.cli.train import RECIPES

OPTIONAL = ["optax", "orbax", "orbax.checkpoint", "tensorboardX", "grain"]
OPTIONAL += ["matplotlib", "tensorflow_datasets"]


def test_the_command_lists_its_recipes_and_imports_none():
    program = "import sys; from jdiff.cli import main\n"
    program += "try: main(['train', '--help'])\n"
    program += "finally: assert 'jax' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    for name in RECIPES:
        assert name in done.stdout.split()
        assert hasattr(jdiff.recipes, name)


def test_help_needs_no_package_that_training_needs():
    program = f"import sys; sys.modules |= dict.fromkeys({OPTIONAL})\n"
    program += "from jdiff import recipes"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_does(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", name, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and f"jdiff train {name}" in text and "--out" in text


def test_a_package_that_is_missing_is_named(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "optax", None)
    out = tmp_path / "p.safetensors"
    with pytest.raises(SystemExit) as stop:
        main(["train", "points", "--num-points", "10", "--out", str(out)])
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 2 and not out.exists()
    assert error.endswith(
        "optax must be installed to train: pip install 'jdiffusion[train]'."
    )


def test_options_are_not_abbreviated(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "points", "--epoch", "2"])
    assert stop.value.code == 2
