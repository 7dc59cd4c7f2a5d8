"""The sizes of the UNet that a run trains."""

import argparse
import functools
import re

import jax
import numpy as np
import pytest
from cases import shapes_of
from commands import train_linear

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
    _, description = jdiff.storage.load_weights(jdiff.models.SHIPPED["unet"])
    args = vars(parse())
    sizes = unet.PRESETS["small"]
    assert {name: args[name] for name in sizes} == sizes
    assert sizes == {"num_levels": 2} | {
        k: v for k, v in description.items() if k in sizes
    }


def test_images_that_the_levels_do_not_divide_are_refused(tmp_path):
    images = np.zeros((4, 12, 8), np.uint8)
    np.savez(tmp_path / "odd.npz", images=images, labels=np.arange(4), chars="abcd")
    options = ["--data", tmp_path / "odd.npz", "--preset", "base"]
    code, _, error = train_linear(*options, "--out", tmp_path / "run")
    assert code == 2 and not (tmp_path / "run").exists()
    assert error.endswith("divisible by 8, for 3 levels, got 12 x 8.")


def test_three_levels_come_back_from_a_file(tmp_path):
    args = parse("--num-channels", "16", "--num-blocks", "1", "--num-levels", "3")
    source = jdiff.data.Source(None, 0, (8, 8, 3), "abc")
    description, network = unet.describe(args, source), unet.make_network(args, 3)
    params = jdiff.models.init_params(jax.random.key(0), network, (8, 8, 3))
    params = jax.tree.map(lambda leaf: np.float32(np.float16(leaf)), params)
    path = tmp_path / "weights.safetensors"
    jdiff.storage.save_weights(path, params, description)
    model = jdiff.load_model(path)
    jax.tree.map(np.testing.assert_array_equal, model.params, params)
    assert model.apply is jdiff.networks.make_unet(3, 16, 1, 3).apply
    start = functools.partial(unet.load_start, path, params=params)
    jax.tree.map(np.testing.assert_array_equal, start(description), params)
    with pytest.raises(ValueError, match="must be weights of"):
        start(description | {"num_levels": 2})


def test_a_file_that_does_not_tell_its_levels_has_two(tmp_path):
    params, description = jdiff.storage.load_weights(jdiff.models.SHIPPED["unet"])
    older = {k: v for k, v in description.items() if k != "num_levels"}
    path = tmp_path / "weights.safetensors"
    jdiff.storage.save_weights(path, params, older)
    assert jdiff.load_model(path).apply is jdiff.load_model("unet").apply
    start = unet.load_start(path, older | {"num_levels": 2}, params)
    jax.tree.map(np.testing.assert_array_equal, start, params)
