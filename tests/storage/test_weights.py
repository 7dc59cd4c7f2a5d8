"""Laws of weights on disk."""

import functools
import json
import pickle
import struct
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_np
from safetensors.numpy import save

import jdiff

PARAMS = {
    "linear": {"w": np.array([[1.0, -0.5], [1e-3, 3.0]]), "b": np.zeros(2)},
    "unet/~/conv": {"w": np.full((3, 3, 1, 4), 0.1)},
}
DESCRIPTION = {
    "num_channels": 16,
    "num_blocks": 1,
    "image_shape": [8, 8, 1],
    "chars": "abc",
    "schedule": "cosine",
    "num_steps": 20,
    "prediction": "v",
}
floats16 = st_np.arrays(
    np.float32,
    st_np.array_shapes(min_dims=0, max_side=3),
    elements=st.floats(-65000, 65000, width=32),
)


@functools.cache
def unet_params(num_classes=3, num_channels=16, image_channels=1):
    network = jdiff.networks.make_unet(num_classes, num_channels, 1)
    shape = (8, 8, image_channels)
    init = functools.partial(jdiff.models.init_params, network=network, shape=shape)
    shapes = jax.eval_shape(init, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.full(leaf.shape, 0.5, np.float32), shapes)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.safetensors"


@pytest.fixture
def whole(path):
    jdiff.storage.save_weights(path, PARAMS, DESCRIPTION)
    return path.read_bytes()


def refused(path, load=jdiff.storage.load_weights):
    """The message of the error, which names the file."""
    with pytest.raises(jdiff.storage.WeightsError) as error:
        load(path)
    assert str(path) in str(error.value)
    return str(error.value)


def crafted(tensors, description, format="jdiff-1"):
    return save(tensors, {"format": format, "description": description})


# Weights.


@given(st.dictionaries(st.sampled_from("abc"), floats16, min_size=1))
def test_weights_come_back_within_the_rounding_of_float16(tmp_path_factory, leaves):
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    params = {"net/~/layer": leaves, "net": {"w": np.ones(2)}}
    jdiff.storage.save_weights(path, params, {"chars": "abc", "num_steps": 20})
    loaded, description = jdiff.storage.load_weights(path)
    assert description == {"chars": "abc", "num_steps": 20}
    assert loaded.keys() == params.keys()
    assert loaded["net/~/layer"].keys() == leaves.keys()
    for name, leaf in leaves.items():
        got = loaded["net/~/layer"][name]
        assert got.dtype == np.float32
        # Half a unit in the last place: 2^-11 of the value, or of the subnormals.
        np.testing.assert_allclose(got, leaf, rtol=2.0**-11, atol=2.0**-25)


def test_weights_that_float16_can_hold_come_back_exactly(path):
    for _ in range(2):
        jdiff.storage.save_weights(path, unet_params(), DESCRIPTION)
        params, _ = jdiff.storage.load_weights(path)
    jax.tree.map(np.testing.assert_array_equal, params, unet_params())


def test_a_flipped_bit_of_a_weight_is_noticed(path, whole):
    """It would be a finite number, of which another letter is drawn."""
    at = whole.index(np.float16(-0.5).tobytes(), len(whole) - 200)
    path.write_bytes(whole[:at] + np.float16(-0.25).tobytes() + whole[at + 2 :])
    assert "damaged" in refused(path)


def test_weights_of_older_versions_have_no_check_sum(path):
    path.write_bytes(crafted({"a/w": np.ones(2, np.float16)}, "{}"))
    assert jdiff.storage.load_weights(path)[1] == {}


@pytest.mark.parametrize("chars", ["aba", "", [], ["a", "a"], ["a", 1], 7, None])
def test_classes_that_are_not_distinct_characters_are_refused(path, chars):
    path.write_bytes(
        crafted({"a/w": np.ones(2, np.float16)}, json.dumps({"chars": chars}))
    )
    assert "chars must be distinct" in refused(path)


def test_array_in_any_memory_order_comes_back(path):
    matrix = np.arange(6.0).reshape(2, 3)
    params = {"net": {"w": matrix.T, "v": jnp.asarray(matrix)[:, ::2]}}
    jdiff.storage.save_weights(path, params, {})
    loaded, _ = jdiff.storage.load_weights(path)
    np.testing.assert_array_equal(loaded["net"]["w"], matrix.T)
    np.testing.assert_array_equal(loaded["net"]["v"], matrix[:, ::2])


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 0.01, 0.2, 0.5, 0.9, 0.999, -1])
def test_weights_cut_anywhere_are_refused(path, whole, size):
    """After so many bytes, or that fraction of all."""
    path.write_bytes(whole[: int(size * len(whole)) if 0 < size < 1 else size])
    assert "must be a whole safetensors file" in refused(path)


def test_weights_with_one_byte_more_are_refused(path, whole):
    path.write_bytes(whole + b"\0")
    assert "must be a whole safetensors file" in refused(path)


@given(st.binary(max_size=200))
def test_bytes_that_are_not_weights_are_refused(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    path.write_bytes(content)
    assert "must be a whole safetensors file" in refused(path)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_well_formed_json_that_is_no_header_is_refused(tmp_path_factory, header):
    path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
    content = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(content)) + content)
    assert "must be a whole safetensors file" in refused(path)


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickle_is_refused_and_never_executed(tmp_path, path):
    marker = tmp_path / "executed"
    content = pickle.dumps(Payload(marker))
    path.write_bytes(content)
    refused(path)
    np.savez(tmp_path / "weights", payload=np.array([Payload(marker)], object))
    refused(tmp_path / "weights.npz")
    assert not marker.exists()
    pickle.loads(content)
    assert marker.exists()  # the trap was armed


def test_missing_file_and_folder_are_refused(tmp_path):
    for missing in ("none.safetensors", "none/none.safetensors", ""):
        assert "must be a file" in refused(tmp_path / missing)


@pytest.mark.parametrize(
    "content",
    [
        save({"w": np.zeros(2)}),
        save({"net/w": np.zeros(2)}, {"format": "pt"}),
        crafted({"net/w": np.zeros(2)}, "{}", format="jdiff-2"),
    ],
)
def test_weights_of_another_program_are_refused(path, content):
    path.write_bytes(content)
    assert "jdiff" in refused(path)


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "U8", "I64", "BOOL"])
def test_weights_of_a_number_format_that_is_not_float_are_refused(path, dtype):
    size = {"BF16": 2, "I64": 8}.get(dtype, 1)
    tensor = {"dtype": dtype, "shape": [2], "data_offsets": [0, 2 * size]}
    metadata = {"format": "jdiff-1", "description": "{}"}
    header = json.dumps({"net/w": tensor, "__metadata__": metadata}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(2 * size))
    # NumPy does not know all of them, so that safetensors cannot read the file.
    said = refused(path)
    assert "must be floats" in said or "whole safetensors file" in said


@pytest.mark.parametrize(
    "content",
    [
        crafted({"net/w": np.zeros(2)}, "not json"),
        crafted({"net/w": np.zeros(2)}, "[1]"),
        save({"net/w": np.zeros(2)}, {"format": "jdiff-1"}),
        crafted({"net/w": np.zeros(2)}, 10_000 * "[" + 10_000 * "]"),
        crafted({"no module": np.zeros(2)}, "{}"),
    ],
)
def test_weights_with_a_damaged_description_are_refused(path, content):
    path.write_bytes(content)
    said = refused(path, jdiff.load_model)
    assert "with a description in JSON" in said or "that describe a network" in said
    said = refused(path, jdiff.evaluation.load_judge)
    assert "with a description in JSON" in said or "must be a classifier" in said


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e5])
def test_weights_that_are_not_finite_in_float16_are_not_saved(path, whole, value):
    with pytest.raises(jdiff.storage.WeightsError, match="net/w must be finite"):
        jdiff.storage.save_weights(path, {"net": {"w": np.array([1.0, value])}}, {})
    assert path.read_bytes() == whole


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_not_loaded(path, value):
    path.write_bytes(crafted({"net/w": np.array([1.0, value], np.float16)}, "{}"))
    assert "net/w" in refused(path)


def test_failed_save_leaves_the_old_file_and_nothing_else(path, whole, monkeypatch):
    def full_disk(source, target):
        raise OSError("No space left on device")

    with pytest.raises(TypeError):
        jdiff.storage.save_weights(path, PARAMS, {"chars": object()})
    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        jdiff.storage.save_weights(path, unet_params(), DESCRIPTION)
    assert path.read_bytes() == whole
    assert list(path.parent.iterdir()) == [path]


def test_save_to_a_missing_folder_is_refused_and_makes_none(tmp_path):
    with pytest.raises(ValueError, match="none"):
        jdiff.storage.save_weights(
            tmp_path / "none" / "w.safetensors", PARAMS, DESCRIPTION
        )
    assert list(tmp_path.iterdir()) == []


# Models: weights with the network that they describe.


def saved_model(path, params=None, **changes):
    description = {**DESCRIPTION, **changes}
    kept = {name: fact for name, fact in description.items() if fact is not None}
    jdiff.storage.save_weights(path, unet_params() if params is None else params, kept)
    return path


def test_model_is_what_its_file_describes(path):
    model = jdiff.load_model(saved_model(path))
    assert model.classes == "abc"
    assert model.shape == (8, 8, 1)
    assert model.prediction is jdiff.PREDICT_V
    for table, expected in zip(model.schedule, jdiff.cosine_schedule(20), strict=True):
        np.testing.assert_array_equal(table, expected)
    jax.tree.map(np.testing.assert_array_equal, model.params, unet_params())
    x_t = jnp.zeros((2, 8, 8, 1))
    inputs = (x_t, jnp.zeros(2), jnp.array([0, 3]))
    assert jax.eval_shape(model.apply, model.params, *inputs).shape == x_t.shape


def test_a_model_whose_path_keeps_signal_is_warned_of(path):
    with pytest.warns(UserWarning, match="keeps 0.90 of the signal at t = T"):
        jdiff.load_model(saved_model(path, schedule="linear"))


@pytest.mark.parametrize(
    "changes",
    [
        {"num_channels": 32},
        {"num_blocks": 2},
        {"num_levels": 3},
        {"chars": "abcd"},
        {"image_shape": [8, 8, 3]},
    ],
)
def test_weights_of_another_architecture_than_described_are_refused(path, changes):
    message = refused(saved_model(path, **changes), jdiff.load_model)
    assert "another architecture" in message


def test_weights_of_another_network_are_refused(path):
    message = refused(saved_model(path, params=PARAMS), jdiff.load_model)
    assert "another architecture" in message


@pytest.mark.parametrize("name", DESCRIPTION)
def test_missing_fact_is_refused(path, name):
    message = refused(saved_model(path, **{name: None}), jdiff.load_model)
    assert name in message


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": "unknown"},
        {"prediction": "unknown"},
        {"prediction": ["v"]},
        {"num_steps": 0},
        {"num_steps": "many"},
        {"num_channels": 7},
        {"num_channels": "wide"},
        {"num_blocks": 1.5},
        {"num_levels": 4},
        {"num_levels": 10**9},
        {"num_levels": "three"},
        {"num_channels": 16 * 10**9},
        {"num_blocks": 10**9},
        {"num_blocks": -1},
        {"num_blocks": True},
        {"num_steps": 10**9},
        {"num_steps": 1.5},
        {"image_shape": [20000, 20000, 1]},
        {"image_shape": [10**30, 8, 1]},
        {"image_shape": [[8], 8, 1]},
        {"image_shape": []},
        {"guidance": float("nan")},
        {"guidance": 1e30},
        {"guidance": "much"},
        {"guidance_last": -1},
        {"guidance_last": 0.5},
        {"num_tones": 1},
        {"autoencoder": "mlp", "num_latents": 10**9, "num_features": 16}
        | {"num_layers": 1, "widths": [16, 16]},
        {"autoencoder": "mlp", "num_latents": 4, "num_features": 16}
        | {"num_layers": 10**9, "widths": [16, 16]},
        {"autoencoder": "mlp", "num_latents": 4, "num_features": 16}
        | {"num_layers": 1, "widths": [10**9, 16]},
        {"image_shape": [8, 8]},
        {"image_shape": [9, 8, 1]},
        {"image_shape": 8},
        {"chars": 3},
    ],
)
def test_unknown_fact_is_refused(path, changes):
    said = refused(saved_model(path, **changes), jdiff.load_model)
    in_words = "describe a network" in said  # of what the network would not bear
    assert in_words or any(f"{fact} must be" in said for fact in changes)
