"""The frame that expansions work in: apply an operation, natively where the target has it, else expanded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from gpucore.ir.dtypes import DType, bf16, bool_, f16, f32, f64
from gpucore.ir.nodes import Number, Value
from gpucore.ir.ops import COMPARISONS
from gpucore.ir.passes.emit import Names, Rewriter

_BOOL_RESULT = COMPARISONS | {"isnan", "isinf"}
_CONVERSIONS = frozenset({"cast", "bitcast", "f2i.raw", "bitcast.raw"})


class Routines(Protocol):
    """Gives library functions, lowered, to the module that is being legalised."""

    def name(self, key: str) -> str:
        """The name of the function for a key such as ``"soft.fma.f32"``; the module will hold it."""
        ...


Expansion = Callable[["Expander", tuple[Value, ...], DType], Value]
"""``expansion(expander, args, result_dtype)`` emits an operation in other words and gives its result."""


class Expander(Rewriter):
    """Emits operations that the target can do.

    Parameters
    ----------
    names : Names
    allowed : frozenset[str]
        Keys that may stay: the baseline and what the target has.
    routines : Routines
    double : bool
        Whether the device computes in f64.
    library : bool
        Whether the function is one of the library, whose ``fma`` on f32 are residuals.
    """

    expansions: dict[str, Expansion]

    def __init__(
        self, names: Names, allowed: frozenset[str], routines: Routines, *, double: bool, library: bool
    ) -> None:
        super().__init__(names)
        self.allowed = allowed
        self.routines = routines
        self.double = double
        self.library = library

    def apply(self, op: str, *args: Value, to: DType | None = None) -> Value:
        """The result of an operation, whatever it takes."""
        if op in _CONVERSIONS:
            assert to is not None
            if op == "cast" and args[0].dtype is to:
                return args[0]
            if f"{op}.{args[0].dtype.name}.{to.name}" in self.allowed:
                return self.convert(op, args[0], to)
        else:
            subject = args[1].dtype if op == "select" else args[0].dtype
            if f"{op}.{subject.name}" in self.allowed:
                return self.op(op, *args)
            if to is None:
                to = bool_ if op in _BOOL_RESULT else subject
        return self.expansions[op](self, args, to)

    def routine(self, key: str, result: DType, *args: Value) -> Value:
        """Call a library function."""
        return self.call(self.routines.name(key), result, *args)

    def bits(self, value: Value, to: DType) -> Value:
        """The bits of a value, as they are."""
        return value if value.dtype is to else self.convert("bitcast.raw", value, to)

    def number(self, value: Value) -> Number | None:
        """The number that a value is known to be."""
        return self.constants.get(value.name)

    def like(self, number: Number, value: Value) -> Value:
        """A literal of another value's dtype."""
        return self.const(number, value.dtype)

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        """A choice between two values of a dtype in the baseline."""
        return self.op("select", condition, a, b)


def is_half(dtype: DType) -> bool:
    """Whether a dtype is held in f32 at the low level."""
    return dtype is f16 or dtype is bf16


def unsigned_bits(dtype: DType) -> DType:
    """The unsigned dtype of a float's width."""
    return _BITS[dtype]


def _bits() -> dict[DType, DType]:
    from gpucore.ir.dtypes import u16, u32, u64

    return {f16: u16, bf16: u16, f32: u32, f64: u64}


_BITS = _bits()
