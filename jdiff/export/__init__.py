"""Models for other programs: ONNX graphs, and what is beside them as JSON."""

from jdiff.export.files import FORMAT as FORMAT
from jdiff.export.files import NUM_SEEDS as NUM_SEEDS
from jdiff.export.files import export as export
from jdiff.export.graph import to_onnx as to_onnx
