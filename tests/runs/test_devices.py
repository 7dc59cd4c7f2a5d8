"""Runs on one device and on many, and what becomes of them when they stop or break.

Run as a program this file trains on eight devices, and leaves what they learned in a
folder: `python tests/runs/test_devices.py FOLDER`.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.flatten_util import ravel_pytree
from safetensors.numpy import load_file

import jdiff
from jdiff import networks, runs
from jdiff.recipes import unet
from jdiff.runs import devices, log, loop

sys.path.append(str(Path(__file__).parents[1]))  # as a program
from commands import (  # noqa: E402
    TINY,
    contents,
    losses_of,
    steps_of,
    train_linear,
    write_data,
)

pytest.importorskip("orbax.checkpoint", reason="needs jdiffusion[train]")
LAYOUTS = {"one": (1, False), "copies": (8, False), "pieces": (8, True)}


# What runs on eight devices.


def fifty_steps(data, num_devices, shard_parameters):
    """Facts of 50 steps of a real UNet on some of this process's devices."""
    argv = ["--data", str(data), *TINY, "--out", "nowhere"]
    argv += ["--num-blocks", "0"]  # blocks take most of the time that it compiles
    argv += ["--shard-parameters"] * shard_parameters
    parser = argparse.ArgumentParser()
    unet.add_options(parser)
    args = unet.check(parser.parse_args(argv))
    dataset = jdiff.data.load(args.data)
    optimizer = runs.make_optimizer(args.learning_rate)
    mesh = devices.make_mesh(jax.devices()[:num_devices])
    description = unet.describe(args, jdiff.data.from_dataset(dataset))
    model = unet.init_model(args, description)
    state = unet.init_state(args, model.params, optimizer, mesh)
    traces, make_unet = [], networks.make_unet

    def make_traced(*sizes):
        network = make_unet(*sizes)

        def apply(*given):
            traces.append(given)
            return network.apply(*given)

        return network._replace(apply=apply)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "make_unet", make_traced)
        step = unet.make_step(args, model, optimizer, state)
    data = devices.shard(jdiff.balance(*dataset[:2]), mesh)
    start = ravel_pytree(jax.device_get(state.params))[0]
    losses = []
    for k in range(50):
        state, metrics = step(state, np.float32(k / 50), data)
        losses.append(float(metrics["loss"]))
    leaves = jax.tree.leaves((state.params, state.ema_params, state.opt_state))
    return {
        "losses": losses,
        "start": start,
        "weights": ravel_pytree(jax.device_get(state.params))[0],
        "average": ravel_pytree(jax.device_get(state.ema_params))[0],
        "traces": len(traces),
        "bytes": sum(leaf.nbytes for leaf in leaves),
        "bytes_on_first": sum(leaf.addressable_data(0).nbytes for leaf in leaves),
    }


def eight_devices(folder):
    """Leaves in the folder what the tests below look at."""
    assert jax.local_device_count() == 8
    data = folder / "tiny.npz"
    for name, layout in LAYOUTS.items():
        np.savez(folder / f"{name}.npz", **fifty_steps(data, *layout))
    odd = ["--data", data, *TINY, "--batch-size", 12, "--out", folder / "odd"]
    pieces = ["--data", data, *TINY, "--shard-parameters", "--steps", 20]
    pieces += ["--out", folder / "stopped"]
    dry = train_linear(*pieces[:-1], folder / "dry", "--dry-run")
    results = {
        "odd": train_linear(*odd),
        "dry": dry,
        "run": train_linear(*pieces, stop_at=10),
    }
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eight")
    write_data(folder)
    flags = "--xla_force_host_platform_device_count=8"
    # It is compilation that takes the time.
    flags += " --xla_backend_optimization_level=0"
    flags += " --xla_llvm_disable_expensive_passes=true"
    subprocess.run(
        [sys.executable, __file__, str(folder)],
        env=os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
        check=True,
    )
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["copies", "pieces"])
def test_eight_devices_train_as_one(eight, layout):
    one, many = np.load(eight / "one.npz"), np.load(eight / f"{layout}.npz")
    np.testing.assert_allclose(many["losses"], one["losses"], rtol=1e-5)
    for name in ("weights", "average"):
        np.testing.assert_allclose(many[name], one[name], rtol=0.0, atol=1e-4)
    assert np.abs(one["weights"] - one["start"]).max() > 1e-2
    assert many["traces"] == one["traces"] == 1


@pytest.mark.slow
def test_pieces_take_an_eighth_of_the_memory(eight):
    copies, pieces = (np.load(eight / f"{k}.npz") for k in ("copies", "pieces"))
    assert copies["bytes_on_first"] == copies["bytes"] == pieces["bytes"]
    # A few leaves have no axis that 8 divides.
    assert pieces["bytes_on_first"] == pytest.approx(pieces["bytes"] / 8, rel=0.02)


@pytest.mark.slow
def test_a_batch_that_devices_cannot_share_is_refused(eight):
    code, _, error = json.loads((eight / "results.json").read_text())["odd"]
    assert code == 2 and not (eight / "odd").exists()
    says = "batch_size must be divisible by the number of devices, 8, got 12."
    assert error.endswith(says)


@pytest.mark.slow
def test_a_run_of_eight_devices_goes_on_on_one(eight, tmp_path):
    code, _, _ = json.loads((eight / "results.json").read_text())["run"]
    assert code == 0 and len(losses_of(eight / "stopped")) == 1
    shutil.copytree(eight / "stopped", tmp_path / "run")
    assert train_linear("--resume", "--out", tmp_path / "run")[0] == 0
    options = ["--data", eight / "tiny.npz", *TINY, "--steps", 20]
    assert train_linear(*options, "--out", tmp_path / "whole")[0] == 0
    whole, run = losses_of(tmp_path / "whole"), losses_of(tmp_path / "run")
    np.testing.assert_allclose(run, whole, rtol=1e-5)


# What runs on any number of devices.


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, data):
    """(options, folder) of a run of 40 steps that SIGTERM has ended at the tenth."""
    out = tmp_path_factory.mktemp("stopped") / "run"
    options = ["--data", data, *TINY, "--steps", 40, "--accumulate", 4]
    assert train_linear(*options, "--out", out, stop_at=10)[0] == 0
    return options, out


def test_sigterm_leaves_a_checkpoint_and_weights(stopped):
    _, out = stopped
    assert steps_of(out) == [10]
    assert load_file(out / "weights.safetensors").keys()
    assert len(losses_of(out)) == 1


def test_a_run_goes_on_amid_an_accumulation_bit_for_bit(stopped, tmp_path):
    options, out = stopped
    shutil.copytree(out, tmp_path / "run")
    assert train_linear("--resume", "--out", tmp_path / "run")[0] == 0
    assert train_linear(*options, "--out", tmp_path / "whole")[0] == 0
    run, whole = (tmp_path / name for name in ("run", "whole"))
    assert losses_of(run) == losses_of(whole)
    got, expected = (load_file(out / "weights.safetensors") for out in (run, whole))
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])


def test_a_run_that_breaks_keeps_what_was_whole(stopped, tmp_path):
    out = tmp_path / "run"
    shutil.copytree(stopped[1], out)
    facts = json.loads((out / "arguments.json").read_text())
    facts |= {"learning_rate": 1e30, "save_minutes": 1e-9}
    (out / "arguments.json").write_text(json.dumps(facts))
    before = contents(out)
    code, _, error = train_linear("--resume", "--out", out)
    step = re.search(r"a gradient norm of (nan|inf) at step (\d+)\.$", error)
    assert code == 2 and 10 < int(step[2]) <= 30
    after = contents(out)
    for path in before:
        if path.parts[0] in ("checkpoints", "weights.safetensors", "samples.png"):
            assert after[path] == before[path]
    assert all(saved < int(step[2]) for saved in steps_of(out))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["loss", "gradient_norm"])
def test_the_first_step_that_is_not_finite_is_named(name, bad):
    recent = [{"loss": jnp.float32(k), "gradient_norm": jnp.ones(())} for k in range(9)]
    assert log.fetch(recent, 40)[-1] == {"loss": 8.0, "gradient_norm": 1.0}
    for k in (3, 5):
        recent[k] = recent[k] | {name: jnp.float32(bad)}
    with pytest.raises(ValueError, match=f"{bad}.* at step 35"):
        log.fetch(recent, 40)


def test_a_line_of_the_log_tells_the_mean_loss_at_levels_that_were_drawn():
    sums = jnp.array([[[3.0, 0.0, 4.0], [1, 0, 2]], [[5.0, 0.0, 2.0], [1, 0, 1]]])
    recent = [{"loss": jnp.float32(k), "noise_levels": sums[k]} for k in range(2)]
    got = log.fetch(recent, 2)[-1]
    assert got == {"loss": 1.0, "loss_at_noise/1": 4.0, "loss_at_noise/3": 2.0}


@pytest.mark.parametrize("place", ["params", "ema_params", "opt_state"])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path, place):
    params = {"linear": {"w": jnp.ones(3)}}
    state = jdiff.init_train_state(jax.random.key(0), params, optax.adam(0.1))
    bad = jax.tree.map(lambda leaf: leaf / 0, getattr(state, place))
    state = state._replace(**{place: bad})
    with pytest.raises(ValueError, match="finite, got NaN or infinity at step 0"):
        loop._save(tmp_path, loop.Result({}), None, None, state, loop.START)
    assert not list(tmp_path.iterdir())


def test_batches_accumulated_are_one_step_on_all_of_them():
    def loss_fn(params, key, batch):
        loss = jnp.mean(jnp.square(batch.x - params["w"][None]))
        return loss, {"loss": loss}

    images = jax.random.normal(jax.random.key(1), (2, 3, 4, 5))  # update, batch, ...
    params = {"w": jnp.linspace(-1.0, 1.0, 5)}
    adam = optax.adam(0.1)
    several = optax.MultiSteps(adam, 3).gradient_transformation()
    whole, parts = (
        jdiff.init_train_state(jax.random.key(0), params, optimizer)
        for optimizer in (adam, several)
    )
    whole_step = jdiff.make_train_step(loss_fn, adam, 0.9)
    part_step = jdiff.make_train_step(loss_fn, several, 0.9)
    for update in images:
        for k, image in enumerate(update):
            before = parts
            parts, _ = devices.step_of_several(
                part_step, parts, jdiff.Batch(image, None), 3
            )
            moved = (parts.params["w"] != before.params["w"]).all()
            assert moved == (parts.ema_params["w"] != before.ema_params["w"]).all()
            assert moved == (k == 2)
        whole, _ = whole_step(whole, jdiff.Batch(update.reshape(12, 5), None))
        for name in ("params", "ema_params"):
            got, expected = (getattr(state, name)["w"] for state in (parts, whole))
            np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert parts.step == 3 * whole.step == 6


def test_a_dry_run_tells_the_cost_and_writes_nothing(data, tmp_path):
    options = ["--data", data, *TINY, "--out", tmp_path / "run", "--dry-run"]
    code, text, _ = train_linear(*options)
    assert code == 0 and not list(tmp_path.iterdir())
    lines = dict(line.split(": ", 1) for line in text.splitlines())
    # Of the linear network: a matrix, a bias and three embeddings of 64 pixels.
    num_params = 64 * 64 + 64 + 3 * 64
    assert int(lines["parameters"].replace(",", "")) == num_params
    # A product forward and one for the gradient of the weights, each 2 FLOPs an entry.
    flops = float(lines["FLOPs per step"].split(",")[0])
    assert flops > 4 * 8 * 64 * 64
    # Weights, their average and Adam's two moments, besides the data.
    memory = int(lines["memory"].split(" bytes")[0].replace(",", ""))
    assert memory > 4 * 4 * num_params + 40 * 64
    minutes, steps, seconds = map(
        float, re.findall(r"[\d.e+-]*\d", lines["time per epoch"])
    )
    assert steps == 5 and 60 * minutes == pytest.approx(5 * seconds, rel=0.02)


@pytest.mark.slow
def test_a_dry_run_is_for_all_devices(eight):
    num_params = 64 * 64 + 64 + 3 * 64
    code, text, _ = json.loads((eight / "results.json").read_text())["dry"]
    assert code == 0 and not (eight / "dry").exists()
    assert f"parameters: {num_params:,}\n" in text and "each device of 8\n" in text


def test_a_dry_run_leaves_a_run_as_it_is(stopped):
    _, out = stopped
    before = contents(out)
    code, text, _ = train_linear("--resume", "--dry-run", "--out", out)
    assert code == 0 and "time per epoch" in text
    assert contents(out) == before


@pytest.mark.parametrize("cost", [{"flops": 6.0}, [{"flops": 6.0}]])
def test_costs_are_read_from_any_version_of_jax(cost):
    names = ("argument", "output", "temp", "alias")
    sizes = {f"{k}_size_in_bytes": n for k, n in zip(names, (9, 7, 5, 3), strict=True)}
    compiled = SimpleNamespace(
        cost_analysis=lambda: cost, memory_analysis=lambda: SimpleNamespace(**sizes)
    )
    assert devices.cost_of(compiled) == (6.0, 18)


@pytest.mark.parametrize("cost", [None, {}, {"flops": -1.0}])
def test_costs_that_a_backend_does_not_know_are_left_out(cost):
    compiled = SimpleNamespace(cost_analysis=lambda: cost, memory_analysis=lambda: None)
    assert devices.cost_of(compiled) == (None, None)


if __name__ == "__main__":
    eight_devices(Path(sys.argv[1]))
