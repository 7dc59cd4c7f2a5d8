"""The sizes of the UNet that a run trains."""

import argparse
import re

import jax
import numpy as np
import pytest
from cases import shapes_of

import jdiff
from jdiff.recipes import unet


def parse(*argv):
    parser = argparse.ArgumentParser()
    unet.add_options(parser)
    return unet.check(parser.parse_args([*argv, "--out", "nowhere"]))


@pytest.mark.parametrize("name", unet.PRESETS)
def test_a_preset_is_a_pyramid_whose_levels_widen(name):
    args = parse("--preset", name)
    params = shapes_of(unet.make_network(args, 3), 32)
    block = re.compile(r"u_net/residual_block_?(\d*)/conv2_d")
    found = {block.fullmatch(module): group for module, group in params.items()}
    # In the order in which the network was built.
    widths = {int(m[1] or 0): g["w"].shape[-1] for m, g in found.items() if m}
    side = [
        level * args.num_channels
        for level in range(1, args.num_levels)
        for _ in range(args.num_blocks)
    ]
    lowest = [args.num_levels * args.num_channels] * 4 * args.num_blocks
    assert widths == dict(enumerate(side + lowest + side[::-1]))
    # The lowest level, and both sides of those between it and the first.
    attention = [
        module for module in params if re.search("attention(_.)?/linear$", module)
    ]
    assert len(attention) == 1 + 2 * (args.num_levels - 2)


def test_sizes_that_are_given_replace_those_of_the_preset():
    sizes = {"num_channels": 256, "num_blocks": 0, "num_levels": 1}
    for name, size in sizes.items():
        args = vars(parse("--preset", "base", f"--{name.replace('_', '-')}", str(size)))
        expected = unet.PRESETS["base"] | {name: size}
        assert {name: args[name] for name in expected} == expected
    with pytest.raises(ValueError, match="num_levels must be in"):
        parse("--num-levels", "9")


def test_the_default_is_what_ships():
    params, description = jdiff.storage.load_weights(jdiff.models.SHIPPED["unet"])
    older = {k: v for k, v in description.items() if k != "num_levels"}
    path = tmp_path / "weights.safetensors"
    jdiff.storage.save_weights(path, params, older)
    assert jdiff.load_model(path).apply is jdiff.load_model("unet").apply
    start = unet.load_start(path, older | {"num_levels": 2}, params)
    jax.tree.map(np.testing.assert_array_equal, start, params)
