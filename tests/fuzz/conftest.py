"""The areas stand beside their tests; `scripts/benchmarks/fuzz.py` tries them too."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
