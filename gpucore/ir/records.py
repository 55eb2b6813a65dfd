"""Element types of several parts: vectors, structs and complex numbers.

Kernels compute on their parts, which are scalars; the IR knows nothing of records.  In memory a record has the layout of NumPy's
dtype: a vector is its elements one after another, aligned as one of them; a struct is laid out as C does it, which is
NumPy's ``align=True``; a complex number is its real and its imaginary part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from gpucore.errors import LaunchError
from gpucore.ir.dtypes import ALL, DType, bool_, f32, f64, index

__all__ = [
    "Field",
    "Leaf",
    "RecordType",
    "VectorFamily",
    "array_name",
    "complex64",
    "complex128",
    "complex_of",
    "is_of_records",
    "leaf_dtypes",
    "memory_name",
    "negative_extent",
    "struct_type",
    "vec2",
    "vec3",
    "vec4",
    "vector",
]  # fmt: skip

RecordKind = Literal["vec", "struct", "complex"]


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a record; ``offset`` is in bytes."""

    name: str
    dtype: DType
    offset: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar within a record, however deep: its path, dtype, and offset in bytes."""

    path: tuple[str, ...]
    dtype: DType
    offset: int


class RecordType(DType):
    """An element type of several parts.

    Attributes
    ----------
    record : {"vec", "struct", "complex"}
    fields : tuple[Field, ...]
    leaves : tuple[Leaf, ...]
        The scalars in order of their offsets.
    methods : Mapping[str, Any]
        Device functions of a struct, which take it as their first argument.
    """

    record: RecordKind
    fields: tuple[Field, ...]
    leaves: tuple[Leaf, ...]
    methods: Mapping[str, Any]
    _layout: np.dtype[Any]

    def __init__(
        cls,
        cls_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        record: RecordKind,
        parts: Mapping[str, DType],
        layout: np.dtype[Any],
        name: str,
        methods: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(
            cls_name, bases, namespace, kind="record", bits=layout.itemsize * 8, numpy=str(layout), name=name
        )
        cls.record = record
        cls._layout = layout
        if record == "struct":
            assert layout.fields is not None
            offsets = [layout.fields[part][1] for part in parts]
        else:
            step = layout.itemsize // len(parts)
            offsets = [step * n for n in range(len(parts))]
        cls.fields = tuple(Field(n, d, o) for (n, d), o in zip(parts.items(), offsets, strict=True))
        cls.leaves = tuple(_leaves(cls, (), 0))
        cls.methods = dict(methods or {})

    @property
    def numpy(cls) -> np.dtype[Any]:
        """NumPy's dtype of the layout: a structured one, a complex one, or that of a row of elements."""
        return cls._layout

    @property
    def element(cls) -> DType:
        """The dtype of a vector's elements or of a complex number's parts."""
        return cls.fields[0].dtype

    def field(cls, name: str) -> tuple[int, Field] | None:
        """The position and the field of a name, or None."""
        return next(((n, f) for n, f in enumerate(cls.fields) if f.name == name), None)

    def __eq__(cls, other: object) -> bool:
        if cls.record == "complex":  # numbers, which NumPy has too
            return super().__eq__(other)
        return other is cls or (isinstance(other, np.dtype) and bool(other == cls._layout))

    __hash__ = type.__hash__

    def __call__(cls, *values: Any, **named: Any) -> Any:
        """On the host: NumPy's value of this layout; inside a kernel: the record of these parts."""
        if cls.record == "complex":
            real, imaginary = (*values, *named.values(), 0.0)[:2]
            return cls._layout.type(complex(real) + 1j * complex(imaginary))
        names = [f.name for f in cls.fields]
        if cls.record == "vec" and len(values) == 1 and not named:
            values = values * len(names) if np.ndim(values[0]) == 0 else tuple(values[0])
        given = dict(zip(names, values, strict=False)) | named
        if len(values) > len(names) or set(given) != set(names) or len(values) + len(named) != len(names):
            raise TypeError(f"{cls.name} takes ({', '.join(names)})")
        if cls.record == "vec":
            return np.array([given[name] for name in names], cls.element.numpy)
        made = np.zeros((), np.dtype((np.record, cls._layout)))  # its fields are attributes, as in kernels
        for field in cls.fields:
            made[field.name] = given[field.name]
        return made[()]

    def __repr__(cls) -> str:
        return f"gpucore.{cls.name}" if cls.record != "struct" else f"<struct {cls.name}>"

    def __reduce__(cls) -> Any:
        if cls.record == "vec":
            return vector, (len(cls.fields), cls.element)
        return cls.__qualname__


def _leaves(record: RecordType, path: tuple[str, ...], start: int) -> Iterator[Leaf]:
    for field in record.fields:
        here, offset = (*path, field.name), start + field.offset
        if isinstance(field.dtype, RecordType):
            yield from _leaves(field.dtype, here, offset)
        else:
            yield Leaf(here, field.dtype, offset)


def leaf_dtypes(record: RecordType) -> tuple[DType, ...]:
    """The dtypes of a record's scalars, each once, in order: its memory is seen once as each of them."""
    return tuple(dict.fromkeys(leaf.dtype for leaf in record.leaves))


def memory_name(array: str, dtype: DType) -> str:
    """The name of the memory in which a kernel sees the scalars of a dtype of an array of records."""
    return f"{array}.{dtype}"


def array_name(memory: str) -> str:
    """The user's name of an array, from that of a memory."""
    return memory.rpartition(".")[0] if is_of_records(memory) else memory


def is_of_records(memory: str) -> bool:
    """Whether a memory holds scalars of an array of records; then it has an axis more than the array."""
    _, dot, scalar = memory.rpartition(".")
    return bool(dot) and scalar in _SCALARS and not memory.startswith("block.")


def negative_extent(kernel: str, memory: str, shape: tuple[int, ...]) -> LaunchError:
    """The error of a shared array that the launch gives a negative extent."""
    shape = shape[:-1] if is_of_records(memory) else shape
    return LaunchError(
        f"{kernel}: the shared array {array_name(memory)!r} gets the shape {shape}; an extent is 0 or more"
    )


_SCALARS = frozenset(d.name for d in ALL)


class VectorFamily:
    """``gc.vec3``: of a dtype it makes the type of vectors, ``gc.vec3[gc.f32]``."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count

    def __getitem__(self, dtype: Any) -> RecordType:
        from gpucore.ir.dtypes import as_dtype

        found = bool_ if dtype is bool else as_dtype(dtype)
        if isinstance(found, RecordType) or found in (bool_, index):
            raise TypeError(f"a vector has numbers as elements, not {found}")
        return vector(self.count, found)

    def __repr__(self) -> str:
        return f"gpucore.vec{self.count}"


@cache
def vector(count: int, dtype: DType) -> RecordType:
    """The type of vectors of ``count`` elements."""
    layout = np.dtype((dtype.numpy, (count,)))
    parts = dict.fromkeys("xyzw"[:count], dtype)
    name = f"vec{count}[{dtype}]"
    return RecordType(
        name, (), {"__module__": "gpucore"}, record="vec", parts=parts, layout=layout, name=name
    )


vec2, vec3, vec4 = (VectorFamily(count) for count in (2, 3, 4))


def _complex(name: str, part: DType) -> RecordType:
    return RecordType(
        name, (), {"__module__": "gpucore"}, record="complex", parts={"real": part, "imag": part}, layout=np.dtype(name),
        name=name,
    )  # fmt: skip


complex64, complex128 = _complex("complex64", f32), _complex("complex128", f64)


def complex_of(part: DType) -> RecordType:
    """The complex type whose parts hold numbers of a dtype."""
    return complex128 if part is f64 else complex64


def struct_type(
    name: str, module: str, parts: Mapping[str, DType], methods: Mapping[str, Callable[..., Any]]
) -> RecordType:
    """The type of structs with these fields, laid out as C does it."""
    layout = np.dtype([(part, dtype.numpy) for part, dtype in parts.items()], align=True)
    namespace = {"__module__": module, "__qualname__": name}
    return RecordType(
        name.rpartition(".")[2], (), namespace, record="struct", parts=parts, layout=layout,
        name=name.rpartition(".")[2], methods=methods,
    )  # fmt: skip
