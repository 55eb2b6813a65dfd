"""Local variables, which are names that are assigned more than once; shared and local arrays, tables of constants."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_, index
from gpucore.ir.records import RecordType, leaf_dtypes, memory_name
from gpucore.lang.conversions import Conversions
from gpucore.lang.expressions import Evaluator
from gpucore.lang.operands import Array, Items, Literal, Operand, Record, Records, Slot, Typed, as_constant
from gpucore.lang.record_values import RecordValues, private_places
from gpucore.lang.state import FunctionState
from gpucore.lang.types import Weak

__all__ = ["SCRATCH", "Declarations", "Memories", "Variables"]


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables of the IR function; ``by_key`` holds those met in this pass, in order."""

    state: FunctionState
    conversions: Conversions
    records: RecordValues
    by_key: dict[tuple[Any, ...], ir.Var] = field(default_factory=dict)

    def slot(self, name: str) -> Slot:
        """The slot of a local name of the current scope."""
        scope = self.state.scope
        return scope.slots.setdefault(name, Slot((*scope.key, name)))

    def variable(self, key: tuple[Any, ...], hint: str) -> ir.Var:
        """The variable of a key, of the type known so far."""
        found = self.by_key.get(key)
        if found is None:
            dtype = self.state.strong(self.state.inference.types[key])
            found = ir.Var(self.state.writer.unique(hint), dtype)
            self.by_key[key] = found
        return found

    def write(self, slot: Slot, operand: Operand, node: ast.AST) -> None:
        """Assign to a slot; its type becomes the join of its own and the operand's."""
        inference, writer = self.state.inference, self.state.writer
        if isinstance(operand, Record):
            operand = self.records.settled(operand)
        self._check_length(slot, operand, node)
        if isinstance(operand, Items):
            # all are values already, so that ``t = (t[1], t[0])`` swaps
            for position, item in enumerate(operand.items):
                self.write(Slot((*slot.key, position)), item, node)
            return
        if isinstance(operand, Record):
            # the parts have the dtypes that the record's type says
            for position, item in enumerate(operand.items):
                self.write(Slot((*slot.key, position)), item, node)
            return
        kind = self.conversions.type_of(operand, node)
        known = inference.types.get(slot.key)
        joined = kind if known is None else self.state.join(known, kind)
        if joined is None:
            self.state.source.type_error(
                node,
                f"{name_of(slot.key)} is {known} on one path and {kind} on another, and no integer type holds both",
                "Cast one of them.",
            )
        if kind is Weak.INT:
            inference.int_literals.setdefault(slot.key, False)
        if kind is Weak.FLOAT or (isinstance(kind, DType) and kind.is_float):
            inference.float_lines.setdefault(slot.key, self.state.source.line(node))
        if joined != known:
            inference.types[slot.key] = joined
            inference.grew = True
            if known is not None:
                inference.changed = True
        self.conversions.note_rounded(slot.key, operand)
        var = self.variable(slot.key, hint_of(slot.key))
        if isinstance(operand, Literal) and var.dtype is not self.state.strong(joined):
            value = writer.constant(
                operand.value if var.dtype.is_float or var.dtype is bool_ else int(operand.value), var.dtype
            )
        else:
            value = self.conversions.to(operand, var.dtype, node)
        writer.set(var, value)

    def _check_length(self, slot: Slot, operand: Operand, node: ast.AST) -> None:
        """A variable is a number, a tuple of one length or a record of one type, on every path."""
        inference = self.state.inference
        length: int | RecordType | None = None
        if isinstance(operand, Items):
            length = len(operand.items)
        elif isinstance(operand, Record):
            length = operand.type
        known = inference.lengths.get(slot.key)
        if known is None and slot.key not in inference.types:
            if length is not None:
                inference.lengths[slot.key] = length
                inference.grew = True
            return
        if known != length:
            was, now = (
                f"a tuple of {n}" if isinstance(n, int) else f"a {n}" if n is not None else "a number"
                for n in (known, length)
            )
            self.state.source.type_error(
                node,
                f"{name_of(slot.key)} is {was} on one path and {now} on another",
                "Give each its own name.",
            )

    def read(self, slot: Slot, node: ast.AST) -> Operand:
        """The value of a slot."""
        inference = self.state.inference
        if slot.key in inference.lengths:
            found = inference.lengths[slot.key]
            if isinstance(found, RecordType):
                fields = range(len(found.fields))
                return Record(found, tuple(self.read(Slot((*slot.key, k)), node) for k in fields))
            items = range(found)
            return Items(tuple(self.read(Slot((*slot.key, k)), node) for k in items))
        if slot.key not in inference.types:
            # only where a statement that would have given the type was passed over
            self.state.source.type_error(
                node, f"the type of {name_of(slot.key)} is not known here", "Cast it where it is assigned."
            )
        kind = inference.types[slot.key]
        value = self.state.writer.read(self.variable(slot.key, hint_of(slot.key)))
        weak = kind if isinstance(kind, Weak) and inference.weak_reads else None
        return Typed(value, weak=weak, rounded=inference.rounded_in(slot.key))

    def scalars(self, key: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """The keys of the scalar variables of a tuple or a record."""
        found = self.state.inference.lengths.get(key)
        if found is None:
            return [key]
        count = len(found.fields) if isinstance(found, RecordType) else found
        return [inner for k in range(count) for inner in self.scalars((*key, k))]

    def temporary(self, dtype: DType, hint: str) -> ir.Var:
        """A variable of no name."""
        key = ("", hint, len(self.by_key), self.state.writer.unique("t"))
        self.state.inference.types[key] = dtype
        return self.variable(key, f"{hint}.t")

    def returned_flag(self) -> ir.Var:
        """The variable that says that the inlined body returned."""
        key = (*self.state.scope.key, "<returned>")
        self.state.inference.types[key] = bool_
        return self.variable(key, "returned")


def name_of(key: tuple[Any, ...]) -> str:
    """A variable as the user writes it: ``t``, or ``t[0]`` of an item of a tuple."""
    places = []
    while isinstance(key[-1], int):
        places.append(f"[{key[-1]}]")
        key = key[:-1]
    return str(key[-1]) + "".join(reversed(places))


def hint_of(key: tuple[Any, ...]) -> str:
    """The name of a variable in the IR."""
    return name_of(key).replace("[", "_").replace("]", "")


SCRATCH = "block.scratch."
"""How the names of the shared memories of block functions begin; the dots keep them apart from the user's."""


Extents: TypeAlias = tuple[ir.Value, ...]


@dataclass(frozen=True, slots=True)
class Memories:
    """The memories met in this pass, in order."""

    state: FunctionState
    all: list[ir.Memory] = field(default_factory=list)
    unnamed: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Where the calls stand that declared shared and local arrays, until a name of the user's takes the place of theirs."""
    _tables: dict[Any, ir.Memory] = field(default_factory=dict)
    _scratch: dict[tuple[DType, str], Array] = field(default_factory=dict)

    def allocate(
        self, space: ir.Space, dtype: DType, shape: tuple[int, ...], extents: Extents = (), name: str = ""
    ) -> ir.Memory:
        """A new shared or local memory; with ``extents`` that come with the launch those of ``shape`` after them count."""
        memory = ir.Memory(name or self._named(space), dtype, space, len(shape), () if extents else shape)
        self.all.append(memory)
        if extents:
            writer = self.state.writer
            more = (writer.constant(n, index) for n in shape[len(extents) :])
            writer.emit(ir.Allocate(memory, (*extents, *more), writer.location))
        return memory

    def table(self, dtype: DType, values: tuple[Any, ...], hint: str, shape: tuple[int, ...]) -> ir.Memory:
        """The memory of constants with these values."""
        key = (dtype, shape, repr(values))
        found = self._tables.get(key)
        if found is None:
            stem = "".join(c if c.isalnum() or c == "_" else "_" for c in hint) or "table"
            found = ir.Memory(self._named(stem), dtype, "const", len(shape), shape, values)
            self._tables[key] = found
            self.all.append(found)
        return found

    def records(
        self, space: ir.Space, dtype: RecordType, shape: tuple[int, ...], extents: Extents = ()
    ) -> Records:
        """New shared or local memories that hold an array of records, one for each dtype among their scalars."""
        places = private_places(dtype)
        stem = self._named(space)
        memories: dict[DType, ir.Memory] = {}
        for part in leaf_dtypes(dtype):
            count = sum(leaf.dtype is part for leaf in dtype.leaves)
            memories[part] = self.allocate(space, part, (*shape, count), extents, memory_name(stem, part))
        return Records(dtype, memories, places)

    def tile(self, dtype: DType, size: int) -> ir.Memory:
        """A thread's share of a tile."""
        memory = ir.Memory(self._named("tile"), dtype, "local", 1, (size,))
        self.all.append(memory)
        return memory

    def scratch(self, dtype: DType, size: int, use: str = "") -> Array:
        """The shared memory that the block functions of a dtype use in turn, or products of tiles for one ``use``."""
        key = (dtype, use)
        if key not in self._scratch:
            name = self._named(f"{SCRATCH}{dtype}{use and '.'}{use}")
            memory = ir.Memory(name, dtype, "shared", 1, (size,))
            self.all.append(memory)
            self._scratch[key] = Array(memory)
        return self._scratch[key]

    def renamed(self, operand: Array | Records, name: str, node: ast.expr) -> Array | Records:
        """The shared or local array that ``node`` declares, under the name that it is assigned to."""
        old = operand.memory.name
        if self.unnamed.get(old) != (node.lineno, node.col_offset):
            return operand
        del self.unnamed[old]
        stem = self._named(name)
        if isinstance(operand, Array):
            return Array(self._renamed(operand.memory, stem))
        memories = {d: self._renamed(m, memory_name(stem, d)) for d, m in operand.memories.items()}
        return Records(operand.type, memories, operand.places)

    def _renamed(self, old: ir.Memory, name: str) -> ir.Memory:
        new = replace(old, name=name)
        self.all[self.all.index(old)] = new
        block = self.state.writer.blocks[-1]
        for place in reversed(range(len(block))):
            found = block[place]
            if isinstance(found, (ir.InitLocal, ir.Allocate)) and found.memory == old:
                block[place] = replace(found, memory=new)
                break
        return new

    def _named(self, stem: str) -> str:
        # the memories of all functions of a module have names of their own
        prefix = f"{self.state.name}." if self.state.pure else ""
        return prefix + self.state.writer.unique(stem)


@dataclass(frozen=True, slots=True)
class Declarations:
    """Lowers ``gc.shared`` and ``gc.local``."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    memories: Memories

    def builtins(self) -> Mapping[str, Callable[[ast.Call], Operand]]:
        return {"shared": self.shared, "local": self.local}

    def shared(self, node: ast.Call) -> Operand:
        self.state.impure("shared memory")
        if self.state.writer.depth > 1:
            self.state.source.syntax_error(
                node, "gc.shared stands at the top level of a kernel", "Move it to the kernel's first lines."
            )
        return self.declare("shared", node)

    def local(self, node: ast.Call) -> Operand:
        operand = self.declare("local", node)
        memories = operand.memories.values() if isinstance(operand, Records) else (operand.memory,)
        for memory in memories:
            self.state.writer.emit(ir.InitLocal(memory, self.state.writer.location))
        return operand

    def declare(self, space: ir.Space, node: ast.Call) -> Array | Records:
        source, expression = self.state.source, self.evaluator.expression
        keywords = {k.arg: k.value for k in node.keywords}
        nodes = [*node.args, *(keywords[k] for k in ("shape", "dtype") if k in keywords)]
        if len(nodes) != 2:
            source.type_error(
                node, f"gc.{space} takes a shape and a dtype", f"Write gc.{space}((16, 16), gc.f32)."
            )
        given = expression(nodes[0])
        shape = as_constant(given)
        shape = (shape,) if isinstance(shape, int) else shape
        extents: Extents = ()
        if not isinstance(shape, tuple) or not all(
            isinstance(n, int) and not isinstance(n, bool) for n in shape
        ):
            if space == "local":
                source.type_error(
                    nodes[0],
                    "the shape of gc.local is known when the kernel is compiled",
                    "Use a constant or a gc.constexpr parameter.",
                )
            parts = given.items if isinstance(given, Items) else (given,)
            extents = tuple(self.conversions.as_index(part, nodes[0], "an extent") for part in parts)
            shape = (1,) * len(extents)
        if not 1 <= len(shape) <= ir.MOST_AXES or min(shape) < 1:
            source.type_error(
                nodes[0],
                f"the shape {shape} has 1 to {ir.MOST_AXES} positive extents",
                f"Write gc.{space}((16, 16), gc.f32).",
            )
        dtype = self.conversions.dtype_of(expression(nodes[1]), nodes[1])
        found = (
            self.memories.records(space, dtype, shape, extents)
            if isinstance(dtype, RecordType)
            else Array(self.memories.allocate(space, dtype, shape, extents))
        )
        self.memories.unnamed[found.memory.name] = (node.lineno, node.col_offset)
        return found
