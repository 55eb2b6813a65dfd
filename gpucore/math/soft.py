"""Routines for what a target cannot do exactly by itself: the keys that begin with ``soft.``.

``gpucore.ir.passes.legalise`` calls them.  ``soft.OP.DTYPE`` does the operation of that name;
``soft.cast.A.B`` converts, f16 as its bits in u16; ``soft.round.f32.f16`` rounds an f32 to a number of f16;
``soft.odd.A.f32`` and ``soft.fma_odd.f32`` round to odd, for a second rounding to follow.  Integers only,
save for the estimates in division and root, f64 in ``soft.fma.f32`` (``soft.fma.f32.integer`` does without)
and exact steps elsewhere.  The library itself uses ``soft.fma.f32.residual``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gpucore.ir.dtypes import DType, f32, f64, i32, i64, u16, u32, u64
from gpucore.math import soft_arithmetic, soft_bits

__all__ = ["FUNCTIONS", "routine"]

Routine = tuple[Callable[..., Any], tuple[DType, ...]]

FUNCTIONS: dict[str, Routine] = {
    "soft.popcount.u32": (soft_bits.popcount_u32, (u32,)),
    "soft.popcount.u64": (soft_bits.popcount_u64, (u64,)),
    "soft.clz.u32": (soft_bits.clz_u32, (u32,)),
    "soft.clz.u64": (soft_bits.clz_u64, (u64,)),
    "soft.pow.i32": (soft_bits.pow_i32, (i32, i32)),
    "soft.pow.u32": (soft_bits.pow_u32, (u32, u32)),
    "soft.pow.i64": (soft_bits.pow_i64, (i64, i64)),
    "soft.pow.u64": (soft_bits.pow_u64, (u64, u64)),
    "soft.div.f32": (soft_arithmetic.div_f32, (f32, f32)),
    "soft.div.f64": (soft_arithmetic.div_f64, (f64, f64)),
    "soft.sqrt.f32": (soft_arithmetic.sqrt_f32, (f32,)),
    "soft.sqrt.f64": (soft_arithmetic.sqrt_f64, (f64,)),
    "soft.fma.f32": (soft_arithmetic.fma_f32, (f32, f32, f32)),
    "soft.fma.f32.integer": (soft_arithmetic.fma_integer_f32, (f32, f32, f32)),
    "soft.fma.f32.residual": (soft_arithmetic.fma_residual_f32, (f32, f32, f32)),
    "soft.fma.f64": (soft_arithmetic.fma_f64, (f64, f64, f64)),
    "soft.fma_odd.f32": (soft_arithmetic.fma_odd_f32, (f32, f32, f32)),
    "soft.floordiv.f32": (soft_bits.floordiv_f32, (f32, f32)),
    "soft.floordiv.f64": (soft_bits.floordiv_f64, (f64, f64)),
    "soft.mod.f32": (soft_bits.mod_f32, (f32, f32)),
    "soft.mod.f64": (soft_bits.mod_f64, (f64, f64)),
    "soft.round.f32.f16": (soft_bits.round_f32_f16, (f32,)),
    "soft.cast.f32.f16": (soft_bits.cast_f32_f16, (f32,)),
    "soft.cast.f16.f32": (soft_bits.cast_f16_f32, (u16,)),
    "soft.odd.f64.f32": (soft_bits.odd_f64_f32, (f64,)),
    "soft.odd.i32.f32": (soft_bits.odd_i32_f32, (i32,)),
    "soft.odd.u32.f32": (soft_bits.odd_u32_f32, (u32,)),
    "soft.odd.i64.f32": (soft_bits.odd_i64_f32, (i64,)),
    "soft.odd.u64.f32": (soft_bits.odd_u64_f32, (u64,)),
}


def routine(key: str) -> Routine:
    """The device function for a key, and the dtypes of its arguments.

    Raises
    ------
    KeyError
        When there is none.
    """
    return FUNCTIONS[key]
