"""Vectors, structs and complex numbers in kernels: made, read, stored, converted; ``@gc.struct``."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from gpucore.errors import KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, index
from gpucore.ir.records import RecordType, complex_of, leaf_dtypes, memory_name, struct_type
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import did_you_mean, plural
from gpucore.lang.operands import (
    Items,
    Literal,
    Operand,
    Place,
    Record,
    Records,
    Typed,
    as_constant,
    describe,
)
from gpucore.lang.state import FunctionState

__all__ = ["RecordValues", "parameter_array", "parameter_record", "private_places", "struct"]


def struct(cls: type) -> RecordType:
    """Make a class the type of structs whose fields its annotations name.

    In kernels ``P(pos, mass=1.0)`` makes one, ``p.pos`` reads a field, and functions in the class marked ``@gc.func`` are its
    methods. It is a dtype: of arrays, ``ctx.empty(n, P)``, of parameters, and of fields of other structs. Its layout is NumPy's
    with ``align=True``, which is C's: ``P.numpy``.

    Raises
    ------
    KernelTypeError
        Where a field is no dtype, or there is none.

    Examples
    --------
    >>> import gpucore as gc
    >>> @gc.struct
    ... class Particle:
    ...     pos: gc.vec3[gc.f32]
    ...     mass: gc.f32
    >>> Particle.itemsize
    16
    """
    name = cls.__qualname__
    if not isinstance(cls, type) or isinstance(cls, DType):
        raise KernelTypeError(f"gc.struct decorates a class, not {cls!r}")
    scope = sys._getframe(1).f_locals
    parts: dict[str, DType] = {}
    for field, annotation in getattr(cls, "__annotations__", {}).items():
        parts[field] = _dtype(cls, field, annotation, scope)
    if not parts:
        raise KernelTypeError(f"{name} has no fields; write them as annotations: mass: gc.f32")
    methods: dict[str, Any] = {}
    for member, value in vars(cls).items():
        if isinstance(value, DeviceFunction):
            methods[member] = value
        elif member in parts:
            raise KernelTypeError(f"the field {name}.{member} has a default; a struct's fields have none")
        elif callable(value) and not member.startswith("__"):
            raise KernelTypeError(f"{name}.{member} is a Python function; put @gc.func above it")
    return struct_type(name, cls.__module__, parts, methods)


def _dtype(cls: type, field: str, annotation: Any, scope: dict[str, Any]) -> DType:
    if isinstance(annotation, str):
        try:
            annotation = eval(annotation, vars(sys.modules[cls.__module__]), scope)
        except Exception as error:  # noqa: BLE001 - whatever the annotation raises is the user's to see
            raise KernelTypeError(
                f"the annotation {annotation!r} of {cls.__qualname__}.{field} cannot be resolved: {error}"
            ) from None
    if annotation is bool:
        return bool_
    if not isinstance(annotation, DType) or annotation is index:
        shown = getattr(annotation, "__name__", annotation)
        raise KernelTypeError(
            f"the field {cls.__qualname__}.{field} is a dtype, a vector or a struct, not {shown!r}; write gc.f32, "
            "gc.vec3[gc.f32] or another struct"
        )
    return annotation


def parameter_array(
    name: str, record: RecordType, rank: int, layout: ir.Layout = "contiguous"
) -> tuple[Records, list[ir.Memory]]:
    """An array parameter of records, and the memories that the kernel takes for it."""
    inner: ir.Layout = (
        "contiguous" if layout == "contiguous" else "rows"
    )  # the scalars of a record lie together
    memories = {
        d: ir.Memory(memory_name(name, d), d, "global", rank + 1, layout=inner) for d in leaf_dtypes(record)
    }
    places = {leaf.offset: leaf.offset // leaf.dtype.itemsize for leaf in record.leaves}
    return Records(record, memories, places), list(memories.values())


def parameter_record(name: str, record: RecordType) -> tuple[Record, list[ir.Value]]:
    """A parameter that is a record, and the scalars that the kernel takes for it."""
    values = [ir.Value(".".join((name, *leaf.path)), leaf.dtype) for leaf in record.leaves]
    return assembled(record, iter(map(Typed, values))), values


def private_places(record: RecordType) -> dict[int, int]:
    """Where the scalars of a record lie in a shared or local array: those of a dtype one after another."""
    counts = dict.fromkeys(leaf_dtypes(record), 0)
    places: dict[int, int] = {}
    for leaf in record.leaves:
        places[leaf.offset] = counts[leaf.dtype]
        counts[leaf.dtype] += 1
    return places


def assembled(record: RecordType, leaves: Iterator[Typed]) -> Record:
    """A record of its scalars, in order."""
    return Record(
        record,
        tuple(
            assembled(f.dtype, leaves) if isinstance(f.dtype, RecordType) else next(leaves)
            for f in record.fields
        ),
    )


@dataclass(frozen=True, slots=True)
class RecordValues:
    """Makes records and takes them apart."""

    state: FunctionState
    conversions: Conversions

    # --- in arrays
    def load(self, place: Place) -> Operand:
        """The value at a place."""
        if not isinstance(place.dtype, RecordType):
            return Typed(self.state.writer.load(*self._element(place)))
        parts = (self.load(part) for part in self._parts(place))
        return Record(place.dtype, tuple(parts))

    def store(self, place: Place, operand: Operand, node: ast.AST) -> None:
        """Store a value at a place; every part of it is a value already."""
        value = self.converted(operand, place.dtype, node)
        self._store(place, value)

    def _store(self, place: Place, value: Operand) -> None:
        if isinstance(value, Record):
            for part, item in zip(self._parts(place), value.items, strict=True):
                self._store(part, item)
            return
        assert isinstance(value, Typed)
        memory, indices = self._element(place)
        self.state.writer.emit(ir.Store(memory, indices, value.value, self.state.writer.location))

    def _parts(self, place: Place) -> list[Place]:
        assert isinstance(place.dtype, RecordType)
        return [
            Place(place.records, place.indices, f.dtype, place.offset + f.offset) for f in place.dtype.fields
        ]

    def _element(self, place: Place) -> tuple[ir.Memory, tuple[ir.Value, ...]]:
        memory = place.records.memories[place.dtype]
        inner = self.state.writer.constant(place.records.places[place.offset], index)
        if place.element is not None:
            inner = self.state.writer.op("add", inner, place.element)
        return memory, (*place.indices, inner)

    # --- parts
    def field(self, operand: Record | Place, node: ast.Attribute) -> Operand | None:
        """A field of a record or of a place; None where there is no such field."""
        record = operand.type if isinstance(operand, Record) else operand.dtype
        if record is None and isinstance(operand, Record) and node.attr in ("real", "imag"):
            return operand.items[node.attr == "imag"]
        if not isinstance(record, RecordType):
            return None
        found = record.field(node.attr)
        if found is None:
            return None
        number, field = found
        if isinstance(operand, Record):
            return operand.items[number]
        return Place(operand.records, operand.indices, field.dtype, operand.offset + field.offset)

    def no_field(self, record: RecordType | None, node: ast.Attribute) -> str:
        """What is said where there is no such field."""
        names = ["real", "imag"] if record is None else [f.name for f in record.fields] + list(record.methods)
        return did_you_mean(node.attr, names) or f"It has {', '.join('.' + name for name in names)}."

    def with_field(
        self, record: Record, path: list[ast.Attribute], operand: Operand, node: ast.AST
    ) -> Record:
        """The record with another value at a path of fields."""
        first, *rest = path
        found = record.type.field(first.attr) if record.type is not None else None
        if record.type is None or found is None:
            self.state.source.syntax_error(
                first, f"{describe(record)} has no field {first.attr!r}", self.no_field(record.type, first)
            )
        number, field = found
        old = record.items[number]
        if not rest:
            new = self.converted(operand, field.dtype, node)
        elif isinstance(old, Record):
            new = self.with_field(old, rest, operand, node)
        else:
            self.state.source.syntax_error(
                rest[0], f"{describe(old)} has no fields", "Assign to the field itself."
            )
        return Record(record.type, (*record.items[:number], new, *record.items[number + 1 :]))

    def item(self, operand: Record | Place, position: Operand, node: ast.Subscript) -> Operand:
        """``v[i]`` of a vector."""
        record = operand.type if isinstance(operand, Record) else operand.dtype
        source, writer = self.state.source, self.state.writer
        if not isinstance(record, RecordType) or record.record != "vec":
            source.type_error(
                node, f"{describe(operand)} cannot be indexed", "Arrays, tuples and vectors can."
            )
        count = len(record.fields)
        known = as_constant(position)
        if isinstance(known, int) and not isinstance(known, bool):
            if not 0 <= known < count:
                source.type_error(
                    node.slice,
                    f"a {record} has {count} elements, not an element {known}",
                    f"Indices go from 0 to {count - 1}.",
                )
            if isinstance(operand, Record):
                return operand.items[known]
            field = record.fields[known]
            return Place(operand.records, operand.indices, field.dtype, operand.offset + field.offset)
        at = self.conversions.as_index(position, node.slice, "an index")
        inside = writer.op(
            "and",
            writer.op("ge", at, writer.constant(0, index)),
            writer.op("lt", at, writer.constant(count, index)),
        )
        writer.emit(ir.Assert(inside, f"an index of a {record} is from 0 to {count - 1}", writer.location))
        # what is past the ends is the nearest element: no access leaves the vector
        low = writer.op("max", at, writer.constant(0, index))
        at = writer.op("min", low, writer.constant(count - 1, index))
        if isinstance(operand, Place):
            return Place(operand.records, operand.indices, record.element, operand.offset, at)
        result = self.scalar(operand.items[-1], record.element, node)
        for number in range(count - 2, -1, -1):
            here = writer.op("eq", at, writer.constant(number, index))
            result = writer.op(
                "select", here, self.scalar(operand.items[number], record.element, node), result
            )
        return Typed(result)

    def scalar(self, operand: Operand, dtype: DType, node: ast.AST) -> ir.Value:
        return self.conversions.to(operand, dtype, node)

    # --- made
    def made(
        self, record: RecordType, operands: list[tuple[str | None, Operand, ast.AST]], node: ast.Call
    ) -> Operand:
        """The record of these arguments, given by position or name."""
        if len(operands) == 1 and operands[0][0] is None:
            (_, only, at) = operands[0]
            if isinstance(only, Items) or (
                isinstance(only, Record) and (record.record != "struct" or only.type is record)
            ):
                return self.converted(only, record, at, cast=True)
            if record.record == "vec":
                value = self._part(only, record.element, at)
                return Record(record, (value,) * len(record.fields))
            if record.record == "complex":
                return self.converted(only, record, at, cast=True)
        names = [f.name for f in record.fields]
        given: dict[str, tuple[Operand, ast.AST]] = {}
        for position, (name, operand, at) in enumerate(operands):
            key = name if name is not None else names[position] if position < len(names) else ""
            if key not in names or key in given:
                what = f"no free field {name!r}" if name is not None else plural(len(names), "field")
                self.state.source.type_error(at, f"a {record} has {what}", f"It takes ({', '.join(names)}).")
            given[key] = operand, at
        if record.record == "complex":
            given.setdefault("imag", (Literal(0.0), node))
        missing = [name for name in names if name not in given]
        if missing:
            self.state.source.type_error(
                node, f"{record} wants a value for {', '.join(missing)}", f"It takes ({', '.join(names)})."
            )
        return Record(record, tuple(self._part(*_swap(given[f.name], f.dtype)) for f in record.fields))

    def _part(self, operand: Operand, dtype: DType, node: ast.AST) -> Operand:
        if isinstance(dtype, RecordType):
            return self.converted(operand, dtype, node)
        return Typed(self.conversions.stored(operand, dtype, node, "a field of"))

    def converted(self, operand: Operand, dtype: DType, node: ast.AST, *, cast: bool = False) -> Operand:
        """The operand as a value of a dtype; vectors and complex numbers of another element type are converted.

        Parameters
        ----------
        cast : bool
            Whether floats may become integers.
        """
        if not isinstance(dtype, RecordType):
            if isinstance(operand, Record):
                self._misfit(operand, dtype, node)
            return Typed(self.conversions.stored(operand, dtype, node))
        if isinstance(operand, Record):
            if operand.type is dtype:
                return operand
            alike = operand.type is None or operand.type.record == dtype.record != "struct"
            kind = "complex" if operand.type is None else operand.type.record
            if not alike or kind != dtype.record or len(operand.items) != len(dtype.fields):
                self._misfit(operand, dtype, node)
            return Record(dtype, tuple(self._cast(item, dtype.element, node, cast) for item in operand.items))
        if isinstance(operand, Items) and dtype.record != "complex":
            if len(operand.items) != len(dtype.fields):
                self._misfit(operand, dtype, node)
            items = zip(operand.items, dtype.fields, strict=True)
            return Record(dtype, tuple(self.converted(item, f.dtype, node) for item, f in items))
        if dtype.record == "complex" and isinstance(operand, (Typed, Literal)):
            zero = Typed(self.state.writer.constant(0, dtype.element))
            return Record(dtype, (self._cast(operand, dtype.element, node, cast), zero))
        self._misfit(operand, dtype, node)

    def _cast(self, operand: Operand, dtype: DType, node: ast.AST, cast: bool) -> Operand:
        if cast:
            return self.conversions.convert(operand, dtype, node)
        return Typed(self.conversions.stored(operand, dtype, node))

    def _misfit(self, operand: Operand, dtype: DType, node: ast.AST) -> NoReturn:
        names = str(dtype)
        if not isinstance(dtype, RecordType) or dtype.record != "struct":
            names = "gc." + names.replace("[", "[gc.")
        self.state.source.type_error(
            node, f"{describe(operand)} is no {dtype}", f"Make one with {names}(...), or take a field of it."
        )

    def settled(self, operand: Record) -> Record:
        """A complex number that comes from literals alone, of the default float."""
        if operand.type is not None:
            return operand
        part = self.state.library.floats.default
        kinds = [item.dtype for item in operand.items if isinstance(item, Typed)]
        for kind in kinds:
            part = kind if kind.is_float else part
        return self.converted(operand, complex_of(part), ast.Pass())  # type: ignore[return-value]


def _swap(pair: tuple[Operand, ast.AST], dtype: DType) -> tuple[Operand, DType, ast.AST]:
    return pair[0], dtype, pair[1]
