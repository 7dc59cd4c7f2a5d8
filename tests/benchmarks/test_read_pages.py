"""Pages read by an OCR engine: what needs none."""

import numpy as np
import pytest
import read_pages


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "abc", 3), ("kitten", "sitting", 3), ("abc", "abc", 0), ("ab", "ba", 2)],
)
def test_the_edit_distance_is_that_of_levenshtein(a, b, distance):
    assert read_pages.edit_distance(a, b) == distance
    assert read_pages.edit_distance(b, a) == distance


def test_case_counts_in_the_second_rate_alone():
    assert read_pages.error_rates("Fox", "fox") == (0.0, 1 / 3)
    assert read_pages.error_rates("Fox", "")[0] == 1.0


def test_blanks_count_where_the_text_has_some():
    assert read_pages.error_rates("a fox", "afox")[0] == 1 / 5
    assert read_pages.error_rates("afox", "a fox")[0] == 0.0


def test_ordinary_texts_are_fifty_with_every_printable_character():
    texts = read_pages.TEXTS["ordinary"]
    assert len(set(texts)) == 50
    assert set("".join(texts)) == {" ", *read_pages.data.PEN_CHARS}


@pytest.fixture
def pen():
    """Strokes of two people: one writes lines, one into cells."""
    bar = [np.array([[0.0, 0.0], [0.5, 1.6]], np.float32)]
    num = 24
    return read_pages.data.Pen(
        [bar] * num,
        np.arange(num) % 12 + 33,
        np.repeat(read_pages.data.HELD_BACK[:2], 12),
        np.repeat([0, 1], 12),
        np.concatenate([0.9 * np.arange(12), 3.0 * np.arange(12)]),
        np.ones(num, bool),
    )


def test_lines_of_words_are_drawn_as_they_were_written(pen):
    ((text, page),) = read_pages.draw_lines(pen)
    assert len(text) == 12
    width = (11 * 0.9 + 0.5) * read_pages.CAP_HEIGHT / read_pages.handwriting.CAP_HEIGHT
    assert page.shape[1] == pytest.approx(width + 2 * read_pages.MARGIN, abs=1)
    columns = (page < 128).any(0)
    assert np.diff(columns.astype(int)).clip(0).sum() == 12  # bars with gaps between


def test_people_write_what_they_have_letters_for(pen):
    text = read_pages.handwriting.decode(pen.labels[:3], read_pages.data.PEN_CHARS)
    pages = read_pages.draw_with_people(pen, [text, "nobody has these"])
    assert [drawn for drawn, _ in pages] == [text, text]
    assert all(page.shape[1] == 700 and (page < 128).any() for _, page in pages)


def test_a_missing_engine_and_missing_fonts_are_one_sentence(monkeypatch):
    monkeypatch.setattr(read_pages, "FONT_FOLDERS", ())
    with pytest.raises(
        ValueError, match="apt-get install fonts-breip fonts-comic-neue"
    ):
        read_pages.find_fonts()
    monkeypatch.setattr(read_pages.shutil, "which", lambda name: None)
    with pytest.raises(ValueError, match="tesseract must be installed.*tesseract-ocr"):
        read_pages.main([])


@pytest.mark.skipif(
    not read_pages.shutil.which("tesseract"), reason="tesseract is not installed"
)
def test_a_blank_page_reads_as_nothing():
    assert read_pages.read(np.full((100, 200), 255, np.uint8)) == ""
