"""The cache of compiled kernels: figures, clearing, and why a launch hits or misses it."""

from __future__ import annotations

from gpucore.compile.cache import DiskCache, Entry, clear, current, stats
from gpucore.launch.explain import explain

__all__ = ["DiskCache", "Entry", "clear", "current", "explain", "stats"]
