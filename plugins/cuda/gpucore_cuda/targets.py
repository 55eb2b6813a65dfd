"""Targets: what a compute capability means for the renderer."""

from __future__ import annotations

from functools import cache

from gpucore.hookspecs import Target
from gpucore_cuda.renderer.keys import FAST_NATIVE, LANES, NATIVE, TILES
from gpucore_cuda.renderer.module import capability_number
from gpucore_cuda.renderer.tiles import OLDEST_WITH_TILES

OLDEST = (7, 5)
"""The oldest compute capability that NVRTC 13 compiles for (Turing)."""

ATOMICS: frozenset[str] = frozenset(
    [f"{op}.{d}" for op in ("add", "sub", "min", "max", "and", "or", "xor", "exchange", "cas")
     for d in ("i32", "u32", "i64", "u64")]
    + [f"{op}.{d}" for op in ("add", "sub", "exchange", "cas") for d in ("f32", "f64")]
)  # fmt: skip


@cache
def make_target(arch: str = "sm_75") -> Target:
    """The target of a real architecture such as ``"sm_90"``."""
    features = LANES | TILES if capability_number(arch) >= OLDEST_WITH_TILES else LANES
    return Target("cuda", arch, NATIVE, FAST_NATIVE, ATOMICS, features)
