"""The two formats that the library computes in.

A family of functions is written once, as ``functions(form)`` in a module of its own: ``form.real``, ``form.integer`` and
``form.unsigned`` are its dtypes, and ``form.pick`` chooses a constant.  Polynomials of another degree are functions of their
own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from gpucore.ir.dtypes import DType, f32, f64, i32, i64, u32, u64

__all__ = ["F32", "F64", "FORMATS", "Format"]

T = TypeVar("T")


@dataclass(frozen=True)
class Format:
    """A floating-point format, with the integers of its width.

    Attributes
    ----------
    real, integer, unsigned : DType
    fraction_bits : int
        Bits stored of the fraction.
    bias : int
        What is added to the exponent.
    """

    real: DType
    integer: DType
    unsigned: DType
    fraction_bits: int
    bias: int

    def pick(self, single: T, double: T) -> T:
        """The first on f32, the second on f64."""
        return single if self.real is f32 else double

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with all bits."""
        return float(2.0 ** (1 - self.bias))

    @property
    def shift(self) -> float:
        """Adding it rounds to an integer, which is then in the low bits."""
        return float(1.5 * 2.0**self.fraction_bits)

    @property
    def shift_bits(self) -> int:
        """The bits of ``shift``."""
        return ((self.bias + self.fraction_bits) << self.fraction_bits) | (1 << (self.fraction_bits - 1))

    @property
    def sign_bit(self) -> int:
        """The bit that is set in negative numbers."""
        return 1 << (self.real.bits - 1)


F32 = Format(f32, i32, u32, 23, 127)
F64 = Format(f64, i64, u64, 52, 1023)
FORMATS = {"f32": F32, "f64": F64}
