"""Build hook: the extras pin the plugins of this repository to the version of the core they are released with."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

TEST = ["hypothesis>=6.100", "ml_dtypes>=0.4", "mpmath>=1.3", "pytest>=8.0", "z3-solver>=4.12"]


DOCS = [
    "furo", "matplotlib>=3.8", "myst-nb>=1.3", "numpydoc>=1.8", "pillow>=10.0", "pytest>=8.0", "scikit-learn>=1.5", "sphinx>=8.2",
    "sphinx-copybutton", "sphinx-design", "sphinx-gallery>=0.18",
]  # fmt: skip


class LockstepMetadataHook(MetadataHookInterface):
    """Adds ``project.optional-dependencies``, the plugins pinned to ``gpucore/_version.py``."""

    def update(self, metadata: dict[str, Any]) -> None:
        version = runpy.run_path(str(Path(self.root) / "gpucore" / "_version.py"))["__version__"]
        metadata["optional-dependencies"] = {
            "bf16": ["ml_dtypes>=0.4"],
            "cpu": [f"gpucore-cpu=={version}"],
            "cuda": [f"gpucore-cuda=={version}"],
            "demo": ["matplotlib>=3.8", "pillow>=10.0"],
            "docs": DOCS,
            "bench": [f"gpucore-bench[plot]=={version}"],
            "plot": ["matplotlib>=3.8"],
            "fuzz": [f"gpucore-fuzz=={version}"],
            "test": TEST,
            "vulkan": [f"gpucore-vulkan=={version}"],
        }
