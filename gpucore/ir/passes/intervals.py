"""Interval arithmetic on the integers of a kernel: what a value can be, as a pair of Python ints.

The transfer functions take and give mathematical values; a result that leaves its dtype has wrapped and may
be anything.
"""

from __future__ import annotations

from typing import TypeAlias

from gpucore.ir.dtypes import DType

Interval: TypeAlias = tuple[int, int]

I32: Interval = (-(2**31), 2**31 - 1)
U32: Interval = (0, 2**32 - 1)
I64: Interval = (-(2**63), 2**63 - 1)

OPPOSITE = {"lt": "ge", "ge": "lt", "gt": "le", "le": "gt", "eq": "ne", "ne": "eq"}


def of_dtype(dtype: DType) -> Interval:
    """All values of an integer dtype (bool counts as 0 and 1)."""
    if dtype.kind == "int":
        return (-(1 << (dtype.bits - 1)), (1 << (dtype.bits - 1)) - 1)
    if dtype.kind == "uint":
        return (0, (1 << dtype.bits) - 1)
    return (0, 1)


def within(inner: Interval, outer: Interval) -> bool:
    """Whether one interval lies in another."""
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def join(a: Interval, b: Interval) -> Interval:
    """The smallest interval over both."""
    return (min(a[0], b[0]), max(a[1], b[1]))


def widen(old: Interval, new: Interval) -> Interval:
    """A superset of both that a loop reaches after few steps: bounds jump to 0, or the limits of i32 or
    i64.
    """
    low, high = old
    if new[0] < low:
        low = next(t for t in (0, I32[0], I64[0]) if t <= new[0])
    if new[1] > high:
        high = next(t for t in (0, I32[1] - 1, I32[1], I64[1]) if t >= new[1])
    return (low, high)


def binary(op: str, a: Interval, b: Interval) -> Interval | None:
    """The result of an operation on intervals, before wrapping; None where nothing is known."""
    match op:
        case "add" | "add.raw":
            return (a[0] + b[0], a[1] + b[1])
        case "sub":
            return (a[0] - b[1], a[1] - b[0])
        case "mul" | "mul.raw":
            corners = (a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
            return (min(corners), max(corners))
        case "min":
            return (min(a[0], b[0]), min(a[1], b[1]))
        case "max":
            return (max(a[0], b[0]), max(a[1], b[1]))
        case "floordiv" | "quot.raw":
            return _floordiv(a, b, op)
        case "mod" | "rem.raw":
            return _mod(a, b, op)
        case "and":
            if b[0] >= 0:
                return (0, min(a[1], b[1]) if a[0] >= 0 else b[1])
            return (0, a[1]) if a[0] >= 0 else None
        case "or" | "xor":
            if a[0] >= 0 and b[0] >= 0:
                return (0, (1 << max(a[1].bit_length(), b[1].bit_length())) - 1)
            return None
        case "shl":
            if b[0] == b[1] and 0 <= b[0] < 64:
                return (a[0] << b[0], a[1] << b[0])
            if b[0] >= 0 and b[1] < 64:
                return binary("mul", a, (0, 1 << b[1]))
            return None
        case "shr":
            amounts = (max(b[0], 0), min(max(b[1], 0), 64)) if b[0] >= 0 else (0, 64)
            shifted = [x >> n for x in a for n in amounts]
            return (min(shifted), max(shifted))
        case _:
            return None


def _floordiv(a: Interval, b: Interval, op: str) -> Interval | None:
    if op == "quot.raw" and (a[0] < 0 or b[0] < 0):
        return None
    divisors = [d for d in (b[0], b[1], -1, 1) if d != 0 and b[0] <= d <= b[1]]
    corners = [x // d for x in a for d in divisors]
    if b[0] <= 0 <= b[1]:
        corners.append(0)
    return (min(corners), max(corners)) if corners else None


def _mod(a: Interval, b: Interval, op: str) -> Interval | None:
    if op == "rem.raw" and (a[0] < 0 or b[0] < 0):
        return None
    high = max(b[1] - 1, 0)
    low = min(b[0] + 1, 0)
    if a[0] >= 0 and b[0] >= 0:
        high = min(high, a[1])
    return (low, high)


def refine(op: str, a: Interval, b: Interval, truth: bool) -> tuple[Interval, Interval] | None:
    """What ``a op b`` being true (or false) says of both sides; None where it cannot be."""
    if not truth:
        op = OPPOSITE[op]
    match op:
        case "lt":
            a, b = (a[0], min(a[1], b[1] - 1)), (max(b[0], a[0] + 1), b[1])
        case "le":
            a, b = (a[0], min(a[1], b[1])), (max(b[0], a[0]), b[1])
        case "gt":
            a, b = (max(a[0], b[0] + 1), a[1]), (b[0], min(b[1], a[1] - 1))
        case "ge":
            a, b = (max(a[0], b[0]), a[1]), (b[0], min(b[1], a[1]))
        case "eq":
            a = b = (max(a[0], b[0]), min(a[1], b[1]))
        case _:
            return a, b
    if a[0] > a[1] or b[0] > b[1]:
        return None
    return a, b


def decide(op: str, a: Interval, b: Interval) -> bool | None:
    """The outcome of a comparison where the intervals leave but one."""
    if refine(op, a, b, True) is None or (op == "ne" and a[0] == a[1] == b[0] == b[1]):
        return False
    if refine(op, a, b, False) is None or (op == "eq" and a[0] == a[1] == b[0] == b[1]):
        return True
    return None
