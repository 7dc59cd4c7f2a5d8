"""What `jdiff.write` writes: any printable ASCII, in one hand, legibly; its pages."""

import string
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import jdiff
from jdiff.cli import main as jdiff_command

FOX = "The quick brown fox jumps over the lazy dog, 1234567890!"
PRINTABLE = string.digits + string.ascii_letters + string.punctuation


@pytest.fixture(scope="module")
def model():
    return jdiff.load_model(jdiff.models.SHIPPED["latent"])


def draw(model, text, seed):
    """Glyphs uint8[N, 28, 28] as `jdiff write --seed` draws them."""
    labels = jdiff.handwriting.encode(text, model.classes)
    style = jdiff.handwriting.draw_style(seed)
    x_0 = jdiff.generate(jax.random.key(seed), model, labels, style=style).x_0
    return jdiff.images.to_uint8(x_0)[..., 0]


def test_python_writes_what_the_command_writes(tmp_path):
    argv = ["--seed", "3", "--steps", "2", "--width", "150", "--align", "right"]
    jdiff_command(["write", r"ab\ncd", *argv, "--out", str(tmp_path / "a.png")])
    page = jdiff.write(
        "ab\ncd",
        seed=3,
        steps=2,
        width=150,
        align=jdiff.handwriting.FLUSH_RIGHT,
        animate=True,
    )
    jdiff.handwriting.save_page(tmp_path / "b.png", page)
    jdiff.handwriting.save_page(tmp_path / "b.gif", page)
    for suffix in (".png", ".gif"):
        command, python = (tmp_path / (name + suffix) for name in "ab")
        assert command.read_bytes() == python.read_bytes()


def test_a_page_is_an_array_and_its_animation_ends_with_it(model):
    page = jdiff.write("hi", model, steps=2, animate=True)
    assert page.image.dtype == np.uint8 and page.image.max() == 255
    *_, last = page.frames()
    np.testing.assert_array_equal(last, page.image)
    assert [int(step) for step in page.steps][::2] == [1000, 0]
    still = jdiff.write("hi", model, steps=2)
    assert still.frames is None
    np.testing.assert_array_equal(still.image, page.image)


@pytest.mark.parametrize(
    ("frames", "shown"), [(2, [0, 6]), (3, [0, 3, 6]), (99, range(7))]
)
def test_frames_are_evenly_spaced_states_of_the_path(model, frames, shown):
    page = jdiff.write("hi", model, steps=6, animate=True, frames=frames)
    times = np.asarray(jdiff.karras_timesteps(model.schedule, 6))
    assert list(page.steps) == [times[k] for k in shown]
    assert len(list(page.frames())) == len(shown)


@pytest.mark.parametrize(("length", "frames"), [(2, 1), (5000, 100)])
def test_frames_that_are_too_few_or_too_many_are_refused(length, frames):
    with pytest.raises(ValueError, match="frames must be >= 2, and at most 410,000"):
        text = length // 2 * "a "
        jdiff.write(text, width=900, steps=200, animate=True, frames=frames)


def hill(model, **style):
    """Ink of a short page."""
    return 255 - jdiff.write("Hill", model, seed=5, **style).image


def test_a_style_seed_changes_the_hand_and_not_the_draws(model):
    plain = hill(model)
    np.testing.assert_array_equal(plain, hill(model, style_seed=5))
    other = hill(model, style_seed=6)
    assert plain.shape != other.shape or (plain != other).any()
    given = {"slant": 2.0, "weight": -1.0, "letter_width": 1.0, "roundness": 0.5}
    seeds = [hill(model, style_seed=seed, **given) for seed in (5, 6)]
    np.testing.assert_array_equal(*seeds)  # nothing is left to choose


def test_the_page_leans_as_asked(model):
    slants = []
    for slant in (-2.0, 0.0, 2.0):
        page = hill(model, slant=slant)
        # The last two letters are strokes.
        strokes = page[None, :, -page.shape[1] // 6 :, None]
        slants.append(jdiff.handwriting.measure_style(strokes)[0, 0])
    assert slants == sorted(slants)


def test_bold_stays_bold_on_the_page(model):
    pages = [hill(model, weight=weight) for weight in (-2.0, 0.0, 2.0)]
    ink = [page.sum() / page.shape[1] for page in pages]
    assert ink[0] * 1.2 < ink[1] < ink[2] / 1.2


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"seed": -1}, "seed must be"),
        ({"steps": 0}, "got 0"),
        ({"guidance": float("nan")}, "guidance must be in .* got nan"),
        ({"slant": 4.0}, "slant must be"),
        ({"style_seed": -1}, "style_seed must be"),
        ({"size": 0.0}, "got 0"),
        ({"model": "mixture", "weight": 1.0}, "no styles"),
        ({"text": ""}, "empty"),
        ({"text": "h\u0436"}, "cannot write"),
    ],
)
def test_what_is_wrong_is_named(wrong, says):
    with pytest.raises(ValueError, match=says):
        jdiff.write(**{"text": "hi"} | wrong)


def test_the_fox_is_read_over_twenty_seeds(model):
    """95% of letters and digits, look-alikes merged, whatever the hand."""
    letters = [char for char in FOX if char.isalnum()]
    read = np.array([char.isalnum() for char in FOX if char != " "])
    judge = jdiff.evaluation.load_judge()
    readings = (
        jdiff.evaluation.read_images(judge, draw(model, FOX, seed)[read])
        for seed in range(20)
    )
    fractions = [
        jdiff.evaluation.legibility(reading, letters).merged.value
        for reading in readings
    ]
    assert np.mean(fractions) >= 0.95 and min(fractions) >= 0.85


def test_every_printable_character_can_be_written(model, tmp_path):
    assert set(model.classes) == set(PRINTABLE)
    out = tmp_path / "all.png"
    argv = ["--no-gif", "--width", "900", "--out", str(out)]
    jdiff_command(["write", " ".join(PRINTABLE), *argv])
    assert Image.open(out).width == 900


def test_marks_look_like_themselves(model):
    """A mark's nearest glyph, among others drawn from fonts, is one of its kind."""
    marks = string.punctuation
    known = jdiff.data.glyphs(40, seed=2, chars=marks)
    drawn = np.concatenate([draw(model, marks, seed) for seed in range(6)])
    flat = known.images.reshape(len(known.images), -1).astype(np.float32)
    drawn = drawn.reshape(len(drawn), -1).astype(np.float32)
    distance = np.square(flat).sum(1) - 2 * drawn @ flat.T
    nearest = known.labels[distance.argmin(1)].reshape(6, len(marks))
    right = nearest == np.arange(len(marks))
    assert right.mean() >= 0.85
    assert (right.sum(0) >= 2).all(), np.array(list(marks))[right.sum(0) < 2]


def test_letters_that_repeat_differ(model):
    glyphs = draw(model, "eeee", 3).astype(int)
    for k in range(3):
        assert np.abs(glyphs[k] - glyphs[k + 1]).mean() > 3


def test_a_sentence_is_of_one_hand(model):
    """Slants of one seed's letters scatter less than slants of many hands."""
    scale = jdiff.handwriting.StyleScale(
        **jax.tree.map(np.asarray, model.params["style"])
    )
    text = "".join(c for c in FOX.replace(" ", "") if c.isalpha())
    labels = jdiff.handwriting.encode(text, model.classes)

    def styles(seed):
        measured = jdiff.handwriting.measure_style(draw(model, text, seed)[..., None])
        return jdiff.handwriting.standardize_style(measured, labels, scale)

    hands = np.stack([styles(seed) for seed in range(12)])[..., :2]
    within = hands.std(1).mean(0)
    assert (within < 0.8).all()  # 1 if every letter had a hand of its own
    requested = np.stack([jdiff.handwriting.draw_style(seed)[:2] for seed in range(12)])
    for k in range(2):
        assert np.corrcoef(requested[:, k], hands.mean(1)[:, k])[0, 1] > 0.9


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_a_long_page_in_bounded_memory(tmp_path):
    """2,000 characters, animation and all."""
    words = (FOX + " ") * 36
    out = tmp_path / "page.png"
    # Not ru_maxrss: a child begins with its parent's.
    script = (
        "import sys; from jdiff.cli import main; main(sys.argv[1:]);"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    argv = ["write", words[:2000], "--width", "1200", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-c", script, *argv],
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout.split()[-1]) * 1024 < 2e9
    assert out.exists() and out.with_suffix(".gif").exists()


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".apng"])
def test_a_two_line_animation_is_small(tmp_path, suffix):
    out = tmp_path / f"lines{suffix}"
    jdiff_command(["write", "Dear Ada,\\nthe loop converges!", "--out", str(out)])
    assert out.stat().st_size <= 1_000_000
