"""Two or three operations that compilers combine, as NVIDIA's does wrongly: see ``gpucore_vulkan.spirv.combinations``.

That driver shows each fault in some kernels and not in others, so what is right here proves nothing of it: it is known by its
name, and not asked.  Others are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np

from gpucore.ir import DType, bool_, f32, i16, i32, i64, u64
from gpucore_vulkan.device_features.probe_operations import Bits, Case, Group, Step, operands
from gpucore_vulkan.device_features.probe_sequences import integers

__all__ = ["REMEDIES", "combination_cases"]

REMEDIES: Final = (
    "OpaqueComparisons64",
    "OpaqueNegatives",
    "OpaqueEqualities",
    "OpaqueBits",
    "OpaqueLiterals",
    "OpaqueRotations",
)
"""What is tried where a case is wrong."""

_HALVES: Final = 2**32 + 1
"""The lowest bit of each half of 64 bits."""


def combination_cases(narrow: bool) -> Group:
    """What consumes bounds, negatives, masks and comparisons with zero; ``narrow`` where memory has 16 bits."""
    a, b = integers(i32, 0), integers(i32, 1)
    x, y = integers(u64, 0), integers(u64, 1)
    s, t = x.view(np.int64), y.view(np.int64)
    f = operands(f32, 1)
    inputs: dict[str, tuple[DType, Bits]] = {
        "a": (i32, a), "b": (i32, b), "x": (u64, x), "y": (u64, y), "s": (i64, s), "t": (i64, t), "f": (f32, f),
    }  # fmt: skip
    cases = [
        *(
            Case("sub", ("m", "x"), u64, bound(x, u64.numpy.type(100)) - x, (Step("m", op, ("x", 100), u64),))
            for op, bound in (("max", np.maximum), ("min", np.minimum))
        ),
        Case("lt", ("m", 0), bool_, s + s < 0, (Step("m", "add", ("s", "s"), i64),)),
        Case(
            "sub", ("n", "m"), u64, (x >> np.uint64(63)) - (x << np.uint64(1)),
            (Step("m", "shl.raw", ("x", 1), u64), Step("n", "shr.raw", ("x", 63), u64)),
        ),
        *_negatives(a, b),
        Case("eq", ("m", 255), bool_, np.clip(a, 0, 255) == 255, _clamp(255)),
        Case("eq", ("m", "a"), bool_, np.clip(a, 0, 255) == a, _clamp(255)),
        Case("eq", ("m", "b"), bool_, np.maximum(np.minimum(a, b), 0) == b, _clamp("b")),
        Case("mul", ("x", "m"), u64, x * (y & np.uint64(1)), (Step("m", "and", ("y", 1), u64),)),
        Case(
            "and", ("n", 3), i64, (s - 1) & 1,
            (Step("m", "sub", ("s", 1), i64), Step("n", "and", ("m", _HALVES), i64)),
        ),
        Case("and", ("n", 3), i64, np.where(a < b, s - 1, s) & 1, _chosen()),
        Case("select", ("c", "f", 3.0), f32, np.where(f == 0, f, f32.numpy.type(3)), _zero(), "eq.f32"),
        Case("select", ("c", 0.0, "f"), f32, np.where(f == 0, f32.numpy.type(0), f), _zero(), "eq.f32"),
    ]  # fmt: skip
    cases = [
        case if case.key else replace(case, key=f"{case.op}.{case.before[-1].result.name}") for case in cases
    ]
    if narrow:
        h = integers(i16, 0)
        inputs["h"] = (i16, h)
        wide = h.astype(np.int64)
        cases.append(
            Case(
                "lt",
                ("m", 0),
                bool_,
                -wide < 0,
                (Step("w", "cast", ("h",), i64), Step("m", "neg", ("w",), i64)),
                "lt.i64",
            )
        )
    return inputs, cases


def _negatives(a: Bits, b: Bits) -> list[Case]:
    minus = Step("m", "neg", ("a",), i32)
    zero = np.int32(0)
    return [
        Case("min", ("n", 0), i32, np.minimum(np.minimum(-a, b), zero), (minus, Step("n", "min", ("m", "b"), i32)),
             "neg.i32"),
        Case("max", ("n", "a"), i32, np.maximum(np.maximum(b, -a), a), (minus, Step("n", "max", ("b", "m"), i32)),
             "neg.i32"),
        Case("add", ("n", "b"), i32, (-a >> 31) + b, (minus, Step("n", "shr.raw", ("m", 31), i32)), "neg.i32"),
        Case("add", ("n", "s"), i64, (-a).astype(np.int64) + integers(u64, 0).view(np.int64),
             (minus, Step("n", "cast", ("m",), i64)), "neg.i32"),
        Case("lt", ("m", 0), bool_, np.abs(a) < 0, (Step("m", "abs", ("a",), i32),)),
    ]  # fmt: skip


def _clamp(above: str | int) -> tuple[Step, ...]:
    """A number bounded from above, then by 0 from below."""
    return Step("n", "min", ("a", above), i32), Step("m", "max", ("n", 0), i32)


def _chosen() -> tuple[Step, ...]:
    """One of two numbers whose lowest bits differ, masked."""
    return (
        Step("c", "lt", ("a", "b"), bool_),
        Step("less", "sub", ("s", 1), i64),
        Step("m", "select", ("c", "less", "s"), i64),
        Step("n", "and", ("m", _HALVES), i64),
    )


def _zero() -> tuple[Step, ...]:
    return (Step("c", "eq", ("f", 0.0), bool_),)
