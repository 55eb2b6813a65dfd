"""The keys that CUDA does exactly as ``gpucore.ir.ops`` says."""

from __future__ import annotations

from gpucore.ir import DType, bool_, f32, f64
from gpucore.ir.dtypes import ALL
from gpucore.ir.ops import BASELINE, COMPARISONS, MATH_UNARY

VALUE_DTYPES = tuple(d for d in ALL if d.name != "index")
INTEGERS = tuple(d for d in VALUE_DTYPES if d.is_integer)
WIDE_FLOATS: tuple[DType, ...] = (f32, f64)


def _native() -> frozenset[str]:
    keys: set[str] = set()
    for d in WIDE_FLOATS:
        for op in (
            "div",
            "sqrt",
            "fma",
            "floor",
            "ceil",
            "trunc",
            "round",
            "abs",
            "min",
            "max",
            "isnan",
            "isinf",
        ):
            keys.add(f"{op}.{d.name}")
    for d in INTEGERS:
        for op in ("abs", "min", "max", "shl", "shr", "popcount", "clz", "floordiv", "mod"):
            keys.add(f"{op}.{d.name}")
    keys |= {f"dot4_{signs}.u32" for signs in ("signed", "unsigned", "mixed")}
    for op in COMPARISONS:
        keys.add(f"{op}.bool")
    keys |= {"select.f16", "select.bf16", "fma.f16"}
    for a in VALUE_DTYPES:
        for b in VALUE_DTYPES:
            keys.add(f"cast.{a.name}.{b.name}")
            if a.bits == b.bits and bool_ not in (a, b):
                keys |= {f"bitcast.{a.name}.{b.name}", f"bitcast.raw.{a.name}.{b.name}"}
    return frozenset(keys) - BASELINE


NATIVE: frozenset[str] = _native()
"""Keys beyond ``BASELINE`` that every CUDA device from sm_75 on does exactly."""

LANES: frozenset[str] = frozenset({"sums=lanes", "scans=lanes"})
"""The features of all: a warp has 32 threads, and shuffles cost less than barriers."""

TILES: frozenset[str] = frozenset({"tile.f16", "tile.bf16", "tile.i8"})
"""The features of devices with products of tiles, from sm_80 on."""

FAST_NATIVE: frozenset[str] = frozenset(
    f"{op}.{d.name}" for op in (*MATH_UNARY, "atan2", "pow") for d in WIDE_FLOATS
)
"""Keys that may stay in fast kernels: CUDA's own math functions, within a few ulp."""
