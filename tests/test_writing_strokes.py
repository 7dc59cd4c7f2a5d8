"""`write` with a model of pen strokes."""

import jax
import numpy as np
import pytest

import jdiff
from jdiff import data, models, storage

DESCRIPTION = {
    "model": "pen",
    "classes": data.PEN_CHARS,
    "num_features": 16,
    "num_layers": 1,
    "num_conditions": 8,
    "judge_features": 8,
    "schedule": "cosine",
    "num_steps": 50,
    "prediction": "v",
    "guidance": 2.0,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("pen") / "pen.safetensors"
    fresh = jax.jit(lambda key: models.init_pen(key, DESCRIPTION, 4))(jax.random.key(0))
    params = jax.tree.map(np.asarray, fresh)
    hands = np.random.default_rng(0).standard_normal((9, 4))
    spacing = np.zeros((len(data.PEN_CHARS), 2))
    params |= {"hands": {"codes": hands}, "spacing": {"sides": spacing}}
    storage.save_weights(path, params, DESCRIPTION)
    return path


def write(text, weights, **options):
    return jdiff.write(text, weights, steps=2, **options)


def test_a_page_keeps_its_strokes(weights):
    page = write("hi", weights)
    assert page.image.dtype == np.uint8 and (page.image < 255).any()
    assert len(page.strokes) >= 2


def test_a_seed_is_a_page(weights):
    page = write("hi", weights, seed=3)
    np.testing.assert_array_equal(page.image, write("hi", weights, seed=3).image)
    other = write("hi", weights, seed=4).image
    assert page.image.shape != other.shape or (page.image != other).any()


def test_a_model_is_what_its_file_is(weights):
    model = models.load_pen(weights)
    np.testing.assert_array_equal(write("hi", model).image, write("hi", weights).image)


def test_an_animation_ends_in_the_page(weights):
    page = write("hi", weights, animate=True)
    *_, last = page.frames()
    np.testing.assert_array_equal(last, page.image)
    assert page.steps[-1] == 0


def test_pasted_typography_is_written_as_ascii(weights):
    pasted = write("\u201ci\u201d\u00a0\u2013 it\u2019s", weights)
    typed = write('"i" - it\'s', weights)
    np.testing.assert_array_equal(pasted.image, typed.image)


def test_what_has_no_ascii_sibling_is_named(weights):
    with pytest.raises(ValueError, match="U\\+4F60"):
        write("a\u4f60", weights)
    with pytest.raises(ValueError, match="U\\+597D"):
        write("\u4f60\u597d", weights)


def test_an_accent_is_drawn_with_the_letter(weights):
    plain, accented = (write(text, weights) for text in ("aa", "a\u00e4"))
    assert len(accented.strokes) > len(plain.strokes)
    # However it was typed.
    combining = write("aa\u0308", weights)
    np.testing.assert_array_equal(accented.image, combining.image)
    *_, last = write("a\u00e4", weights, animate=True).frames()
    np.testing.assert_array_equal(last, accented.image)


def test_a_pen_is_as_wide_as_asked(weights):
    page = write("hi", weights, size=50.0, pen_width=0.2, weight=1.0)
    assert page.pen_width == pytest.approx(10.0)


def test_style_slants_widens_and_thickens(weights):
    plain, bold = write("hi", weights), write("hi", weights, weight=2.0)
    assert bold.pen_width > plain.pen_width
    wide = write("h", weights, letter_width=3.0)
    narrow = write("h", weights, letter_width=-3.0)
    widths = [np.ptp(np.concatenate(p.strokes)[:, 0]) for p in (wide, narrow)]
    assert widths[0] > widths[1]


@pytest.mark.parametrize(
    "options, message",
    [
        ({"neatness": 2.0}, r"neatness must be in \[0, 1\], got 2.0"),
        ({"pen_width": 0.6}, r"pen must be in \(0, 0.5\], got 0.6"),
        ({"draws": 0}, "draws must be >= 1, got 0"),
        ({"slant": 4.0}, r"slant must be in \[-3, 3\], got 4.0"),
        ({"width": 10}, "width must be in"),
    ],
)
def test_numbers_outside_their_range_are_refused(weights, options, message):
    with pytest.raises(ValueError, match=message):
        write("hi", weights, **options)


def test_images_have_no_neatness():
    with pytest.raises(ValueError, match="no strokes .* neatness"):
        jdiff.write("hi", "mixture", steps=1, neatness=0.5)
