"""Makes the folder's own modules importable, and gives tiny models."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gguf_writer import TinyModel


@pytest.fixture(scope="session")
def tiny():
    """A model in F32."""
    return TinyModel(1)


@pytest.fixture(scope="session")
def tiny_path(tiny, tmp_path_factory):
    return tiny.write(tmp_path_factory.mktemp("models") / "tiny.gguf")
