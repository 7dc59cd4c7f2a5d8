"""The classes of the judge, what it reads, and the laws of the legibility."""

import math
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import wasserstein_distance

import jdiff
from jdiff.data.emnist import EMNIST_CLASSES
from jdiff.evaluation import (
    LOOK_ALIKES,
    Judge,
    bootstrap_fraction,
    legibility,
    load_judge,
    load_judges,
    merged_labels,
    read_images,
)

CHARS = np.array(list(jdiff.data.EMNIST_CHARS))
DIGITS = "0123456789"


def read_pixels(params, images):
    """A judge for whom the brightest of an image's first 47 pixels is its class."""
    logits = images.reshape(len(images), -1)[:, :47]
    return logits, logits[:, :8]


FAKE = Judge(read_pixels, {})


def images_read_as(chars):
    """Images that the fake judge reads as these characters."""
    images = np.zeros((len(chars), 28 * 28), np.uint8)
    images[np.arange(len(chars)), merged_labels(chars)] = 255
    return images.reshape(-1, 28, 28)


def reading_of(chars):
    return read_images(FAKE, images_read_as(chars))


def random_images(num, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, 28, 28), np.uint8)


@pytest.fixture(scope="module", params=["patch", "plain"])
def judge(request):
    return load_judge(request.param)


@pytest.fixture(scope="module")
def data_dir():
    folder = os.environ.get("JDIFF_DATA_DIR")
    if not folder:
        pytest.skip("JDIFF_DATA_DIR is not set: no real images to read")
    return Path(folder).resolve()


@pytest.fixture(scope="module")
def emnist(data_dir):
    return jdiff.data.load("emnist/byclass", "test", data_dir)


# The classes.


def test_the_classes_are_those_of_the_official_bymerge():
    assert EMNIST_CLASSES["bymerge"] == jdiff.evaluation.MERGED_CHARS
    assert len(jdiff.evaluation.MERGED_CHARS) == 47


def test_merging_is_a_projection_onto_the_classes():
    merged = merged_labels(CHARS)
    names = [jdiff.evaluation.MERGED_CHARS[k] for k in merged]
    np.testing.assert_array_equal(merged_labels(names), merged)
    np.testing.assert_array_equal(
        merged_labels(jdiff.evaluation.MERGED_CHARS), np.arange(47)
    )


def test_merging_changes_nothing_but_case():
    for char, label in zip(CHARS, merged_labels(CHARS), strict=True):
        assert jdiff.evaluation.MERGED_CHARS[label] in (char, char.upper())


@pytest.mark.parametrize("group", LOOK_ALIKES)
def test_look_alikes_are_merged_in_the_merged_figure_alone(group):
    wanted, read = np.array([(a, b) for a in group for b in group]).T
    result = legibility(reading_of(read), wanted)
    assert result.merged.value == 1.0
    same = np.mean(merged_labels(wanted) == merged_labels(read))
    assert result.strict.value == pytest.approx(same)


@pytest.mark.parametrize("wanted, read", ["L1", "8B", "01", "aA"])
def test_others_are_not_excused(wanted, read):
    assert legibility(reading_of(read), wanted).merged.value == 0.0


# Digits only.


@pytest.mark.parametrize(("wanted", "confused"), ["0O", "1I", "1L", "5S", "9q", "2Z"])
def test_a_judge_of_digits_takes_no_letter_for_a_digit(wanted, confused):
    # The letter is the brightest, the digit comes second.
    images = images_read_as([confused]) + images_read_as([wanted]) // 2
    assert legibility(read_images(FAKE, images), [wanted]).strict.value == 0.0
    assert (
        legibility(read_images(FAKE, images), [wanted], allowed=DIGITS).strict.value
        == 1.0
    )


def test_all_characters_allowed_is_all_of_emnist():
    rng = np.random.default_rng(0)
    images, chars = random_images(100), rng.choice(CHARS, 100)
    reading = read_images(FAKE, images)
    every = legibility(reading, chars, allowed=jdiff.data.EMNIST_CHARS[::-1])
    assert every == legibility(reading, chars)
    # A small letter with its capital's shape is allowed if the capital is.
    merged = jdiff.evaluation.MERGED_CHARS
    assert every == legibility(reading, chars, allowed=merged)


def test_images_of_what_is_not_allowed_are_refused():
    with pytest.raises(ValueError, match="chars must be of 0123456789, got A, b"):
        legibility(read_images(FAKE, random_images(3)), "1bA", allowed=DIGITS)
    with pytest.raises(ValueError, match="'é'"):
        legibility(read_images(FAKE, random_images(3)), "123", allowed="123é")


# Legibility and its interval.


def test_perfect_samples_are_read_whole():
    result = legibility(reading_of(CHARS), CHARS)
    assert result.strict == (1.0, 1.0, 1.0)
    assert result.per_class == dict.fromkeys(jdiff.data.EMNIST_CHARS, 1.0)


def test_mislabelled_samples_are_not_read_at_all():
    wrong = np.where(CHARS == "X", "Y", "X")
    wrong[CHARS == "x"] = "Y"
    result = legibility(reading_of(wrong), CHARS)
    assert result.strict.value == result.merged.value == 0.0


def test_random_samples_are_read_as_often_as_chance():
    rng = np.random.default_rng(0)
    wanted, read = rng.choice(list(jdiff.evaluation.MERGED_CHARS), (2, 20_000))
    result = legibility(reading_of(read), wanted)
    assert result.strict.value == pytest.approx(1 / 47, abs=4e-3)


def test_the_strict_figure_is_the_mean_of_the_classes_by_number_of_images():
    wanted, read = list("AAAB7777"), list("AABB7771")
    result = legibility(reading_of(read), wanted)
    assert result.per_class == {"A": 2 / 3, "B": 1.0, "7": 3 / 4}
    assert result.strict.value == 6 / 8


def test_the_interval_contains_the_share():
    for rate in (0.02, 0.5, 0.9):
        hits = np.random.default_rng(1).random(500) < rate
        share = bootstrap_fraction(hits, np.arange(500) % 5)
        assert share.low < share.value < share.high


def test_the_interval_shrinks_as_one_over_the_root_of_the_number():
    hits = np.arange(400) % 4 > 0
    few = bootstrap_fraction(hits, np.zeros(400, int), num_resamples=20_000)
    many = bootstrap_fraction(
        np.tile(hits, 100), np.zeros(40_000, int), num_resamples=20_000
    )
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(10, rel=0.06)


def test_the_interval_is_that_of_the_normal_approximation():
    hits = np.arange(10_000) % 5 > 0
    share = bootstrap_fraction(hits, np.zeros(10_000, int), num_resamples=20_000)
    width = 2 * 1.96 * np.sqrt(0.8 * 0.2 / 10_000)
    assert share.high - share.low == pytest.approx(width, rel=0.05)


def test_equal_seeds_give_equal_intervals():
    hits, strata = np.arange(9999) % 3 > 0, np.arange(9999) % 7
    assert bootstrap_fraction(hits, strata, 5) == bootstrap_fraction(hits, strata, 5)
    assert bootstrap_fraction(hits, strata, 5) != bootstrap_fraction(hits, strata, 6)


# The judge.


def test_a_reading_is_exact_whatever_the_neighbours(judge):
    images = random_images(40)
    whole, part = (read_images(judge, x) for x in (images, images[:5]))
    np.testing.assert_array_equal(whole.logits[:5], part.logits)


def test_reading_compiles_once():
    traces = []

    def counting(params, images):
        traces.append(images.shape)
        return jnp.zeros((len(images), 47)), jnp.zeros((len(images), 8))

    for num in (1, 10, 300):
        reading = read_images(Judge(counting, {}), random_images(num))
        assert len(reading.logits) == len(reading.features) == num
    assert traces == [(256, 28, 28, 1)]


def test_images_may_have_a_channel(judge):
    images = random_images(3)
    a, b = read_images(judge, images), read_images(judge, images[..., None])
    np.testing.assert_array_equal(a.logits, b.logits)


def test_the_shipped_judges_are_small_and_of_two_architectures():
    judges = load_judges()
    assert list(judges) == ["patch", "plain"]
    for path in jdiff.evaluation.SHIPPED_JUDGES.values():
        assert path.stat().st_size <= 600_000
    modules = [set(judge.params) for judge in judges.values()]
    assert not modules[0] & modules[1]
    # One normalises images, the other has nothing to normalise them with.
    assert [any("norm" in name for name in names) for names in modules] == [True, False]


def test_the_judge_reads_emnist(judge, emnist):
    # Half of them, to save time.
    result = legibility(
        read_images(judge, emnist.images[::2]), CHARS[emnist.labels[::2]]
    )
    assert result.strict.value >= 0.88


def test_the_judge_reads_mnist_when_told_that_there_are_digits_only(judge, data_dir):
    test = jdiff.data.load("mnist", "test", data_dir)
    chars = CHARS[test.labels[::2]]
    reading = read_images(judge, test.images[::2])
    digits = legibility(reading, chars, allowed=DIGITS).strict.value
    assert digits >= 0.99
    assert digits > legibility(reading, chars).strict.value


# Bad input.


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((3, 32, 32), np.uint8), r"28, 28.*\[3, 32, 32\]"),
        (np.zeros((28, 28), np.uint8), r"28, 28.*\[28, 28\]"),
        (np.zeros((3, 28, 28, 3), np.uint8), r"28, 28, 1.*\[3, 28, 28, 3\]"),
        (np.zeros((3, 28, 28), np.float32), "uint8.*float32"),
        (np.full((3, 28, 28), np.nan), "uint8.*NaN"),
        (np.zeros((0, 28, 28), np.uint8), "at least one"),
    ],
)
def test_images_that_are_not_characters_are_refused(images, message):
    with pytest.raises(ValueError, match=message):
        read_images(FAKE, images)


def test_unknown_and_missing_characters_are_refused():
    with pytest.raises(ValueError, match="'é'"):
        legibility(read_images(FAKE, random_images(2)), "aé")
    with pytest.raises(ValueError, match="3 for 2"):
        legibility(read_images(FAKE, random_images(2)), "abc")


def test_weights_that_are_no_judge_are_refused(tmp_path):
    jdiff.storage.save_weights(tmp_path / "a.safetensors", {"m": {"w": np.ones(3)}}, {})
    with pytest.raises(jdiff.storage.WeightsError, match="a judge must be"):
        load_judge(tmp_path / "a.safetensors")


# Points, seen from many directions.


def cloud(seed, num=500, size=2):
    return np.random.default_rng(seed).normal(size=(num, size))


def test_sliced_distance_in_one_dimension_is_that_of_scipy():
    x, y = cloud(0, size=1), 0.5 + 2 * cloud(1, size=1)
    expected = wasserstein_distance(x[:, 0], y[:, 0])
    assert jdiff.evaluation.sliced_wasserstein(x, y) == pytest.approx(
        expected, rel=1e-12
    )


@pytest.mark.parametrize("num", [1, 2, 7])
def test_sliced_distance_is_a_mean_of_projections(num):
    # Axes at an angle of pi / num to each other; where they begin is all a seed sets.
    x, y = cloud(0), cloud(1) @ np.diag([3.0, 0.5]) + 1
    begins = np.random.default_rng(4).uniform()
    angles = np.pi * (np.arange(num) + begins) / num
    axes = np.stack([np.cos(angles), np.sin(angles)])
    each = [wasserstein_distance(x @ axis, y @ axis) for axis in axes.T]
    got = jdiff.evaluation.sliced_wasserstein(x, y, 4, num)
    assert got == pytest.approx(np.mean(each), rel=1e-12)


@pytest.mark.parametrize(("size", "rel"), [(2, 1e-4), (3, 0.1), (5, 0.1)])
def test_sliced_distance_of_a_shift(size, rel):
    # |w . v| on average: E|w_1| = Gamma(D/2) / (sqrt(pi) Gamma((D + 1) / 2)).
    x, shift = cloud(0, size=size), np.arange(1.0, size + 1)
    share = math.gamma(size / 2) / (math.sqrt(math.pi) * math.gamma((size + 1) / 2))
    got = jdiff.evaluation.sliced_wasserstein(x, x + shift, num_projections=512)
    assert got == pytest.approx(share * np.linalg.norm(shift), rel=rel)


def test_sliced_distance_of_two_gaussians():
    # Same direction by direction: W_1(N(0, 1), N(0, 2^2)) = E|z| = sqrt(2 / pi).
    x, y = cloud(0, 50_000), 2 * cloud(1, 50_000)
    got = jdiff.evaluation.sliced_wasserstein(x, y)
    assert got == pytest.approx(math.sqrt(2 / math.pi), abs=0.02)


def test_sliced_distance_is_a_metric_and_scales():
    x, y, z = cloud(0), cloud(1) + 1, 3 * cloud(2)
    far = jdiff.evaluation.sliced_wasserstein
    assert far(x, x[::-1]) == pytest.approx(0, abs=1e-12)
    assert far(x, y) == pytest.approx(far(y, x))
    assert far(x, z) <= far(x, y) + far(y, z)
    assert far(2 * x + 5, 2 * y + 5) == pytest.approx(2 * far(x, y))


@pytest.mark.parametrize(
    ("x", "y", "says"),
    [
        (np.zeros((3, 2)), np.zeros((4, 2)), "as many points, got 3 and 4"),
        (np.zeros(3), np.zeros(3), r"got \[3\] and \[3\]"),
        (np.zeros((0, 2)), np.zeros((0, 2)), r"got \[0, 2\]"),
        (np.full((3, 2), np.nan), np.zeros((3, 2)), "must be finite"),
    ],
)
def test_sets_that_cannot_be_compared_are_named(x, y, says):
    with pytest.raises(ValueError, match=says):
        jdiff.evaluation.sliced_wasserstein(x, y)


def test_no_direction_is_refused():
    with pytest.raises(ValueError, match="num_projections must be >= 1, got 0"):
        jdiff.evaluation.sliced_wasserstein(cloud(0), cloud(1), num_projections=0)
