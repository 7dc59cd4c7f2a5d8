"""Laws of labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jdiff.data import EMNIST_CHARS
from jdiff.handwriting import decode, encode

CHARS = st.sampled_from(EMNIST_CHARS)
TEXTS = st.text(st.one_of(CHARS, st.sampled_from(" \n\t\r")), max_size=12)


@given(TEXTS.filter(str.strip))
def test_decode_undoes_encode_except_for_blanks(text):
    assert decode(encode(text, EMNIST_CHARS), EMNIST_CHARS) == "".join(text.split())


@given(st.lists(st.integers(0, 61), min_size=1))
def test_encode_undoes_decode(labels):
    assert encode(decode(labels, EMNIST_CHARS), EMNIST_CHARS).tolist() == labels


def test_labels_are_indices_into_the_characters():
    assert EMNIST_CHARS[encode("q", EMNIST_CHARS)[0]] == "q"
    assert encode("ba", "ab").tolist() == [1, 0]
    assert encode("a", "a").dtype == np.int32


def test_names_are_asked_for_with_commas():
    names = ("cat", "hot dog", "b")
    assert encode("b, cat,hot dog", names).tolist() == [2, 0, 1]
    for text, unknown in (("cat,cow", "'cow'"), ("", "''"), ("bb", "'bb'")):
        with pytest.raises(ValueError, match=f"cat, hot dog, b .*, got {unknown}"):
            encode(text, names)


@pytest.mark.parametrize("text", ["", " ", "\n", " \t\r\n"])
def test_blank_text_is_an_error(text):
    with pytest.raises(ValueError, match="nothing to write"):
        encode(text, EMNIST_CHARS)


@pytest.mark.parametrize(
    "text, named",
    [
        ("Hi!", r"'!' \(U\+0021\)"),
        ("é1", r"'é' \(U\+00E9\)"),
        ("a\u00a0b", r"'\\xa0' \(U\+00A0\)"),
        ("\x00", r"'\\x00' \(U\+0000\)"),
        ("\udcff", r"'\\udcff' \(U\+DCFF\)"),
    ],
)
def test_a_character_outside_the_set_is_named_with_the_set(text, named):
    with pytest.raises(ValueError, match=named + ".* spaces and 0-9A-Za-z"):
        encode(text, EMNIST_CHARS)


def test_the_set_in_the_message_is_the_model_s():
    with pytest.raises(ValueError, match=r"spaces and a-dxy\."):
        encode("e", "abcdxy")


@pytest.mark.parametrize("label", [-1, 62])
def test_labels_outside_the_set_are_an_error(label):
    with pytest.raises(ValueError, match=f"got {label}"):
        decode([0, label], EMNIST_CHARS)
