"""Conversions between dtypes, from bits to bits."""

from __future__ import annotations

from gpucore.ir.dtypes import DType, bool_
from gpucore.testing.semantics.integers import integer
from gpucore.testing.semantics.reference import FORMATS, float_to_float, float_to_int, int_to_float


def cast_bits(source: DType, target: DType, bits: int) -> int:
    """The bits of a scalar in another dtype: integers wrap, floats round once, floats to integers truncate and saturate."""
    if target is bool_:
        if source.is_float:
            return int(not FORMATS[source.name].decode(bits).is_zero)
        return int(bits != 0)
    if source.is_float:
        if target.is_float:
            return float_to_float(source.name, target.name, bits)
        kind = integer(target)
        return kind.bits(float_to_int(source.name, bits, kind.low, kind.high))
    value = bits if source is bool_ else integer(source).value(bits)
    return int_to_float(value, target.name) if target.is_float else integer(target).bits(value)
