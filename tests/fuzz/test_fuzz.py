"""A short run of `scripts/benchmarks/fuzz.py`, and laws of whatever bytes and numbers.

The long one is `python scripts/benchmarks/fuzz.py --minutes 60`.
"""

import contextlib
import json
import warnings
from collections import Counter

import numpy as np
import pytest
from areas import AREAS, judge
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from spoil import Wrong, spoil

import jdiff
from jdiff import data, storage

pytest.importorskip("orbax.checkpoint", reason="needs jdiffusion[train]")
# As many as take a second or two.
TRIES = {
    "npz": 300,
    "strokes": 300,
    "unipen": 300,
    "hand": 100,
    "photos": 30,
    "idx": 300,
    "zip": 300,
    "folder": 100,
}
TRIES |= {"weights": 100, "numbers": 100, "pages": 100, "resume": 40, "commands": 40}
SLOW = {name: 10 * num for name, num in TRIES.items()}
SLOW |= {"checkpoints": 60, "training": 30}


def try_area(area, numbers, folder, monkeypatch):
    """The verdicts on inputs of an area; what fell prints its traceback."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("JDIFF_DATA_DIR", str(folder))
    attempt = AREAS[area](folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Counter(judge(area, 0, k, attempt, folder) for k in numbers)


@pytest.mark.parametrize("area", TRIES)
def test_bad_input_is_refused_in_a_sentence(area, tmp_path, monkeypatch):
    verdicts = try_area(area, range(TRIES[area]), tmp_path, monkeypatch)
    assert set(verdicts) == {"accepted", "refused"}


@pytest.mark.slow
@pytest.mark.parametrize("area", SLOW)
def test_more_bad_input_is_refused_in_a_sentence(area, tmp_path, monkeypatch):
    numbers = range(10**6, 10**6 + SLOW[area])
    verdicts = try_area(area, numbers, tmp_path, monkeypatch)
    assert set(verdicts) == {"accepted", "refused"}


def test_whatever_falls_is_seen(tmp_path, capsys):
    def leave_a_draft(random):
        (tmp_path / ".jdiff-0-1-2.png").touch()

    def fail(error):
        def attempt(random):
            raise error

        return attempt

    for attempt, verdict in [
        (lambda random: None, "accepted"),
        (fail(storage.WeightsError("weights must be whole.")), "refused"),
        (fail(KeyError("chars")), "traceback"),
        (fail(SystemExit(1)), "traceback"),
        (fail(Wrong()), "wrong"),
        (leave_a_draft, "draft"),
    ]:
        assert judge("npz", 0, 0, attempt, tmp_path) == verdict
    assert "KeyError: 'chars'" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_input_is_decided_by_its_number(tmp_path):
    seen = []
    for number in (1, 2, 1):
        attempt = lambda random: seen.append(spoil(random, bytes(99)))  # noqa: E731
        judge("npz", 0, number, attempt, tmp_path)
    assert seen[0] == seen[2] != seen[1]


# Whatever the bytes, the numbers and the JSON.


@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("bytes") / "a.npz"
    path.write_bytes(content)
    for read in (data.load, data.read_pen, lambda p: data.load_points(str(p), 10)):
        with pytest.raises(data.DataError, match="a.npz must be"):
            read(str(path))
    with pytest.raises(storage.WeightsError, match="a.npz must be"):
        storage.load_weights(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(st.text(max_size=9), inside, max_size=3)
    ),
    max_leaves=9,
)
NAMES = ["num_channels", "num_blocks", "num_levels", "image_shape", "chars", "style"]
NAMES += ["schedule", "num_steps", "prediction", "autoencoder", "widths", "num_latents"]
NAMES += ["guidance", "distilled", "model", "labels", "classes", "num_layers"]


@given(st.dictionaries(st.sampled_from(NAMES), json_values))
def test_no_description_is_more_than_a_weights_error(tmp_path_factory, description):
    path = tmp_path_factory.mktemp("weights") / "a.safetensors"
    metadata = {"format": "jdiff-1", "description": json.dumps(description)}
    path.write_bytes(save({"a/w": np.ones(9, np.float16)}, metadata))
    with pytest.raises(storage.WeightsError, match="a.safetensors"):
        jdiff.load_model(path)


numbers = st.integers() | st.floats() | st.sampled_from([0, 1, 9, 10, 11])


@given(numbers, numbers)
def test_a_reverse_step_is_exact_or_refused(t, s):
    schedule, x = jdiff.cosine_schedule(10), np.ones(3, np.float32)
    with contextlib.suppress(ValueError):
        found = jdiff.q_posterior(schedule, x, x, t, s)
        assert isinstance(t, int) and isinstance(s, int) and 0 <= s < t <= 10
        assert np.isfinite(found.mean).all() and found.variance >= 0


@given(numbers, numbers, numbers)
def test_a_schedule_is_finite_or_refused(num_steps, sigma_min, sigma_max):
    with contextlib.suppress(ValueError):
        schedule = jdiff.karras_schedule(num_steps, sigma_min, sigma_max)
        assert len(schedule.sigma) == num_steps + 1
        assert np.isfinite(schedule.sigma).all() and schedule.sigma[0] == 0.0
