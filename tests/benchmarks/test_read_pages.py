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
