"""Makes ``doc_pages`` importable: what is run of the documents is what type checkers read."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
