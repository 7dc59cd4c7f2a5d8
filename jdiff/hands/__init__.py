"""Hands of one's own: a sheet, its photograph, the strokes on it, and their hand."""

from jdiff.hands.fit import MIN_CHARS as MIN_CHARS
from jdiff.hands.fit import fit_hand as fit_hand
from jdiff.hands.font import save_font as save_font
from jdiff.hands.learn import Reading as Reading
from jdiff.hands.learn import encode_reading as encode_reading
from jdiff.hands.learn import read_cells as read_cells
from jdiff.hands.learn import read_hand as read_hand
from jdiff.hands.learn import read_photo as read_photo
from jdiff.hands.photo import find_cells as find_cells
from jdiff.hands.sheet import FORMS as FORMS
from jdiff.hands.sheet import FULL as FULL
from jdiff.hands.sheet import PAGE as PAGE
from jdiff.hands.sheet import SHORT as SHORT
from jdiff.hands.sheet import Form as Form
from jdiff.hands.sheet import draw_sheet as draw_sheet
from jdiff.hands.sheet import place_on_sheet as place_on_sheet
from jdiff.hands.sheet import save_sheet as save_sheet
