"""Laws of the UNet and of images generated in batches."""

import functools
import math

import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jdiff
from jdiff.networks import ScaleShiftNorm, sinusoidal
from jdiff.networks.layers import depth_to_space, space_to_depth

KEY = jax.random.key(0)
CHARS = "dehlorw"
NUM_STEPS = 20


def shapes_of(network, image_shape):
    return jax.eval_shape(
        functools.partial(
            jdiff.models.init_params, network=network, image_shape=image_shape
        ),
        KEY,
    )


@functools.cache
def random_params():
    """Weights of which none is 0, so that everything reaches the output."""
    rng = np.random.default_rng(0)
    shapes = shapes_of(jdiff.networks.make_unet(len(CHARS), 16, 1), (8, 8, 1))
    return jax.tree.map(
        lambda leaf: (0.2 * rng.standard_normal(leaf.shape)).astype(np.float32), shapes
    )


@functools.cache
def tiny_unet():
    network = jdiff.networks.make_unet(len(CHARS), 16, 1)
    return jax.jit(network.apply), network


@functools.cache
def tiny_model():
    _, network = tiny_unet()
    return jdiff.models.Model(
        network.apply,
        random_params(),
        jdiff.cosine_schedule(NUM_STEPS),
        jdiff.PREDICT_V,
        CHARS,
        (8, 8, 1),
    )


def generate(labels, **options):
    """All samples of the labels as one `Sample`."""
    options = {"num_steps": 3, "batch_size": 4, "model": tiny_model(), **options}
    batches = list(jdiff.generate(options.pop("key", KEY), labels=labels, **options))
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *batches)


def written(text, **options):
    return generate([CHARS.index(char) for char in text], **options)


# The network.


@settings(max_examples=6)
@given(st.integers(1, 8), st.integers(1, 8), st.integers(1, 4), st.integers(1, 3))
def test_output_has_the_shape_of_any_image_divisible_by_4(h, w, channels, batch):
    network = jdiff.networks.make_unet(3, 16, 1)
    image_shape = (4 * h, 4 * w, channels)
    output = jax.eval_shape(
        network.apply,
        shapes_of(network, image_shape),
        jnp.zeros((batch, *image_shape)),
        jnp.zeros(batch),
        jnp.zeros(batch, jnp.int32),
    )
    assert output.shape == (batch, *image_shape)
    assert output.dtype == jnp.float32


@pytest.mark.parametrize("size", [(6, 8), (8, 10), (7, 7), (2, 4)])
def test_image_that_is_not_divisible_by_4_is_refused(size):
    network = jdiff.networks.make_unet(3, 16, 1)
    message = rf"must be divisible by 4, got {size[0]} x {size[1]}\."
    with pytest.raises(ValueError, match=message):
        shapes_of(network, (*size, 1))


def test_fresh_network_predicts_zero():
    apply, network = tiny_unet()
    params = jdiff.models.init_params(KEY, network, (8, 8, 1))
    x_t, log_snr, _ = inputs_of_network()
    for first in range(0, len(CHARS) + 1, 2):
        label = np.array([first, first + 1], np.int32)
        np.testing.assert_array_equal(apply(params, x_t, log_snr, label), 0.0)


def inputs_of_network():
    x_t = np.random.default_rng(1).standard_normal((2, 8, 8, 1), np.float32)
    return x_t, np.zeros(2, np.float32), np.array([0, 1], np.int32)


def test_output_depends_on_image_noise_level_and_label():
    apply, _ = tiny_unet()
    x_t, log_snr, label = inputs_of_network()
    base = apply(random_params(), x_t, log_snr, label)
    for other in (
        (x_t + np.float32(0.1), log_snr, label),
        (x_t, log_snr + np.float32(0.5), label),
        (x_t, log_snr, label + np.int32(1)),
        (x_t, log_snr, np.full(2, len(CHARS), np.int32)),  # no condition
    ):
        change = np.abs(apply(random_params(), *other) - base)
        assert change.max((1, 2, 3)).min() > 1e-3


def test_examples_of_a_batch_do_not_see_each_other():
    apply, _ = tiny_unet()
    x_t, log_snr, label = inputs_of_network()
    base = apply(random_params(), x_t, log_snr, label)
    changed = apply(
        random_params(), x_t * [[[[1.0]]], [[[9.0]]]], log_snr + [0, 5], label + [0, 3]
    )
    np.testing.assert_array_equal(changed[0], base[0])
    assert (changed[1] != base[1]).any()


def test_every_pixel_sees_every_pixel():
    apply, _ = tiny_unet()
    x_t, log_snr, label = inputs_of_network()
    corner = x_t.copy()
    corner[:, 0, 0] += 1.0
    change = apply(random_params(), corner, log_snr, label) - apply(
        random_params(), x_t, log_snr, label
    )
    assert (change != 0.0).all()


def test_output_is_finite_where_no_signal_or_no_noise_is_left():
    apply, _ = tiny_unet()
    x_t, _, label = inputs_of_network()
    log_snr = np.array([-math.inf, math.inf], np.float32)
    assert np.isfinite(apply(random_params(), x_t, log_snr, label)).all()


def test_space_to_depth_turns_patches_into_channels():
    x = np.arange(4 * 6 * 3).reshape(4, 6, 3)
    y = space_to_depth(x)
    assert y.shape == (2, 3, 12)
    assert set(y[1, 2].tolist()) == set(x[2:4, 4:6].ravel().tolist())
    np.testing.assert_array_equal(depth_to_space(y), x)


def normalised(x):
    norm = hk.without_apply_rng(
        hk.transform(lambda x, condition: ScaleShiftNorm()(x, condition))
    )
    condition = jnp.ones((x.shape[2], 5))
    return np.asarray(norm.apply(norm.init(KEY, x, condition), x, condition))


def test_norm_gives_each_group_of_each_example_mean_0_and_variance_1():
    x = np.random.default_rng(0).standard_normal((4, 4, 2, 32), np.float32) * 3 + 5
    groups = normalised(x).reshape(16, 2, 2, 16)
    np.testing.assert_allclose(groups.mean((0, 3)), 0.0, atol=1e-5)
    np.testing.assert_allclose(groups.var((0, 3)), 1.0, rtol=1e-4)


def test_fourier_features_are_bounded_and_tell_noise_levels_apart():
    levels = np.linspace(-15, 15, 301, dtype=np.float32)
    features = np.asarray(sinusoidal(jnp.asarray(levels), 64))
    assert features.shape == (301, 64)
    assert np.abs(features).max() <= 1.0
    distance = np.linalg.norm(features[:, None] - features, axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert distance.min() > 0.1


# Generation.


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

    (batch,) = jdiff.generate(KEY, model, [3], 5, 2.0, jdiff.ddim, grid)
    label = jnp.asarray(3)

    def denoiser(label):
        facts = model.apply, model.params, model.schedule, model.prediction
        return jdiff.make_denoiser(*facts, label, clip=None)

    guided = jdiff.guide(denoiser(label), denoiser(len(CHARS)), 2.0)
    key, solver = jax.random.fold_in(KEY, 0), jdiff.ddim(model.schedule)
    facts = key, jdiff.clip_x_0(guided), solver, times, model.image_shape
    path = jax.jit(lambda: jdiff.sample(*facts).path)()
    np.testing.assert_allclose(batch.path[0], path, atol=1e-5)


def test_no_batch_is_larger_than_the_batch_size():
    model = tiny_model()
    sizes = [len(b.x_0) for b in jdiff.generate(KEY, model, [0] * 10, 3, batch_size=4)]
    assert sizes == [4, 4, 2]


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
    assert list(jdiff.generate(KEY, tiny_model(), [])) == []


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
            apply=self.apply, prediction=jdiff.PREDICT_X_0, image_shape=(4, 4, 1)
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
        ({"guidance": math.nan}, "guidance must be a finite number, got nan"),
        ({"guidance": math.inf}, "guidance must be a finite number, got inf"),
        ({"batch_size": 0}, "batch_size must be >= 1, got 0"),
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


def test_equal_arguments_make_the_same_network():
    # So that compiled functions are found again.
    assert jdiff.networks.make_unet(5, 16, 1) is jdiff.networks.make_unet(5, 16, 1)


def test_a_linear_model_is_loaded_as_a_network_that_cannot_be_guided():
    model = jdiff.load_model(jdiff.models.SHIPPED["mixture"])
    assert model.classes == jdiff.data.EMNIST_CHARS and model.image_shape == (28, 28, 1)
    with pytest.raises(ValueError, match="guidance must be 1"):
        jdiff.generate(KEY, model, [0], guidance=0.0)
    alone, crowd = (
        generate(labels, model=model, num_steps=3).x_0 for labels in ([7], [7] * 20)
    )
    np.testing.assert_array_equal(crowd[0], alone[0])
    assert np.abs(crowd[1] - crowd[0]).max() > 0.5


def test_a_linear_model_of_words_is_refused(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4, 1), np.uint8)
    fitted = jdiff.closed_form.mixtures.fit(images, ["yes", "no"] * 10, 1, 4, 2)
    jdiff.closed_form.mixtures.save(tmp_path / "words.safetensors", fitted)
    with pytest.raises(jdiff.storage.WeightsError, match="single characters"):
        jdiff.load_model(tmp_path / "words.safetensors")
