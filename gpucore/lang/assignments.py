"""Assignments: to names, to elements, of tuples, with an operator."""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import NoReturn

from gpucore.ir import nodes as ir
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.conversions import Conversions
from gpucore.lang.diagnostics import plural
from gpucore.lang.expressions import BINARY, Arithmetic, Evaluator
from gpucore.lang.operands import (
    Array,
    Items,
    Literal,
    Method,
    Object,
    Operand,
    Place,
    Record,
    Records,
    Tile,
    Typed,
    describe,
)
from gpucore.lang.record_values import RecordValues
from gpucore.lang.state import FunctionState
from gpucore.lang.subscripts import Subscripts
from gpucore.lang.syntax import is_product
from gpucore.lang.tiles import Tiles
from gpucore.lang.types import Weak
from gpucore.lang.variables import Memories, Variables

__all__ = ["Assignments"]


@dataclass(frozen=True, slots=True)
class Assignments:
    """Lowers assignments."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    variables: Variables
    memories: Memories
    arithmetic: Arithmetic
    subscripts: Subscripts
    records: RecordValues
    tiles: Tiles

    def plain(self, node: ast.Assign) -> None:
        operand = self.evaluator.expression(node.value)
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            self.state.source.type_error(
                node.value,
                "a string is no value of a kernel",
                "Use a number, or choose between strings by a gc.constexpr parameter.",
            )
        for target in node.targets:
            operand = self._named(target, operand, node.value)
        for target in node.targets:
            self.state.at(node)
            self._assign(target, operand, node)

    def annotated(self, node: ast.AnnAssign) -> None:
        dtype = self.conversions.dtype_of(self.evaluator.expression(node.annotation), node.annotation)
        if node.value is None:
            self.state.source.syntax_error(node, "a declaration without a value", "Assign a value.")
        operand = self.evaluator.expression(node.value)
        self._assign(node.target, self.records.converted(operand, dtype, node.value), node)

    def augmented(self, node: ast.AugAssign) -> None:
        if is_product(node):
            total = self.evaluator.expression(_loaded(node.target))
            if isinstance(total, Tile):
                assert isinstance(node.value, ast.BinOp)
                self.state.at(node)
                self.tiles.add_product(total, node.value)
                return
        if type(node.op) not in BINARY:
            self.state.source.syntax_error(
                node, "the operator @= is not part of the kernel language", "Write the product as loops."
            )
        name = BINARY[type(node.op)][0]
        if isinstance(node.target, (ast.Subscript, ast.Attribute)):
            place = self._place(node.target)
            if place is not None:
                right = self.evaluator.expression(node.value)
                old = self.records.load(place)
                result = self.arithmetic.any(name, old, right, node, node.target, node.value)
                self.records.store(place, result, node.value)
                return
        if isinstance(node.target, ast.Attribute):
            old = self.evaluator.expression(_loaded(node.target))
            right = self.evaluator.expression(node.value)
            result = self.arithmetic.any(name, old, right, node, node.target, node.value)
            self._assign_field(node.target, result, node)
            return
        if isinstance(node.target, ast.Subscript):
            base = self.evaluator.reference(node.target.value)
            if not isinstance(base, Array):
                self._refuse_item(base, node.target)
            indices = self.subscripts.indices(base, node.target)
            element = self.state.writer.load(base.memory, indices)
            right = self.evaluator.expression(node.value)
            result = self.arithmetic.combine(name, Typed(element), right, node, node.target, node.value)
            self._store(base, indices, result, node)
            return
        if not isinstance(node.target, ast.Name):
            self.state.source.syntax_error(
                node.target, "only names and elements can be assigned", "Write x[i] = ... or name = ..."
            )
        left = self.evaluator.expression(ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target))
        right = self.evaluator.expression(node.value)
        self.assign_name(node.target.id, self.arithmetic.augmented(node.op, left, right, node), node)

    def _named(self, target: ast.expr, operand: Operand, node: ast.expr) -> Operand:
        """The operand with the arrays that the value declares under the names of the targets."""
        if isinstance(operand, (Array, Records)) and isinstance(target, ast.Name):
            return self.memories.renamed(operand, target.id, node)
        if (
            isinstance(operand, Items)
            and isinstance(target, (ast.Tuple, ast.List))
            and isinstance(node, ast.Tuple)
            and len(operand.items) == len(target.elts) == len(node.elts)
        ):
            named = map(self._named, target.elts, operand.items, node.elts)
            return replace(operand, items=tuple(named))
        return operand

    # --- assignment
    def _assign(self, target: ast.expr, operand: Operand, node: ast.stmt) -> None:
        if isinstance(target, ast.Name):
            self.assign_name(target.id, operand, node)
        elif isinstance(target, (ast.Tuple, ast.List)):
            if not isinstance(operand, Items):
                self.state.source.type_error(
                    node, f"{describe(operand)} cannot be unpacked", "Only tuples can."
                )
            if any(isinstance(t, ast.Starred) for t in target.elts):
                self.state.source.syntax_error(
                    target, "unpacking with * is not part of the kernel language", "Name each item."
                )
            if len(target.elts) != len(operand.items):
                self.state.source.type_error(
                    node,
                    f"{plural(len(operand.items), 'value')} for {plural(len(target.elts), 'name')}",
                    "Write as many names as there are values.",
                )
            # Values are read before any is written, as Python does: operands are values already.
            for one, item in zip(target.elts, operand.items, strict=True):
                self._assign(one, item, node)
        elif (
            isinstance(target, (ast.Subscript, ast.Attribute)) and (place := self._place(target)) is not None
        ):
            self.records.store(place, operand, getattr(node, "value", node))
        elif isinstance(target, ast.Attribute):
            self._assign_field(target, operand, node)
        elif isinstance(target, ast.Subscript):
            base = self.evaluator.reference(target.value)
            if not isinstance(base, Array):
                self._refuse_item(base, target)
            self._store(base, self.subscripts.indices(base, target), operand, node)
        else:
            self.state.source.syntax_error(
                target, "only names and elements can be assigned", "Write x[i] = ... or name = ..."
            )

    def _refuse_item(self, base: Operand, target: ast.Subscript) -> NoReturn:
        """Say what is written instead of ``base[i] = ...`` where the base is no array."""
        cure = "Tuples do not change; use gc.local(shape, dtype)."
        if isinstance(base, Record) and base.type is not None:
            names, text = [field.name for field in base.type.fields], ast.unparse(target.value)
            at = target.slice.value if isinstance(target.slice, ast.Constant) else None
            cure = (
                f"Assign a field, such as {text}.{names[0]}, or keep the numbers in gc.local(shape, dtype)."
            )
            if type(at) is int and 0 <= at < len(names):
                cure = f"Assign the field {text}.{names[at]}."
        elif isinstance(base, (Typed, Literal)):
            cure = "It is a number."
        self.state.source.type_error(target, f"{describe(base)} cannot be assigned to by index", cure)

    def _place(self, target: ast.Subscript | ast.Attribute) -> Place | None:
        """What a target denotes in an array of records; None where it lies in none."""
        root: ast.expr = target
        while isinstance(root, (ast.Subscript, ast.Attribute)):
            root = root.value
        if not isinstance(root, ast.Name) or not isinstance(self.state.scope.find(root.id), Records):
            return None
        found = self.evaluator.reference(_loaded(target))
        return found if isinstance(found, Place) else None

    def _assign_field(self, target: ast.Attribute, operand: Operand, node: ast.stmt) -> None:
        """``p.mass = value`` of a local name: the record with another field."""
        path: list[ast.Attribute] = []
        root: ast.expr = target
        while isinstance(root, ast.Attribute):
            path.append(root)
            root = root.value
        if isinstance(root, ast.Subscript):
            whole = self.evaluator.expression(path[-1].value)
            if not isinstance(whole, Record):
                self.state.source.syntax_error(
                    target,
                    f"{describe(whole)} has no field {path[-1].attr!r}",
                    "Write x[i] = ... or name = ...",
                )
        if not isinstance(root, ast.Name):
            self.state.source.syntax_error(
                target,
                "only names, elements and fields of them can be assigned",
                "Write x[i] = ... or name = ...",
            )
        whole = self.evaluator.expression(ast.copy_location(ast.Name(root.id, ast.Load()), root))
        if not isinstance(whole, Record):
            self.state.source.syntax_error(
                target, "only names and elements can be assigned", "Write x[i] = ... or name = ..."
            )
        changed = self.records.with_field(whole, path[::-1], operand, getattr(node, "value", node))
        self.assign_name(root.id, changed, node)

    def _store(self, base: Array, indices: tuple[ir.Value, ...], operand: Operand, node: ast.stmt) -> None:
        at = getattr(node, "value", node)
        if base.memory.space == "const":
            self.state.source.type_error(
                node, "a table of constants does not change", "Use gc.local(shape, dtype)."
            )
        self.state.writer.emit(
            ir.Store(
                base.memory,
                indices,
                self.conversions.stored(operand, base.memory.dtype, at),
                self.state.writer.location,
            )
        )

    def assign_name(self, name: str, operand: Operand, node: ast.AST) -> None:
        scope = self.state.scope
        if isinstance(operand, Object) and operand.value is None:
            if isinstance(getattr(node, "value", None), ast.Constant):
                self.state.source.type_error(
                    node, "None is no value of a kernel", "Assign a number, such as 0.0, before it is used."
                )
            self.state.source.type_error(
                node, "this gives no value to assign", "Call it on a line of its own."
            )
        if isinstance(operand, Record):
            operand = self.records.settled(operand)
        if name in scope.names.single or isinstance(operand, (Array, Records, Object, Method, Tile)):
            if name not in scope.names.single:
                is_function = isinstance(operand, Object) and isinstance(operand.value, DeviceFunction)
                self.state.source.syntax_error(
                    node,
                    f"{name} is {describe(operand)} here and is assigned{', or used,' * is_function} elsewhere too",
                    f"Give each its own name{', and call it in this block' * is_function}.",
                )
            if isinstance(operand, Literal):
                kind = self.conversions.type_of(operand, node)
                weak = kind if isinstance(kind, Weak) and self.state.inference.weak_reads else None
                self.state.inference.loose = self.state.inference.loose or weak is not None
                rounded = self.conversions.rounded((operand,))
                value = self.conversions.to(operand, self.state.strong(kind), node)
                operand = Typed(value, operand.value, weak, rounded=rounded)
            elif isinstance(operand, Typed) and operand.weak is not None:
                self.state.inference.loose = True
                if not self.state.inference.weak_reads:
                    operand = replace(operand, weak=None)
            if isinstance(operand, Typed) and operand.value.name.isdigit():
                self.state.writer.hints.setdefault(operand.value.name, name)
            scope.bindings[-1][name] = operand
            return
        self.variables.write(self.variables.slot(name), operand, node)
        if scope.assigned is not None:
            scope.assigned.add(name)


def _loaded(target: ast.Name | ast.Subscript | ast.Attribute) -> ast.expr:
    """A target as an expression."""
    made: ast.expr
    if isinstance(target, ast.Name):
        made = ast.Name(target.id, ast.Load())
    elif isinstance(target, ast.Subscript):
        made = ast.Subscript(target.value, target.slice, ast.Load())
    else:
        made = ast.Attribute(target.value, target.attr, ast.Load())
    return ast.copy_location(made, target)
