"""`jdiff train`: a subcommand for each recipe."""

import argparse
import importlib
from typing import Any

from jdiff.cli import options

RECIPES = {
    "unet": "the UNet of pixels, conditioned on classes",
    "autoencoder": "a VAE or a PCA, whose latents `latent` learns",
    "latent": "diffusion of an autoencoder's latents",
    "distill": "a student that samples in one to four steps",
    "pen": "diffusion of pen strokes, which draws lines, not pixels",
    "judge": "the classifier that `jdiff evaluate` reads with",
    "mixture": "models made of linear parts, in closed form",
    "points": "diffusion of points in the plane",
}


class _RecipeParser(argparse.ArgumentParser):
    """The parser of a recipe, which is imported when its name is on the command line.

    argparse calls a subcommand's parser then, and no other.
    """

    def parse_known_args(self, args=None, namespace=None):
        recipe = _import_recipe(self.prog.split()[-1])
        self.description = recipe.__doc__
        recipe.add_options(self)
        parsed, rest = super().parse_known_args(args, namespace)
        flags = {arg.partition("=")[0] for arg in args if arg.startswith("--")}
        parsed.typed = {flag[2:].replace("-", "_") for flag in flags}
        return parsed, rest


def _import_recipe(name: str) -> Any:
    return importlib.import_module(f"jdiff.recipes.{name}")


def add_command(commands: Any) -> None:
    """Adds the command, and a subcommand for each recipe, without importing any."""
    command = commands.add_parser(
        "train", help="train a model of one's own", allow_abbrev=False
    )
    command.set_defaults(run=run)
    recipes = command.add_subparsers(
        dest="recipe", required=True, metavar="RECIPE", parser_class=_RecipeParser
    )
    for name, text in RECIPES.items():
        recipes.add_parser(
            name,
            help=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )


def run(args: argparse.Namespace) -> None:
    """Runs the recipe."""
    try:
        with options.needing("train", "to train"):
            _import_recipe(args.recipe).run(args)
    except (RuntimeError, AssertionError):
        options.check_device()
        raise
