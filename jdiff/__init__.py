"""jdiff: denoising diffusion as pure functions in JAX.

Here are the names of the core (`jdiff.core` lists them), the rooms (`jdiff.networks`,
`jdiff.data`, ...) and the verbs (`load_model`, `fit`, `generate`, `write`), imported on
first use, so nobody waits for, or installs, what they do not use. The core needs
jax, numpy and chex.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jdiff import closed_form as closed_form
    from jdiff import data as data
    from jdiff import evaluation as evaluation
    from jdiff import extensions as extensions
    from jdiff import hands as hands
    from jdiff import handwriting as handwriting
    from jdiff import images as images
    from jdiff import likelihood as likelihood
    from jdiff import models as models
    from jdiff import networks as networks
    from jdiff import plots as plots
    from jdiff import storage as storage
    from jdiff.core import *  # noqa: F403
    from jdiff.models import load_model as load_model
    from jdiff.models.fit import fit as fit
    from jdiff.models.generate import generate as generate
    from jdiff.writing import write as write

__version__ = "0.1.0"

_ROOMS = ["closed_form", "data", "evaluation", "extensions", "hands", "handwriting"]
_ROOMS += ["images", "likelihood", "models", "networks", "plots", "storage"]
_VERBS = {"fit": "models", "generate": "models", "load_model": "models"}
_VERBS |= {"write": "writing"}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"jdiff.{name}")
    if name in _VERBS:
        return getattr(importlib.import_module(f"jdiff.{_VERBS[name]}"), name)
    if not name.startswith("_"):
        globals().update(_core())
        if name in globals():
            return globals()[name]
    raise AttributeError(f"module 'jdiff' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_ROOMS, *_VERBS, *_core()})


def _core() -> dict[str, Any]:
    names = vars(importlib.import_module("jdiff.core"))
    return {name: names[name] for name in names if not name.startswith("_")}
