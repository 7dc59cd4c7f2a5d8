"""Laws of images generated in batches."""

import functools
import math
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jdiff

KEY = jax.random.key(0)
CHARS = "dehlorw"
NUM_STEPS = 20


@functools.cache
def tiny_model():
    """A UNet with weights of which none is 0, so that everything reaches the output."""
    network = jdiff.networks.make_unet(len(CHARS), 16, 1)
    shapes = jax.eval_shape(
        functools.partial(jdiff.models.init_params, network=network, shape=(8, 8, 1)),
        KEY,
    )
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda leaf: (0.2 * rng.standard_normal(leaf.shape)).astype(np.float32), shapes
    )
    schedule = jdiff.cosine_schedule(NUM_STEPS)
    return jdiff.models.Model(
        network.apply, params, schedule, jdiff.PREDICT_V, CHARS, (8, 8, 1)
    )


def generate(labels, **options):
    """All samples of the labels as one `Sample`, with their paths."""
    options = {"num_steps": 3, "batch_size": 4, "model": tiny_model(), **options}
    key = options.pop("key", KEY)
    return jdiff.generate(key, labels=labels, with_path=True, **options)


def written(text, **options):
    return generate([CHARS.index(char) for char in text], **options)


def test_hello_is_written_alike_in_hello_and_in_helloworld():
    alone, followed = written("hello"), written("helloworld")
    np.testing.assert_array_equal(alone.x_0, followed.x_0[:5])
    np.testing.assert_array_equal(alone.path, followed.path[:5])


def test_glyph_k_does_not_depend_on_the_labels_before():
    np.testing.assert_array_equal(written("hello").x_0[4], written("wwwwo").x_0[4])


@pytest.mark.parametrize("num_labels", [1, 3, 4, 5, 8])
def test_there_are_as_many_glyphs_as_labels(num_labels):
    first = written("hellohello"[:num_labels])
    assert first.x_0.shape == (num_labels, 8, 8, 1)
    assert first.path.shape == (num_labels, 4, 8, 8, 1)
    np.testing.assert_array_equal(first.x_0, written("hellohello").x_0[:num_labels])


def test_steps_are_those_of_the_grid():
    model = tiny_model()
    times = np.array([20, 7, 0])

    def grid(schedule, num_steps):
        assert (len(schedule.alpha), num_steps) == (21, 5)
        return times

    options = {"guidance": 2.0, "solver": jdiff.ddim, "grid": grid, "with_path": True}
    batch = jdiff.generate(KEY, model, [3], 5, **options)
    label = jnp.asarray(3)

    def denoiser(label):
        facts = model.apply, model.params, model.schedule, model.prediction
        return jdiff.make_denoiser(*facts, label, clip=None)

    guided = jdiff.guide(denoiser(label), denoiser(len(CHARS)), 2.0)
    key, solver = jax.random.fold_in(KEY, 0), jdiff.ddim(model.schedule)
    facts = key, jdiff.clip_x_0(guided), solver, times, model.shape
    path = jax.jit(lambda: jdiff.sample(*facts).path)()
    np.testing.assert_allclose(batch.path[0], path, atol=1e-5)


def test_no_batch_is_larger_than_the_batch_size():
    model = tiny_model()
    batches = jdiff.models.generate_batches(KEY, model, [0] * 10, 3, batch_size=4)
    assert [len(batch.x_0) for batch in batches] == [4, 4, 2]


def test_batch_size_does_not_change_a_glyph():
    def apply(params, x_t, log_snr, label):
        return jnp.tanh(x_t - 0.1 * label[:, None, None, None])

    model = tiny_model()._replace(apply=apply)
    first, *others = (
        written("hello", model=model, batch_size=size).x_0 for size in (1, 4)
    )
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-4, atol=1e-5)


def test_no_labels_give_no_glyphs():
    assert list(jdiff.models.generate_batches(KEY, tiny_model(), [])) == []
    with pytest.raises(ValueError, match="labels must be at least one"):
        jdiff.generate(KEY, tiny_model(), [])


def test_without_a_path_x_0_is_the_same():
    x_0, path = jdiff.generate(KEY, tiny_model(), [2, 0], 3, batch_size=4)
    assert path.size == 0
    np.testing.assert_allclose(x_0, generate([2, 0]).x_0, atol=1e-5)


def test_a_number_of_examples_is_that_many_of_any_class():
    x_0 = jdiff.generate(KEY, tiny_model(), np.int64(5), 3, batch_size=4).x_0
    expected = generate([len(CHARS)] * 5, guidance=1.0).x_0
    np.testing.assert_allclose(x_0, expected, atol=1e-5)
    with pytest.raises(ValueError, match="labels must be a list"):
        jdiff.generate(KEY, tiny_model()._replace(has_null=False), 5)


def test_a_solver_is_taken_as_sample_takes_it():
    model = tiny_model()
    x_0 = generate([1, 2], solver=jdiff.ddim(model.schedule)).x_0
    np.testing.assert_allclose(x_0, generate([1, 2], solver=jdiff.ddim).x_0, atol=1e-5)


def test_points_have_no_bounds_and_are_decoded():
    model = tiny_model()._replace(
        apply=lambda params, x_t, log_snr, label: jnp.full_like(x_t, 2.27),
        params={"mean": jnp.array([10.0, 20.0])},
        prediction=jdiff.PREDICT_X_0,
        shape=(2,),
        decode=lambda params, x: params["mean"] + x,
    )
    for labels in (3, [0, 1, 2]):
        x_0 = jdiff.generate(KEY, model, labels, 3).x_0
        np.testing.assert_allclose(x_0, [[12.27, 22.27]] * 3, rtol=1e-6)
    raw = jdiff.generate(KEY, model, 3, 3, decode=False).x_0
    np.testing.assert_allclose(raw, 2.27, rtol=1e-6)


def test_equal_labels_give_different_glyphs():
    x_0 = written("llll").x_0
    assert len(np.unique(x_0, axis=0)) == 4


def test_another_key_gives_other_glyphs_and_the_same_key_the_same():
    first, again = written("hello"), written("hello")
    np.testing.assert_array_equal(first.x_0, again.x_0)
    other = written("hello", key=jax.random.key(1))
    assert (first.x_0 != other.x_0).any((1, 2, 3)).all()


def test_images_are_float32_arrays_in_minus_1_to_1_and_end_their_paths():
    sample = written("hello")
    assert isinstance(sample.x_0, np.ndarray)
    assert sample.x_0.dtype == np.float32
    assert np.abs(sample.x_0).max() <= 1.0
    np.testing.assert_array_equal(sample.path[:, -1], sample.x_0)


class Puppet:
    """A model without weights that counts how often it is compiled.

    With a label its estimate of x_0 is 0.5, without one it is `unconditional`.
    """

    def __init__(self, unconditional=2.0):
        self.labels_seen = []
        self.unconditional = unconditional
        self.model = tiny_model()._replace(
            apply=self.apply, prediction=jdiff.PREDICT_X_0, shape=(4, 4, 1)
        )

    def apply(self, params, x_t, log_snr, label):
        self.labels_seen.append(label)
        value = jnp.where(label == len(CHARS), self.unconditional, 0.5)
        return jnp.full_like(x_t, value[0])

    def value(self, guidance, label=0, **options):
        x_0 = generate([label], model=self.model, guidance=guidance, **options).x_0
        assert len(np.unique(x_0)) == 1
        return float(x_0.flat[0])


def test_guidance_0_ignores_the_label_and_1_follows_it():
    puppet = Puppet(unconditional=0.25)
    assert puppet.value(guidance=0.0) == 0.25
    assert puppet.value(guidance=1.0) == 0.5
    assert puppet.value(guidance=2.0) == 0.75
    assert puppet.value(guidance=2.0, label=len(CHARS)) == 0.25


def test_steps_after_the_last_one_with_guidance_follow_the_label():
    # Images of a puppet are its estimate at the last step, which is the earliest.
    puppet = Puppet(unconditional=0.25)
    for last, expected in ((None, 0.75), (20, 0.75), (1, 0.75), (0, 0.5)):
        puppet.model = puppet.model._replace(guidance_last=last)
        grid, steps = jdiff.timesteps, NUM_STEPS
        options = {"grid": grid, "num_steps": steps, "solver": jdiff.ddim}
        assert puppet.value(guidance=2.0, **options) == expected
    # What does not exaggerate is the same at every step.
    assert puppet.value(guidance=0.0) == 0.25
    assert puppet.value(guidance=1.0) == 0.5


def test_any_solver_writes():
    assert Puppet().value(guidance=1.0, solver=jdiff.ddpm) == 0.5


def test_estimate_is_clipped_after_guidance():
    # Clipped before, it would be 1 + 2 (0.5 - 1) = 0.
    assert Puppet(unconditional=2.0).value(guidance=2.0) == -1.0


def test_another_request_of_as_many_steps_does_not_compile_again():
    puppet = Puppet()
    generate([0, 1], model=puppet.model)
    first = len(puppet.labels_seen)
    generate([3] * 9, model=puppet.model, guidance=3.5)
    generate([2], model=puppet.model, key=jax.random.key(7), guidance=0.0)
    assert len(puppet.labels_seen) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_steps": 0}, r"num_steps must be in \[1, 20\], got 0\."),
        ({"num_steps": 21}, r"num_steps must be in \[1, 20\], got 21\."),
        ({"guidance": math.nan}, "guidance must be in .* got nan"),
        ({"guidance": math.inf}, "guidance must be in .* got inf"),
        ({"batch_size": 0}, "batch_size must be an int >= 1, got 0"),
        ({"guidance": 1e30}, r"guidance must be in \[-1000, 1000\], got 1e"),
        ({"labels": 10**30}, "labels must be at most 10000000, got"),
        ({"labels": -1}, "labels must be at most 10000000, got -1"),
        ({"labels": [0.7]}, r"labels must be ints \[N\], got float64"),
        ({"labels": [[0, 1]]}, r"labels must be ints \[N\], got int64"),
        ({"labels": [0, 10**30]}, r"labels must be ints \[N\], got object"),
        ({"labels": [0, 8]}, r"labels must be in \[0, 7\], got 0 \.\. 8"),
        ({"labels": [-1, 3]}, r"labels must be in \[0, 7\], got -1 \.\. 3"),
        ({"solver": functools.partial(jdiff.ddim, eta=2.0)}, "eta must be in"),
    ],
)
def test_bad_number_is_named_on_the_call_before_any_work(options, message):
    puppet = Puppet()
    arguments = {"labels": [0], "num_steps": 3, **options}
    with pytest.raises(ValueError, match=message):
        jdiff.generate(KEY, puppet.model, **arguments)
    assert not puppet.labels_seen


@pytest.mark.parametrize("prediction", [jdiff.PREDICT_EPS, jdiff.PREDICT_SCORE])
def test_model_of_the_noise_is_refused_where_no_signal_is_left(prediction):
    model = tiny_model()._replace(
        schedule=jdiff.flow_schedule(NUM_STEPS), prediction=prediction
    )
    with pytest.raises(ValueError, match="predict x_0, v or the flow"):
        jdiff.generate(KEY, model, [0], num_steps=3)


# A process of its own, whose peak is its own; the network is nothing but a function, so
# that the images and their paths are all there is to be held.
PROGRAM = """
import jax
import jax.numpy as jnp
import numpy as np
import jdiff

def apply(params, x_t, log_snr, label):
    return jnp.tanh(x_t - 0.1 * label[:, None, None, None])

def peak():
    (line,) = (s for s in open("/proc/self/status") if s.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

def draw(num):
    labels = np.arange(num) % 62
    key = jax.random.key(0)
    batches = jdiff.models.generate_batches(key, model, labels, with_path=True)
    return sum(len(batch.x_0) for batch in batches)

schedule, chars = jdiff.cosine_schedule(1000), jdiff.data.EMNIST_CHARS
model = jdiff.models.Model(apply, {}, schedule, jdiff.PREDICT_V, chars, (28, 28, 1))
assert draw(100) == 100
few = peak()
assert draw(4000) == 4000
print(peak() - few)
"""


@pytest.mark.slow
# Not `resource`: its peak begins with that of the parent, which may be pytest's.
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="reads the peak from Linux' /proc"
)
def test_4000_characters_need_no_more_memory_than_100():
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    paths = 4000 * 11 * 28 * 28 * 4
    assert int(done.stdout) < paths / 8
