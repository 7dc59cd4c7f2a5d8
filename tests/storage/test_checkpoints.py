"""Laws of training states on disk."""

import contextlib
import errno
import functools
import gc
import os
import resource
import shutil
import sys
import time
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from commands import TINY, train_linear, write_data
from storage.test_weights import DESCRIPTION, refused, unet_params

import jdiff
from jdiff import cli
from jdiff.storage import checkpoints

FACTS = {"seconds": 1.5, "description": {"chars": "ab"}}


class State(NamedTuple):
    params: dict
    ema_params: dict
    key: jax.Array
    step: jax.Array


def refused_state(directory, like):
    """The message of the error."""
    return refused(
        directory, functools.partial(jdiff.storage.restore_checkpoint, like=like)
    )


def state_of(step, shape=(2, 3), key=None):
    return State(
        {"net": {"w": jnp.full(shape, step / 3)}},
        {"net": {"w": jnp.full(shape, -step / 7), "b": jnp.array(1.0)}},
        jax.random.key(step) if key is None else key,
        jnp.array(step, jnp.int32),
    )


def test_newest_state_comes_back_exactly_with_its_facts(tmp_path):
    facts = {"chars": "abc", "seconds": 1.5, "shape": [8, 8, 1]}
    for step in (9, 10):
        jdiff.storage.save_checkpoint(
            tmp_path, step, state_of(step), {**facts, "at": step}
        )
    state, got = jdiff.storage.restore_checkpoint(tmp_path, state_of(0))
    assert got == {**facts, "at": 10}
    assert isinstance(state, State)
    assert state.step == 10
    np.testing.assert_array_equal(state.params["net"]["w"], np.float32(10 / 3))
    assert jax.random.bits(state.key) == jax.random.bits(jax.random.key(10))


def test_key_of_another_generator_comes_back(tmp_path):
    key = jax.random.key(3, impl="rbg")
    jdiff.storage.save_checkpoint(tmp_path, 1, state_of(1, key=key), {})
    state, _ = jdiff.storage.restore_checkpoint(
        tmp_path, state_of(0, key=jax.random.key(0, impl="rbg"))
    )
    assert jax.random.bits(state.key) == jax.random.bits(key)


def test_the_last_three_states_are_kept(tmp_path):
    for step in range(5):
        jdiff.storage.save_checkpoint(tmp_path, step, state_of(step), {})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["2", "3", "4"]


def test_half_a_state_is_never_restored(tmp_path):
    jdiff.storage.save_checkpoint(tmp_path, 1, state_of(1), {})
    shutil.copytree(tmp_path / "1", tmp_path / "2.orbax-checkpoint-tmp")
    state, _ = jdiff.storage.restore_checkpoint(tmp_path, state_of(0))
    assert state.step == 1


def test_state_of_another_architecture_is_refused(tmp_path):
    jdiff.storage.save_checkpoint(tmp_path, 1, state_of(1), {})
    assert "(4, 5)" in refused_state(tmp_path, state_of(0, shape=(4, 5)))
    like = State({"other": jnp.ones(2)}, {}, jax.random.key(0), jnp.array(0))
    assert "other" in refused_state(tmp_path, like)


def test_damaged_state_is_refused(tmp_path):
    jdiff.storage.save_checkpoint(tmp_path, 1, state_of(1), {})
    for file in (tmp_path / "1" / "state").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "got none: 1 (" in refused_state(tmp_path, state_of(0))


@pytest.mark.parametrize("damaged", ["d/*", "manifest.ocdbt"])
@pytest.mark.parametrize("patience", [10.0, 0.0])
def test_what_cannot_be_read_prints_nothing(
    tmp_path, monkeypatch, caplog, damaged, patience
):
    state, printed = state_of(1), []
    # Without patience, all reads end after nobody waits any longer.
    monkeypatch.setattr(checkpoints, "_PATIENCE", patience)
    monkeypatch.setattr(sys, "unraisablehook", printed.append)
    state = state._replace(params={f"w{k}": jnp.ones(9) for k in range(200)})
    jdiff.storage.save_checkpoint(tmp_path, 1, state, {})
    for file in (tmp_path / "1" / "state").rglob(damaged):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    refused_state(tmp_path, state)
    time.sleep(0.5)  # for what goes on after the refusal
    gc.collect()
    assert not printed and not caplog.records


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    for step in (1, 2):
        jdiff.storage.save_checkpoint(tmp_path, step, state_of(step), {})
    file = next((tmp_path / "2" / "state").rglob("manifest*"))
    file.unlink()
    os.mkfifo(file)
    with pytest.warns(UserWarning, match="is no regular file.*; took 1"):
        state, _ = jdiff.storage.restore_checkpoint(tmp_path, state_of(0))
    assert state.step == 1


def test_folder_without_a_state_is_refused(tmp_path):
    refused_state(tmp_path, state_of(0))
    refused_state(tmp_path / "none", state_of(0))
    assert not (tmp_path / "none").exists()


@pytest.fixture(scope="module")
def two_states(tmp_path_factory):
    """A folder of the states of steps 1 and 2."""
    folder = tmp_path_factory.mktemp("states")
    with jdiff.storage.open_checkpoints(folder) as save:
        for step in (1, 2):
            save(step, state_of(step), FACTS | {"step": step})
    return folder


def assert_is_state(got, step):
    expected = state_of(step)
    for part in ("params", "ema_params"):
        parts = getattr(got, part), getattr(expected, part)
        jax.tree.map(np.testing.assert_array_equal, *parts)
    assert jax.random.bits(got.key) == jax.random.bits(expected.key)


def cut(content):
    return content[: len(content) // 2]


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 8]) + content[middle + 1 :]


@pytest.mark.slow
@pytest.mark.parametrize("damage", [cut, flip])
def test_no_damaged_file_is_taken_for_what_was_saved(two_states, tmp_path, damage):
    newest, skipped = two_states / "2", []
    files = [path for path in newest.rglob("*") if path.is_file()]
    for number, path in enumerate(files):
        folder = shutil.copytree(two_states, tmp_path / str(number))
        name = path.relative_to(two_states)
        (folder / name).write_bytes(damage(path.read_bytes()))
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            state, facts = jdiff.storage.restore_checkpoint(folder, state_of(0))
            average, _ = jdiff.storage.load_ema_weights(folder)
        # The newest, if the damage did not touch it, or else the one before.
        assert facts == FACTS | {"step": int(state.step)}
        assert_is_state(state, facts["step"])
        jax.tree.map(np.testing.assert_array_equal, average, state.ema_params)
        says = [str(each.message) for each in caught]
        says = [text for text in says if text.startswith("skipped damaged")]
        assert (facts["step"] == 1) <= any(f"{folder}: 2 (" in text for text in says)
        skipped += [name.parts[1]] * (facts["step"] == 1)
        # Either way the run goes on from there.
        with jdiff.storage.open_checkpoints(folder, facts["step"]) as save:
            save(3, state_of(3), FACTS)
        assert jdiff.storage.restore_checkpoint(folder, state_of(0))[0].step == 3
    assert {"state", "facts", "manifest"} <= set(skipped)


def test_a_damaged_state_is_put_aside_and_saved_again(two_states, tmp_path):
    folder = shutil.copytree(two_states, tmp_path / "states")
    (folder / "2" / "facts" / "metadata").write_text("{}")
    with pytest.warns(UserWarning, match=r"2 \(its metadata are not what was saved\)"):
        _, facts = jdiff.storage.restore_checkpoint(folder, state_of(0))
    with jdiff.storage.open_checkpoints(folder, facts["step"]) as save:
        save(2, state_of(2), FACTS)
    names = {path.name for path in folder.iterdir()}
    assert names == {"1", "2", "2.skipped"}
    assert_is_state(jdiff.storage.restore_checkpoint(folder, state_of(0))[0], 2)


def test_the_best_state_is_kept_besides_the_last_three(tmp_path):
    with jdiff.storage.open_checkpoints(tmp_path) as save:
        for step, loss in enumerate([3.0, 1.0, 2.0, 5.0, 4.0, 6.0]):
            save(step, state_of(step), {"loss": loss})
    with jdiff.storage.open_checkpoints(tmp_path, 5) as save:
        save(6, state_of(6), {"loss": 7.0})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "4", "5", "6"]


def test_a_state_is_saved_as_it_was_though_its_memory_is_used_again(tmp_path):
    state = {"w": jnp.ones((300, 300)), "n": jnp.array(0)}
    step = jax.jit(lambda s: jax.tree.map(lambda x: 2 * x, s), donate_argnums=0)
    with jdiff.storage.open_checkpoints(tmp_path) as save:
        save(1, state, {})
        for _ in range(10):
            state = step(state)
    restored, _ = jdiff.storage.restore_checkpoint(tmp_path, state)
    np.testing.assert_array_equal(restored["w"], np.ones((300, 300)))


def test_states_of_older_versions_are_restored(tmp_path):
    import orbax.checkpoint as ocp

    state = state_of(7)
    raw = state._replace(key=jax.random.key_data(state.key))
    args = ocp.args.Composite(
        state=ocp.args.StandardSave(raw), facts=ocp.args.JsonSave({"seconds": 2.0})
    )
    with ocp.CheckpointManager(tmp_path) as manager:
        manager.save(7, args=args)
    restored, facts = jdiff.storage.restore_checkpoint(tmp_path, state_of(0))
    assert_is_state(restored, 7)
    assert facts == {"seconds": 2.0}
    assert "must describe its network" in refused(tmp_path, jdiff.load_model)


@contextlib.contextmanager
def no_large_files(num_bytes):
    """As if the disk were full: a file may not grow beyond that size."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_save_that_fails_leaves_what_was_there(tmp_path):
    noise = jax.random.normal(jax.random.key(0), (100, 100))  # does not compress
    jdiff.storage.save_checkpoint(tmp_path, 1, {"w": noise}, {})
    with pytest.raises(OSError, match="cannot save a checkpoint in"):
        with no_large_files(5000):
            jdiff.storage.save_checkpoint(tmp_path, 2, {"w": 2 * noise}, {})
    restored, _ = jdiff.storage.restore_checkpoint(tmp_path, {"w": noise})
    np.testing.assert_array_equal(restored["w"], noise)
    jdiff.storage.save_checkpoint(tmp_path, 3, {"w": noise}, {})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]


def test_a_run_on_a_full_disk_ends_in_one_sentence(tmp_path, monkeypatch):
    import orbax.checkpoint as ocp

    def save(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    # Not the limit above, which would also cut JAX's cache of compiled programs.
    monkeypatch.setattr(ocp.CheckpointManager, "save", save)
    options = ["--data", write_data(tmp_path), *TINY, "--save-minutes", 1e-9]
    code, _, error = train_linear(*options, "--out", tmp_path / "run")
    assert code == 2 and "error: cannot save a checkpoint in" in error


def test_a_folder_that_cannot_be_written_ends_a_run_before_its_first_step(tmp_path):
    out = tmp_path / "run"
    out.mkdir()
    (out / "checkpoints").touch()
    code, _, error = train_linear("--data", write_data(tmp_path), *TINY, "--out", out)
    assert code == 2 and "error: cannot save a checkpoint in" in error
    assert not (out / "log.jsonl").exists()


# States as weights.


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of a run, with the states of steps 1 and 2 of a small UNet."""
    run = tmp_path_factory.mktemp("run")
    for step in (1, 2):
        average = jax.tree.map(lambda leaf, k=step: k * leaf / 3, unet_params())
        state = {"ema_params": average, "opt_state": (jnp.ones(3), [jnp.zeros(())])}
        facts = {"description": DESCRIPTION}
        jdiff.storage.save_checkpoint(run / "checkpoints", step, state, facts)
    return run


@pytest.mark.parametrize("name", ["", "checkpoints", "checkpoints/2", "checkpoints/1"])
def test_a_folder_of_states_is_a_model(run, name):
    model = jdiff.load_model(run / name)
    step = 1 if name.endswith("1") else 2
    for got, half in zip(
        *map(jax.tree.leaves, (model.params, unet_params())), strict=True
    ):
        np.testing.assert_array_equal(got, step * half / 3)
    assert model.classes == "abc"


def test_commands_take_a_folder_of_states_for_weights(run, tmp_path):
    out = tmp_path / "samples.npz"
    argv = ["--chars", "a", "--num", "1", "--steps", "1", "--out", str(out)]
    cli.main(["sample", "--weights", str(run), *argv])
    assert np.load(out)["images"].shape == (1, 8, 8)


def test_a_folder_without_states_is_no_model(tmp_path):
    assert "no checkpoint in" in refused(tmp_path, jdiff.load_model)


def test_without_orbax_one_sentence_says_what_to_install(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(jdiff.storage.WeightsError, match="pip install"):
        jdiff.load_model(run)
