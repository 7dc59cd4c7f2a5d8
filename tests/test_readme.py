"""What the README shows, runs."""

import re
from pathlib import Path

import jax.numpy as jnp
import pytest

README = (Path(__file__).parent.parent / "README.md").read_text()


@pytest.mark.slow
def test_the_api_on_one_screen_runs():
    code, *_ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(code.splitlines()) <= 50
    names = {}
    exec(code, names)
    assert names["glyphs"].shape == (10, 28, 28, 1)
    assert names["glyphs"].max() > 0.5 and jnp.isfinite(names["metrics"]["loss"])
    assert int(names["state"].step) == 1


def test_what_it_points_to_exists():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    assert links and all(
        (Path(__file__).parent.parent / link).exists() for link in links
    )
