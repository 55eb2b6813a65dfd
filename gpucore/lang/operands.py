"""What an expression denotes while a kernel is compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

from gpucore.ir.dtypes import DType
from gpucore.ir.nodes import Memory, Value, Var
from gpucore.lang.types import Weak

__all__ = ["Array", "Items", "Literal", "Object", "Operand", "Slot", "Typed"]


@dataclass(frozen=True, slots=True)
class Typed:
    """A value of the kernel."""

    value: Value
    known: int | float | bool | None = None
    """What the value is, where it is known when the kernel is compiled."""
    weak: Weak | None = None
    """Set where it comes from literals alone, as in ``1 if c else 0``: its dtype gives way as theirs would."""
    number: int | None = None
    """The integer that it is, where it comes from captured NumPy integers alone: good wherever a constant is wanted."""

    @property
    def dtype(self) -> DType:
        return self.value.dtype


@dataclass(frozen=True, slots=True)
class Literal:
    """A number known when the kernel is compiled; bools are typed, ints and floats weak."""

    value: int | float | bool


@dataclass(frozen=True, slots=True)
class Array:
    """Something that is indexed."""

    memory: Memory


@dataclass(frozen=True, slots=True)
class Items:
    """A tuple."""

    items: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Object:
    """Any other Python object: a dtype, a module, a function, a string, None."""

    value: Any


Operand: TypeAlias = "Typed | Literal | Array | Items | Object"


@dataclass(slots=True)
class Slot:
    """A local variable that is assigned more than once; its type is the join over the assignments."""

    key: tuple[Any, ...]
    var: Var | None = None
