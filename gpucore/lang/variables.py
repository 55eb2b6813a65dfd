"""Local variables: names that are assigned more than once, and temporaries."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from typing import Any

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_
from gpucore.ir.records import RecordType
from gpucore.lang.conversions import Conversions
from gpucore.lang.operands import Items, Literal, Operand, Record, Slot, Typed
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState
from gpucore.lang.types import Weak

__all__ = ["Variables"]


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
