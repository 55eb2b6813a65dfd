"""What an expression denotes while a kernel is compiled."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias
from typing import Literal as Choice

import numpy as np

from gpucore.ir.dtypes import DType, from_numpy
from gpucore.ir.nodes import Memory, Value
from gpucore.ir.records import RecordType, array_name
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.types import Weak

__all__ = [
    "Along", "Array", "Items", "Literal", "Method", "Object", "Operand", "Place", "Record", "Records", "Slice", "Slot", "Tile",
    "TileUse", "Typed",
    "as_constant",
    "as_python", "describe", "wrap_python",
]  # fmt: skip


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

    rounded: str | None = None
    """A literal that f32 rounded, where the value comes from literals alone in a kernel of f32 and f64 parameters."""

    @property
    def dtype(self) -> DType:
        return self.value.dtype


@dataclass(frozen=True, slots=True)
class Literal:
    """A number known when the kernel is compiled; bools are typed, ints and floats weak."""

    value: int | float | bool


@dataclass(frozen=True, slots=True)
class Slice:
    """An axis of a part that walks along some of the elements of an axis of the memory.

    Attributes
    ----------
    number : int
        Of the part's axis.
    start : Value or int
        The index of the first element.
    extent : Value or int
    step : int
        From one index to the next.
    """

    number: int
    start: Value | int
    extent: Value | int
    step: int


Along: TypeAlias = "Value | int | Slice"
"""What a part has for an axis of the memory: the index that is fixed, the number of the part's axis, or a slice."""


class _Parts(ABC):
    """What arrays of numbers and of records share: which of the memory's axes they have."""

    __slots__ = ()
    axes: tuple[Along, ...]

    @property
    @abstractmethod
    def memory_rank(self) -> int:
        """Axes of the memory that are the array's own."""

    @property
    def along(self) -> tuple[Along, ...]:
        """For each axis of the memory what the array has for it."""
        return self.axes or tuple(range(self.memory_rank))

    @property
    def kept(self) -> tuple[int, ...]:
        """For each axis of the array that of the memory."""
        places: dict[int, int] = {}
        for axis, at in enumerate(self.along):
            if isinstance(at, Slice):
                places[at.number] = axis
            elif isinstance(at, int):
                places[at] = axis
        return tuple(places[at] for at in sorted(places))

    @property
    def rank(self) -> int:
        return len(self.kept)

    @property
    def transposed_axes(self) -> tuple[Along, ...]:
        """The axes in the opposite order."""
        last = self.rank - 1
        return tuple(
            replace(at, number=last - at.number)
            if isinstance(at, Slice)
            else last - at
            if isinstance(at, int)
            else at
            for at in self.along
        )


@dataclass(frozen=True, slots=True)
class Array(_Parts):
    """Something that is indexed: a memory, a row or a slice of it, either of them transposed.

    Attributes
    ----------
    axes : tuple[Along, ...]
        Of a part.
    """

    memory: Memory
    axes: tuple[Along, ...] = ()

    @property
    def memory_rank(self) -> int:
        return self.memory.rank


@dataclass(frozen=True, slots=True)
class Items:
    """A tuple; a named one has names."""

    items: tuple[Operand, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Object:
    """Any other Python object: a dtype, a module, a function, a string, None."""

    value: Any


@dataclass(frozen=True, slots=True)
class Record:
    """A vector, a struct or a complex number: an operand for each field.

    Attributes
    ----------
    type : RecordType or None
        None for complex numbers that come from literals alone, whose parts are weak.
    """

    type: RecordType | None
    items: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Records(_Parts):
    """An array of records: a memory for each dtype among their scalars, with an axis more, along which these lie.

    Attributes
    ----------
    type : RecordType
    memories : Mapping[DType, Memory]
    places : Mapping[int, int]
        For the offset of each scalar in a record the index along that axis.
    axes : tuple[Along, ...]
        Of a part; without the axis within the records.
    """

    type: RecordType
    memories: Mapping[DType, Memory]
    places: Mapping[int, int]
    axes: tuple[Along, ...] = ()

    @property
    def memory(self) -> Memory:
        """One of the memories, which has the extents."""
        return next(iter(self.memories.values()))

    @property
    def memory_rank(self) -> int:
        return self.memory.rank - 1

    @property
    def name(self) -> str:
        return array_name(self.memory.name)


@dataclass(frozen=True, slots=True)
class Place:
    """A record, or a part of one, in an array: read where its value is wanted.

    Attributes
    ----------
    dtype : DType
        Of the part.
    offset : int
        Of the part in the array's record, in bytes.
    element : Value or None
        Of the element of a vector, which only the run decides.
    """

    records: Records
    indices: tuple[Value, ...]
    dtype: DType
    offset: int = 0
    element: Value | None = None


@dataclass(frozen=True, slots=True)
class Method:
    """A device function of a struct, and the struct that it was asked for."""

    function: Any
    record: Operand


TileUse: TypeAlias = Choice["a", "b", "c"]
"""Whether a tile is the left factor of products, the right one, or the sum."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A matrix that the 32 threads of a group hold together, each its share in a local memory: elements, or words of them."""

    memory: Memory
    use: TileUse
    shape: tuple[int, int]
    dtype: DType

    @property
    def packed(self) -> bool:
        """Whether the memory holds words of several elements."""
        return self.memory.dtype is not self.dtype


Operand: TypeAlias = "Typed | Literal | Array | Items | Object | Record | Records | Place | Method | Tile"


@dataclass(frozen=True, slots=True)
class Slot:
    """A local variable that is assigned more than once; its type is the join over the assignments."""

    key: tuple[Any, ...]


def is_named_tuple(value: Any) -> bool:
    """Whether a captured value is a named tuple."""
    return isinstance(value, tuple) and isinstance(getattr(value, "_fields", None), tuple)


def wrap_python(value: Any) -> Operand:
    """A captured Python value as an operand."""
    if isinstance(value, np.generic):
        dtype = from_numpy(value.dtype)
        if dtype is not None:
            return Object(value)  # typed: its dtype counts
    if isinstance(value, (bool, int, float)) and not isinstance(value, DType):
        # members of an IntEnum are their numbers
        return Literal(
            value if isinstance(value, bool) else int(value) if isinstance(value, int) else float(value)
        )
    if type(value) is tuple or is_named_tuple(value):
        return Items(tuple(wrap_python(v) for v in value), getattr(value, "_fields", ()))
    return Object(value)


def describe(operand: Operand) -> str:
    """An operand in words."""
    match operand:
        case Typed(value=value):
            return f"a value of dtype {value.dtype}"
        case Literal(value=number):
            return f"the literal {number!r}"
        case Array(memory=memory, axes=axes):
            return f"a part of the array {memory.name}" if axes else f"the array {memory.name}"
        case Items(items=items):
            return f"a tuple of {len(items)}"
        case Record(type=kind):
            return f"a {kind}" if kind is not None else "a complex number"
        case Records(axes=axes):
            return f"a part of the array {operand.name}" if axes else f"the array {operand.name}"
        case Place(dtype=dtype):
            return f"a {dtype}"
        case Tile(dtype=dtype, use=use, shape=(rows, columns)):
            what = {"a": "a left factor", "b": "a right factor", "c": "a tile of sums"}[use]
            return f"{what} of {rows} by {columns} {dtype}"
        case Method(function=function):
            return f"the method {function.__name__!r}"
        case Object(value=DeviceFunction() as function):
            return f"the function {function.__name__}"
        case Object(value=value):
            return f"the {type(value).__name__} {getattr(value, '__name__', value)!r}"


def as_constant(operand: Operand) -> Any:
    """As ``as_python``; NumPy's integers count as the numbers that they are."""
    match operand:
        case Typed(number=number) if number is not None:
            return number
        case Object(value=np.integer() as value):
            return int(value)
        case Items(items=items):
            found = tuple(as_constant(item) for item in items)
            return NotImplemented if any(f is NotImplemented for f in found) else found
        case _:
            return as_python(operand)


def as_python(operand: Operand) -> Any:
    """The Python value of something known at compile time, or ``NotImplemented``."""
    match operand:
        case Literal(value=value) | Object(value=value):
            return value
        case Typed(known=known) if known is not None:
            return known
        case Items(items=items):
            found = tuple(as_python(item) for item in items)
            return NotImplemented if any(f is NotImplemented for f in found) else found
        case _:
            return NotImplemented
