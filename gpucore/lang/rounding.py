"""A Python float rounded to a dtype."""

from __future__ import annotations

import math
import struct

import numpy as np

from gpucore.ir.dtypes import DType, bf16, f64

__all__ = ["round_to"]


def round_to(value: float, dtype: DType) -> float:
    """A Python float rounded to a float dtype, to nearest even."""
    if dtype is f64 or not math.isfinite(value):
        return float(value)
    if dtype is bf16:
        # through odd rounding to f32, so that the second rounding sees the sticky bit
        with np.errstate(all="ignore"):
            near = float(np.float32(value))
        (bits,) = struct.unpack("<I", struct.pack("<f", near))
        if near != value and math.isfinite(near):
            if abs(near) > abs(value):
                bits -= 1
            bits |= 1
        upper = bits >> 16
        if (bits & 0xFFFF) > 0x8000 or ((bits & 0xFFFF) == 0x8000 and upper & 1):
            upper += 1
        return float(struct.unpack("<f", struct.pack("<I", (upper & 0xFFFF) << 16))[0])
    with np.errstate(all="ignore"):
        return float(dtype.numpy.type(value))
