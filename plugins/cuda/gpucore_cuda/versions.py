"""Versions for the cache key and for people, from package metadata, so that no library need be loaded."""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

from gpucore.errors import NotSupportedError
from gpucore.hookspecs import BackendInfo

INSTALL = "pip install gpucore-cuda"
_COMPILES = ("assembler.py", "compiler.py", "targets.py", "renderer/*.py")


@cache
def _own_version() -> str:
    try:
        return importlib.metadata.version("gpucore-cuda")
    except importlib.metadata.PackageNotFoundError:
        return "unpackaged"


@cache
def _renderer_version() -> str:
    """A hash of what turns IR into code, so that no cached kernel outlives a change of it."""
    digest = hashlib.sha256()
    here = Path(__file__).parent
    for pattern in _COMPILES:
        for path in sorted(here.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def _nvrtc_text() -> str:
    try:
        return importlib.metadata.version("nvidia-cuda-nvrtc")
    except importlib.metadata.PackageNotFoundError:
        pass
    from gpucore_cuda.compiler import nvrtc_version

    try:
        return ".".join(str(n) for n in nvrtc_version())
    except NotSupportedError:
        return "none"


def backend_info() -> BackendInfo:
    """Name, priority and versions; touches no driver."""
    return BackendInfo(
        name="cuda",
        description="NVIDIA GPUs through CUDA: kernels as CUDA C++, compiled by NVRTC",
        priority=300,
        versions={"gpucore-cuda": _own_version(), "renderer": _renderer_version(), "nvrtc": _nvrtc_text()},
        install_hint=INSTALL,
    )
