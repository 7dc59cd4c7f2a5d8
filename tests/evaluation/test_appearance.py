"""Views that nobody trained: closed forms, laws, and which damage they see."""

import numpy as np
import pytest
from scipy import stats

from jdiff.evaluation.appearance import (
    count_parts,
    expand,
    grey_areas,
    laplacian_pyramid,
    marginal_distance,
    measure_appearance,
    measure_looks,
    parts_distance,
    pyramid_distance,
    radial_spectrum,
    stroke_widths,
)


def draw_bars(num, seed=0, width=4):
    """Images of an upright bar somewhere, a little blurred at its sides."""
    rng = np.random.default_rng(seed)
    images = np.zeros((num, 28, 28, 1), np.uint8)
    for image, left in zip(images, rng.integers(5, 20, num), strict=True):
        image[4:24, left : left + width] = 255
        image[4:24, [left - 1, left + width]] = rng.integers(60, 120)
    return images


CHARS = np.array(["l"] * 60)
BARS, OTHERS = draw_bars(60), draw_bars(60, seed=1)


# Measures of one image.


def test_the_pyramid_adds_up_to_the_image():
    images = np.random.default_rng(0).integers(0, 256, (3, 28, 28, 1), np.uint8)
    fine, middle, coarse = laplacian_pyramid(images)
    assert [x.shape[1:] for x in (fine, middle, coarse)] == [(28, 28), (14, 14), (7, 7)]
    whole = fine + expand(middle + expand(coarse))
    np.testing.assert_allclose(whole, images[..., 0] / 255, atol=1e-5)


def test_a_grey_page_has_no_details():
    images = np.full((1, 28, 28, 1), 51, np.uint8)
    fine, middle, coarse = laplacian_pyramid(images)
    inside = (slice(None), slice(4, -4), slice(4, -4))
    np.testing.assert_allclose(fine[inside], 0.0, atol=1e-6)
    np.testing.assert_allclose(middle[inside], 0.0, atol=1e-6)
    np.testing.assert_allclose(coarse, 0.2, atol=1e-6)


@pytest.mark.parametrize("periods", [1, 3, 9])
def test_the_spectrum_of_a_wave_is_one_peak(periods):
    wave = 127.5 + 127.5 * np.cos(2 * np.pi * periods * np.arange(28) / 28)
    images = np.tile(wave.round().astype(np.uint8), (1, 28, 1))[..., None]
    for pages in (images, images.swapaxes(1, 2)):
        spectrum = radial_spectrum(pages)[0]
        assert spectrum.shape == (15,)
        assert 1 + spectrum[1:].argmax() == periods
        others = np.delete(spectrum, [0, periods])
        assert spectrum[periods] > others.max() + 3


def test_the_spectrum_ignores_where_the_ink_lies_and_sees_speckle_on_the_right():
    np.testing.assert_allclose(
        radial_spectrum(BARS), radial_spectrum(np.roll(BARS, 3, 2)), atol=1e-3
    )
    y, x = np.indices((28, 28)) - 13.5
    blob = 200 * np.exp(-(x**2 + y**2) / 50)[None, ..., None]
    noise = np.random.default_rng(0).normal(0, 8, (50, 28, 28, 1))
    clean, noisy = (
        np.clip(images, 0, 255).astype(np.uint8) for images in (blob, blob + noise)
    )
    change = (radial_spectrum(noisy) - radial_spectrum(clean)).mean(0)
    assert change[-5:].min() > 1 and np.abs(change[:3]).max() < 0.1


def test_white_noise_has_its_variance_at_every_frequency():
    rng = np.random.default_rng(0)
    images = np.clip(rng.normal(128, 20, (500, 28, 28, 1)), 0, 255).astype(np.uint8)
    power = 10.0 ** radial_spectrum(images)[:, 1:]
    np.testing.assert_allclose(power.mean(0), (20 / 255) ** 2, rtol=0.1)


def test_grey_areas_are_fractions_of_the_pixels():
    images = np.repeat(np.uint8([0, 16, 100, 255]), 196).reshape(1, 28, 28, 1)
    areas = grey_areas(images)[0]
    assert areas.shape == (15,)
    assert areas[0] == 0.75 and areas[5] == 0.5 and areas[6] == 0.25 == areas[-1]


@pytest.mark.parametrize("width", [1, 2, 5])
def test_the_width_of_a_long_stroke_is_its_width(width):
    # 2 w L / (2 L + 2 w) for a bar of width w and length L.
    image = np.zeros((1, 28, 400, 1), np.uint8)
    image[0, 8 : 8 + width, 10:390] = 255
    assert stroke_widths(image)[0, 0] == pytest.approx(width, rel=0.02)
    assert stroke_widths(image // 3)[0, 0] == pytest.approx(width, rel=0.02)


def test_a_page_without_ink_has_no_stroke_and_no_part():
    blank = np.zeros((2, 28, 28, 1), np.uint8)
    assert not stroke_widths(blank).any() and not count_parts(blank).any()


def test_parts_are_counted_image_by_image():
    images = np.zeros((4, 28, 28, 1), np.uint8)
    images[1, -1, 5:9] = 200  # touches the edge, next to the following image's
    images[2, 0, 5:9] = 200
    images[2, 5, 5] = images[2, 6, 6] = 128  # touch at a corner
    images[3, 3, 3] = images[3, 9, 9] = images[3, 20, 27] = 255
    images[3, 25, 25] = 127  # too faint
    assert count_parts(images).tolist() == [0, 1, 2, 3]
    assert count_parts(images[..., 0]).tolist() == [0, 1, 2, 3]


def test_looks_are_the_measures_side_by_side():
    looks = measure_looks(BARS)
    assert looks.shape == (60, 31) and np.isfinite(looks).all()
    np.testing.assert_array_equal(looks[:, -1:], stroke_widths(BARS))


# Distances of two sets.


def test_the_marginal_distance_is_the_mean_of_wasserstein_distances():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)), rng.exponential(size=(80, 3)) * [1, 5, 9]
    expected = [
        stats.wasserstein_distance(a, b) / b.std()
        for a, b in zip(x.T, y.T, strict=True)
    ]
    found = marginal_distance(x, y)
    assert found.value == pytest.approx(np.mean(expected), rel=1e-4)
    assert found.low < found.value < found.high


def test_the_marginal_distance_of_a_shift_is_the_shift():
    y = np.random.default_rng(0).normal(size=(100, 2)) * [1, 7]
    shifted = y + 0.3 * y.std(0)
    assert marginal_distance(shifted, y).value == pytest.approx(0.3, rel=1e-4)
    constant = np.ones((5, 1))
    assert marginal_distance(constant + 2, constant).value == pytest.approx(2)


def test_the_distance_of_parts_is_that_of_their_means():
    chars = np.array(list("iiiillll"))
    images = np.zeros((8, 28, 28, 1), np.uint8)
    images[:, 10:20, 10] = 255
    dotted = images.copy()
    dotted[:3, 5, 10] = 255  # three of four i, no l
    # Half of the images are of i, whose means differ by 3/4.
    found = parts_distance(images, chars, dotted, chars).value
    assert found == pytest.approx(np.sqrt(0.5) * 0.75)
    order = np.random.default_rng(0).permutation(8)
    moved = parts_distance(images[order], chars[order], dotted, chars).value
    assert moved == pytest.approx(found)


def test_equal_sets_lie_at_no_distance():
    for estimate in measure_appearance(BARS, CHARS, BARS, CHARS):
        assert estimate.value == pytest.approx(0.0, abs=1e-6)


def test_other_draws_lie_nearer_than_damaged_ones():
    floor = measure_appearance(OTHERS, CHARS, BARS, CHARS, num_resamples=0)
    rng = np.random.default_rng(0)
    noisy = np.clip(OTHERS + rng.normal(0, 40, OTHERS.shape), 0, 255).astype(np.uint8)
    broken = OTHERS.copy()
    broken[:, 12:15] = 0
    wide = draw_bars(60, 1, width=7)
    for damaged, fields in (
        (noisy, ("pyramid", "spectrum", "grey", "stroke_width", "parts")),
        (OTHERS // 2, ("pyramid", "spectrum", "grey")),
        (broken, ("pyramid", "grey", "parts")),
        (wide, ("pyramid", "grey", "stroke_width")),
    ):
        found = measure_appearance(damaged, CHARS, BARS, CHARS, num_resamples=0)
        for field in fields:
            assert getattr(found, field).value > 1.5 * getattr(floor, field).value


def test_the_pyramid_distance_grows_with_speckle():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=BARS.shape)
    distances = [
        pyramid_distance(
            np.clip(BARS + std * noise, 0, 255).astype(np.uint8), BARS, 0, 0
        ).value
        for std in (0, 5, 10, 20, 40)
    ]
    assert distances == sorted(distances) and distances[0] == pytest.approx(0, abs=1e-6)


def test_intervals_depend_on_the_seed_alone():
    first, again, other = (
        measure_appearance(OTHERS, CHARS, BARS, CHARS, seed, 20) for seed in (3, 3, 4)
    )
    assert first == again != other
    for estimate in first[:4]:
        assert estimate.low < estimate.value < estimate.high
