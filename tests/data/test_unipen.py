"""UNIPEN's own files, small ones that the tests write."""

import numpy as np
import pytest

from jdiff.data import PEN_CHARS, DataError, read_pen

# Rows (x, y, time); y points up, the line is at 1000, an x is 100 points high.
RECORDING = """
.WRITER_ID  Ada Lovelace
.COORD X Y T
.X_POINTS_PER_INCH 200
.Y_POINTS_PER_INCH 100
.START_BOX
.PEN_DOWN
0 1000 0
0 1050 1
.PEN_UP
0 1060 2
.PEN_DOWN
0 1075 3
.PEN_UP
.PEN_DOWN
300 1000 4
300 1050 5
350 1050 6
.DT 300
.PEN_DOWN
500 1000 7
500 1050 8
"""
SEGMENTS = """.VERSION 1.0
.INCLUDE one/notes.doc
.INCLUDE one/data/ada.dat
.SEGMENT CHARACTER 0-2 OK "i"
.SEGMENT CHARACTER 3:0-3:1 ? "n"
.SEGMENT CHARACTER 3:1-4 ? "\\""
.SEGMENT CHARACTER 4 ? "x"
.SEGMENT WORD 0-4 ? "in"
.SEGMENT CHARACTER 4 BAD "e"
.SEGMENT CHARACTER 4 ? "ab"
"""


@pytest.fixture
def folder(tmp_path):
    """Returns a folder as the CD-ROM's."""
    write(tmp_path / "include/one/data/ada.dat", RECORDING)
    write(tmp_path / "data/2/one/ada.dat", SEGMENTS)
    return tmp_path


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_segments_are_found_in_the_recording(folder):
    pen = read_pen(folder)
    assert "".join(PEN_CHARS[label] for label in pen.labels) == 'in"x'
    # y has half as many points per inch, so 50 of them are an x 100 points high.
    i, n, quote, x = pen.strokes
    np.testing.assert_allclose(i[0], [[0, 0], [0, 1]])
    np.testing.assert_allclose(i[1], [[0, 1.5]])
    np.testing.assert_allclose(n[0], [[0, 0], [0, 1]])
    np.testing.assert_allclose(quote[0], [[0, 1], [0.5, 1]])
    np.testing.assert_allclose(quote[1], [[2, 0], [2, 1]])
    np.testing.assert_allclose(x[0], [[0, 0], [0, 1]])


def test_characters_know_their_place_on_the_line(folder):
    pen = read_pen(folder)
    np.testing.assert_allclose(pen.x, [0, 3, 3, 5])
    assert set(pen.lines) == {0} and set(pen.writers) == {0}
    assert pen.has_baseline.all()


def test_points_of_a_pen_that_is_up_are_counted_but_not_drawn(folder):
    """Component 1 is such a one, and the empty one after component 2 is none."""
    write(folder / "data/2/one/ada.dat", SEGMENTS.replace("0-2", "0-1"))
    assert len(read_pen(folder).strokes[0]) == 1


def test_what_two_files_say_is_there_once(folder):
    write(folder / "data/1c/one/ada.dat", SEGMENTS)
    assert len(read_pen(folder).labels) == 4
    assert len(read_pen(folder / "data" / "1c").labels) == 4


def test_a_new_line_begins_where_the_pen_goes_back_or_down(folder):
    lines = "".join(
        f".PEN_DOWN\n{x} {y}\n{x} {y + 50}\n.PEN_UP\n"
        for y in (1000, 700)
        for x in (0, 100, 200, 300)
    )
    recording = ".COORD X Y\n" + lines
    segments = "".join(f'.SEGMENT CHARACTER {k} ? "n"\n' for k in range(8))
    write(folder / "include/one/data/ada.dat", recording)
    write(folder / "data/2/one/ada.dat", ".INCLUDE one/data/ada.dat\n" + segments)
    pen = read_pen(folder)
    assert pen.lines.tolist() == [0] * 4 + [1] * 4
    np.testing.assert_allclose(pen.x, [0, 2, 4, 6] * 2)
    assert all(own[0][0, 1] == 0 for own in pen.strokes)


def test_a_tail_hangs_below_the_line_and_few_neighbours_say_nothing(folder):
    tail = ".PEN_DOWN\n700 950\n700 1050\n.PEN_UP\n"
    write(folder / "include/one/data/ada.dat", RECORDING + ".PEN_UP\n" + tail)
    more = SEGMENTS + '.SEGMENT CHARACTER 5 ? "p"\n'
    write(folder / "data/2/one/ada.dat", more)
    assert read_pen(folder).strokes[-1][0][:, 1].min() == pytest.approx(-1.0)
    alone = '.INCLUDE one/data/ada.dat\n.SEGMENT CHARACTER 5 ? "p"\n'
    write(folder / "data/2/one/ada.dat", alone + '.SEGMENT CHARACTER 4 ? "x"\n')
    pen = read_pen(folder)
    assert not pen.has_baseline.any() and pen.strokes[0][0][:, 1].min() == 0


def test_a_jump_within_a_stroke_is_a_faulty_recording(folder):
    jump = RECORDING.replace("300 1050 5", "900 1050 5")
    write(folder / "include/one/data/ada.dat", jump)
    pen = read_pen(folder)
    assert "n" not in [PEN_CHARS[label] for label in pen.labels]


SEGMENTED, RECORDED = "data/2/one/ada.dat", "include/one/data/ada.dat"


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        (SEGMENTED, "one/data/ada.dat", "one/data/no.dat", "got no one/data/no.dat"),
        (SEGMENTED, "one/data/ada.dat", "../../etc/ada.dat", "got no ../../etc/ada"),
        (SEGMENTED, "one/data/ada.dat", "../data/2/one/ada.dat", "got no"),
        (SEGMENTED, ".SEGMENT CHARACTER", ".SEGMENT LETTER", "must hold .dat files"),
        (RECORDED, "0 1050 1", "0 much 1", "numbers as points"),
        (RECORDED, "0 1050 1", "0 nan 1", "finite points"),
        (RECORDED, ".COORD X Y T", ".COORD X T", r"\.COORD X and Y"),
        (RECORDED, "INCH 100", "INCH 0", "points per inch > 0"),
        (RECORDED, ".START_BOX", ".INCLUDE one/data/ada.dat", "not include itself"),
        (RECORDED, ".PEN_DOWN", ".PEN_GONE", "must hold .dat files"),
    ],
)
def test_broken_files_are_refused(folder, name, old, new, message):
    """Segments without a recording, and recordings that are none."""
    text = (folder / name).read_text()
    assert old in text
    write(folder / name, text.replace(old, new))
    with pytest.raises(DataError, match=message):
        read_pen(folder)
