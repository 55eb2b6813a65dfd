"""The widths in which values are held."""

from __future__ import annotations

from gpucore.ir import DType

__all__ = ["is_narrow", "register_bits"]


def is_narrow(dtype: DType) -> bool:
    """Whether values of the dtype are held in wider words."""
    return dtype.is_integer and dtype.bits < 32


def register_bits(dtype: DType) -> int:
    """The width in which values of the dtype are held."""
    return 32 if is_narrow(dtype) else dtype.bits
