"""Returns: of a kernel, of a function that is an IR function, of a body that is inlined."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import bool_
from gpucore.ir.records import RecordType
from gpucore.lang.capture import DeviceFunction
from gpucore.lang.conversions import Conversions
from gpucore.lang.evaluator import Evaluator
from gpucore.lang.library import Impure
from gpucore.lang.operands import Items, Literal, Object, Operand, Record, Slot, Typed
from gpucore.lang.scopes import Returns
from gpucore.lang.state import FunctionState
from gpucore.lang.variables import Variables

__all__ = ["RESULT", "Returning"]

RESULT = ("<result>",)
"""The key of the type that all returns of an IR function join to."""


@dataclass(frozen=True, slots=True)
class Returning:
    """Lowers returns."""

    state: FunctionState
    evaluator: Evaluator
    conversions: Conversions
    variables: Variables

    def statement(self, node: ast.Return) -> None:
        scope = self.state.scope
        if scope.returns is not None:
            self._from_inlined(node, scope.returns)
        elif self.state.pure:
            if node.value is None:
                raise Impure("nothing to return")
            operand = self.evaluator.expression(node.value)
            if not isinstance(operand, (Typed, Literal)):
                raise Impure("a tuple to return")
            self._from_pure(operand, node)
        else:
            if node.value is not None and not (
                isinstance(node.value, ast.Constant) and node.value.value is None
            ):
                self.state.source.syntax_error(
                    node,
                    "a kernel returns no value",
                    "Write it to an array; only @gc.func functions return values.",
                )
            self.state.writer.emit(ir.Return(None, self.state.writer.location))
        self.state.scope.assigned = None

    def _from_pure(self, operand: Operand, node: ast.Return) -> None:
        if self.state.scope.result is not None:
            value = self.conversions.stored(operand, self.state.scope.result, node)
            self.state.inference.types[RESULT] = self.state.scope.result
        else:
            value = self._joined(operand, node)
        self.state.writer.emit(ir.Return(value, self.state.writer.location))

    def _joined(self, operand: Operand, node: ast.AST) -> ir.Value:
        """The operand in the type that all returns join to."""
        inference = self.state.inference
        kind = self.conversions.type_of(operand, node)
        known = inference.types.get(RESULT)
        found = kind if known is None else self.state.join(known, kind)
        if found is None:
            self.state.source.type_error(
                node, f"{known} is returned on one path and {kind} on another", "Cast one of them."
            )
        if found != known:
            inference.types[RESULT] = found
            inference.grew = True
            inference.changed = inference.changed or known is not None
        self.conversions.note_rounded(RESULT, operand)
        return self.conversions.to(operand, self.state.strong(found), node)

    def _from_inlined(self, node: ast.Return, returns: Returns) -> None:
        scope, writer = self.state.scope, self.state.writer
        operand: Operand = Object(None) if node.value is None else self.evaluator.expression(node.value)
        if isinstance(scope.result, RecordType) or isinstance(operand, Record):
            if scope.result is not None:
                operand = self.variables.records.converted(operand, scope.result, node)
            else:
                operand = self.variables.records.settled(operand)  # type: ignore[arg-type]
        elif isinstance(operand, (Typed, Literal)):
            # of the same type as where the function is called and not inlined
            dtype = scope.result or self.conversions.strong_type(operand, node)
            if returns.direct or scope.result is not None:
                rounded = None if scope.result is not None else self.conversions.rounded((operand,))
                operand = Typed(self.conversions.stored(operand, dtype, node), rounded=rounded)
        if returns.direct:
            returns.operand = operand
            return
        items = operand.items if isinstance(operand, Items) else () if node.value is None else (operand,)
        shape = len(items) if isinstance(operand, Items) else -1 if node.value is None else 0
        if returns.shape is not None and returns.shape != shape:
            self.state.source.type_error(
                node, "this function returns different numbers of values", "Return the same on every path."
            )
        returns.shape = shape
        for k, item in enumerate(items):
            self.variables.write(Slot((*scope.key, f"<result {k}>")), item, node)
        if returns.flag:
            true = writer.constant(True, bool_)
            writer.set(self.variables.returned_flag(), true)
        if scope.loops:
            writer.emit(ir.Break(writer.location))
            scope.loops[-1].append(set(scope.assigned or ()))

    def result_of_inlined(self, function: DeviceFunction, returns: Returns, falls_off: bool) -> Operand:
        """What the call of an inlined function gives; ``falls_off`` says that its end can be reached."""
        if returns.direct:
            return returns.operand if returns.operand is not None else Object(None)
        if returns.shape is None or returns.shape == -1:
            return Object(None)
        if not returns.flag and falls_off:
            self.state.source.syntax_error(
                function.captured.definition,
                f"{function.__name__} may end without a return",
                "Return a value on every path.",
            )
        count = returns.shape or 1
        items: list[Operand] = []
        for k in range(count):
            key = (*self.state.scope.key, f"<result {k}>")
            if key in self.state.inference.lengths:
                items.append(self._record_result(function, Slot(key), returns))
                continue
            var = self.variables.variable(key, "result")
            if returns.flag:
                # set on a path that the flag excludes otherwise: define it for the verifier, before the body
                self._predefine(var)
            items.append(Typed(self.state.writer.read(var), rounded=self.state.inference.rounded_in(key)))
        return Items(tuple(items)) if returns.shape else items[0]

    def _record_result(self, function: DeviceFunction, slot: Slot, returns: Returns) -> Operand:
        if returns.flag:
            for key in self.variables.scalars(slot.key):
                self._predefine(self.variables.variable(key, "result"))
        return self.variables.read(slot, function.captured.definition)

    def _predefine(self, var: ir.Var) -> None:
        """Set a result variable to zero at the function's start, since only flags say that it is set later."""
        writer = self.state.writer
        zero = ir.Value(writer.unique("zero"), var.dtype)
        first: list[ir.Stmt] = [
            ir.Const(zero, False if var.dtype is bool_ else 0.0 if var.dtype.is_float else 0, None),
            ir.SetVar(var, zero, None),
        ]
        writer.blocks[0][:0] = first
