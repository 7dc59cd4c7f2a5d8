"""What a step would cost on devices that are not here."""

import functools
import subprocess
import sys

import jax
import pytest
from cases import COMPILES_FAST

import jdiff

pytest.importorskip("optax", reason="needs jdiffusion[train]")
import plan  # noqa: E402, which needs optax


def test_bytes_sent_are_those_of_a_ring():
    program = """
    %a = (f32[4,8]{1,0}, f32[]) all-reduce(%x, %y), replica_groups={{0,1,2,3}}
    %b = bf16[16]{0} all-gather(%z), dimensions={0}
    ROOT %c = f32[2]{0} reduce-scatter(%w), dimensions={0}
    %d = f32[100]{0} add(%all-reduce, %all-gather.1)
    """
    sent = 2 * 3 / 4 * 4 * 33 + 3 / 4 * 2 * 16 + 3 / 4 * 4 * 8
    assert plan.bytes_sent(program, 4) == sent
    assert plan.bytes_sent(program, 1) == 0.0


@pytest.mark.parametrize("option", ["--devices", "--images"])
def test_a_plan_is_for_one_device_or_more(option):
    with pytest.raises(ValueError, match="must be >= 1, got"):
        plan.main([option, "0"])


@pytest.mark.slow
def test_a_plan_is_a_table_of_what_devices_hold_and_send(tmp_path):
    sizes = {"num_channels": 256, "num_blocks": 0, "num_levels": 1}
    options = [f"--{k.replace('_', '-')}={size}" for k, size in sizes.items()]
    done = subprocess.run(
        [sys.executable, plan.__file__, *options, "--devices=8", "--images=1"],
        env=COMPILES_FAST,
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert not list(tmp_path.iterdir())
    rows = [line.strip("| ").split(" | ") for line in done.stdout.splitlines()[2:]]
    assert [row[:2] for row in rows] == [["8", "copies"], ["8", "in pieces"]]
    copies, pieces = ([float(number) for number in row[2:]] for row in rows)
    network = jdiff.networks.make_unet(10, *sizes.values())
    params = jdiff.models.init_params(jax.random.key(0), network, (28, 28, 1))
    megabytes = 4 * sum(leaf.size for leaf in jax.tree.leaves(params)) / 1e6
    near = functools.partial(pytest.approx, rel=0.03, abs=0.1)
    # Weights, their average, two moments; gradients are added up in a ring.
    assert copies[1] == near(4 * megabytes) and copies[3] == near(7 / 4 * megabytes)
    # Weights are put together before.
    assert pieces[1] == near(copies[1] / 8) and pieces[3] == near(copies[3] * 3 / 2)
