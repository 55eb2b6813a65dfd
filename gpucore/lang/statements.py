"""Statements, variables, and the bodies of device functions."""

from __future__ import annotations

import ast
from typing import Any

from gpucore.errors import KernelSyntaxError, KernelTypeError
from gpucore.ir import nodes as ir
from gpucore.ir.dtypes import DType, bool_
from gpucore.lang.diagnostics import plural
from gpucore.lang.emitter import as_python, describe
from gpucore.lang.expressions import BINARY
from gpucore.lang.names import contains_return
from gpucore.lang.operands import Array, Items, Literal, Object, Operand, Slot, Typed
from gpucore.lang.scopes import Scope
from gpucore.lang.threads import Threads
from gpucore.lang.types import Type, join, strong

__all__ = ["Statements"]

REFUSED: dict[str, tuple[str, str]] = {
    "With": ("with is not part of the kernel language", "Drop it: a kernel holds no resources."),
    "Try": (
        "try is not part of the kernel language",
        "Kernels do not raise; check conditions, or use check=True.",
    ),
    "Raise": ("raise is not part of the kernel language", "Use assert, which checked mode reports."),
    "Import": ("imports stand outside the kernel", "Move the import to the top of the file."),
    "ImportFrom": ("imports stand outside the kernel", "Move the import to the top of the file."),
    "Global": ("global is not part of the kernel language", "Pass an array and write to it."),
    "Nonlocal": ("nonlocal is not part of the kernel language", "Pass an array and write to it."),
    "FunctionDef": ("functions are defined outside the kernel", "Move it out and put @gc.func above it."),
    "ClassDef": ("classes are not part of the kernel language", "Pass arrays and scalars."),
    "Delete": ("del is not part of the kernel language", "Drop the line."),
    "Match": ("match is not part of the kernel language", "Write if and elif."),
    "AsyncFor": ("async is not part of the kernel language", "Write for."),
    "AsyncWith": ("async is not part of the kernel language", "Drop it."),
}


def terminates(statements: list[ast.stmt]) -> bool:
    """Whether control never runs off the end."""
    if not statements:
        return False
    last = statements[-1]
    if isinstance(last, (ast.Return, ast.Break, ast.Continue)):
        return True
    return isinstance(last, ast.If) and terminates(last.body) and terminates(last.orelse)


class Statements(Threads):
    """Lowers statements."""

    types: dict[tuple[Any, ...], Type]
    changed: bool
    variables: dict[tuple[Any, ...], ir.Var]
    scope: Scope
    tentative: bool
    weak_reads: bool
    failures: int
    grew: bool
    loose: bool

    # --- blocks
    def body(self, statements: list[ast.stmt]) -> None:
        """Lower statements into the open block."""
        for position, statement in enumerate(statements):
            if self.scope.assigned is None:
                return
            rest = statements[position + 1 :]
            if self.scope.returns is not None and rest and contains_return(statement):
                self.before_rest(statement, rest)
                return
            self.statement(statement)

    def block(self, statements: list[ast.stmt]) -> ir.Block:
        """Lower statements into a block of their own."""
        self.open()
        self.scope.bindings.append({})
        self.body(statements)
        self.scope.bindings.pop()
        return self.close()

    def before_rest(self, statement: ast.stmt, rest: list[ast.stmt]) -> None:
        """In an inlined body: a statement that may return, and what follows unless it did."""
        if isinstance(statement, ast.Return):
            self.statement(statement)
            return
        if isinstance(statement, ast.If):
            if terminates(statement.body):
                self.branch(statement, statement.body, [*statement.orelse, *rest])
                return
            if statement.orelse and terminates(statement.orelse):
                self.branch(statement, [*statement.body, *rest], statement.orelse)
                return
        self.statement(statement)
        if self.scope.assigned is None:
            return
        going = self.op("not", self.read(self.flag()))
        before = set(self.scope.assigned)
        then = self.block(rest)
        self.emit(ir.If(going, then, (), self.location))
        if self.scope.assigned is not None:
            self.scope.assigned &= before

    def statement(self, node: ast.stmt) -> None:
        """Lower a statement; while types are still being found, pass over one that does not fit them yet."""
        if not self.tentative:
            self.lower_statement(node)
            return
        blocks, bound, loops = len(self.blocks), len(self.scope.bindings), len(self.scope.loops)
        try:
            self.lower_statement(node)
        except (KernelSyntaxError, KernelTypeError):
            self.failures += 1
            del self.blocks[blocks:], self.scope.bindings[bound:], self.scope.loops[loops:]
            if self.scope.assigned is not None:
                self.scope.assigned |= {
                    n.id for n in ast.walk(node) if isinstance(n, ast.Name) and _is_store(n)
                }

    def lower_statement(self, node: ast.stmt) -> None:
        self.at(node)
        method = getattr(self, f"do_{type(node).__name__}", None)
        if method is None:
            rule, instead = REFUSED.get(
                type(node).__name__,
                (
                    f"{type(node).__name__} is not part of the kernel language",
                    "Write it with numbers, arrays, if, for and while.",
                ),
            )
            self.source.syntax_error(node, rule, instead)
        method(node)

    # --- simple statements
    def do_Pass(self, node: ast.Pass) -> None:
        pass

    def do_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            return
        if not isinstance(node.value, ast.Call):
            if isinstance(node.value, (ast.Yield, ast.YieldFrom, ast.Await)):
                self.expression(node.value)
            self.source.syntax_error(
                node, "this line computes a value and drops it", "Assign it, or drop the line."
            )
        self.expression(node.value)

    def do_Assert(self, node: ast.Assert) -> None:
        operand = self.expression(node.test)
        message = ""
        if node.msg is not None:
            text = as_python(self.expression(node.msg))
            if not isinstance(text, str):
                self.source.type_error(
                    node.msg, "the message of an assert is a plain string", 'Write assert condition, "text".'
                )
            message = text
        condition = self.condition(operand, node.test, "assert")
        self.emit(ir.Assert(condition, message or ast.unparse(node.test), self.location))

    def do_Assign(self, node: ast.Assign) -> None:
        operand = self.expression(node.value)
        for target in node.targets:
            self.at(node)
            self.assign(target, operand, node)

    def do_AnnAssign(self, node: ast.AnnAssign) -> None:
        dtype = self.dtype_of(self.expression(node.annotation), node.annotation)
        if node.value is None:
            self.source.syntax_error(node, "a declaration without a value", "Assign a value.")
        operand = self.expression(node.value)
        self.assign(node.target, Typed(self.stored(operand, dtype, node.value)), node)

    def do_AugAssign(self, node: ast.AugAssign) -> None:
        if type(node.op) not in BINARY:
            self.source.syntax_error(
                node, "the operator @= is not part of the kernel language", "Write the product as loops."
            )
        name = BINARY[type(node.op)][0]
        if isinstance(node.target, ast.Subscript):
            base = self.expression(node.target.value)
            if not isinstance(base, Array):
                self.source.type_error(
                    node.target,
                    f"{describe(base)} cannot be assigned to by index",
                    "Tuples do not change; use gc.local(shape, dtype).",
                )
            indices = self.indices(base, node.target)
            old = self.value(base.memory.dtype)
            self.emit(ir.Load(old, base.memory, indices, self.location))
            right = self.expression(node.value)
            result = self.arithmetic(name, Typed(old), right, node, node.target, node.value)
            self.store(base, indices, result, node)
            return
        if not isinstance(node.target, ast.Name):
            self.source.syntax_error(
                node.target, "only names and elements can be assigned", "Write x[i] = ... or name = ..."
            )
        left = self.expression(ast.copy_location(ast.Name(node.target.id, ast.Load()), node.target))
        right = self.expression(node.value)
        if isinstance(left, Literal) and isinstance(right, Literal):
            result = self.fold(
                node, BINARY[type(node.op)][1], BINARY[type(node.op)][2], left.value, right.value
            )
        else:
            result = self.arithmetic(name, left, right, node, node.target, node.value)
        self.assign_name(node.target.id, result, node)

    # --- assignment
    def assign(self, target: ast.expr, operand: Operand, node: ast.stmt) -> None:
        if isinstance(target, ast.Name):
            self.assign_name(target.id, operand, node)
        elif isinstance(target, (ast.Tuple, ast.List)):
            if not isinstance(operand, Items):
                self.source.type_error(node, f"{describe(operand)} cannot be unpacked", "Only tuples can.")
            if any(isinstance(t, ast.Starred) for t in target.elts):
                self.source.syntax_error(
                    target, "unpacking with * is not part of the kernel language", "Name each item."
                )
            if len(target.elts) != len(operand.items):
                self.source.type_error(
                    node,
                    f"{plural(len(operand.items), 'value')} for {plural(len(target.elts), 'name')}",
                    "Write as many names as there are values.",
                )
            # Values are read before any is written, as Python does: operands are values already.
            for one, item in zip(target.elts, operand.items, strict=True):
                self.assign(one, item, node)
        elif isinstance(target, ast.Subscript):
            base = self.expression(target.value)
            if not isinstance(base, Array):
                self.source.type_error(
                    target,
                    f"{describe(base)} cannot be assigned to by index",
                    "Tuples do not change; use gc.local(shape, dtype).",
                )
            self.store(base, self.indices(base, target), operand, node)
        else:
            self.source.syntax_error(
                target, "only names and elements can be assigned", "Write x[i] = ... or name = ..."
            )

    def store(self, base: Array, indices: tuple[ir.Value, ...], operand: Operand, node: ast.stmt) -> None:
        at = getattr(node, "value", node)
        if base.memory.space == "const":
            self.source.type_error(
                node, "a table of constants does not change", "Use gc.local(shape, dtype)."
            )
        self.emit(ir.Store(base.memory, indices, self.stored(operand, base.memory.dtype, at), self.location))

    def assign_name(self, name: str, operand: Operand, node: ast.AST) -> None:
        scope = self.scope
        if isinstance(operand, Object) and operand.value is None:
            self.source.type_error(node, "this gives no value to assign", "Call it on a line of its own.")
        if name in scope.names.single or isinstance(operand, (Array, Object)):
            if name not in scope.names.single:
                self.source.syntax_error(
                    node,
                    f"{name} is {describe(operand)} here and is assigned elsewhere too",
                    "Give each its own name.",
                )
            if isinstance(operand, Literal):
                kind = self.type_of(operand, node)
                weak = kind if isinstance(kind, str) and self.weak_reads else None
                self.loose = self.loose or weak is not None
                operand = Typed(self.to(operand, strong(kind), node), operand.value, weak)
            elif isinstance(operand, Typed) and operand.weak is not None:
                self.loose = True
                if not self.weak_reads:
                    operand = Typed(operand.value, operand.known)
            elif isinstance(operand, Items):
                operand = self.settled_items(operand, node)
            elif isinstance(operand, Array) and operand.memory.space != "global":
                operand = self.renamed(operand, name)
            if isinstance(operand, Typed) and operand.value.name.isdigit():
                self.hints.setdefault(operand.value.name, name)
            scope.bindings[-1][name] = operand
            return
        if isinstance(operand, Items):
            self.source.syntax_error(
                node,
                f"{name} is a tuple and is assigned more than once",
                "Give each its own name, or assign the items.",
            )
        self.write_slot(self.slot(name), operand, node)
        if scope.assigned is not None:
            scope.assigned.add(name)

    def settled_items(self, operand: Items, node: ast.AST) -> Items:
        return operand

    def renamed(self, operand: Array, name: str) -> Array:
        raise NotImplementedError

    # --- variables
    def slot(self, name: str) -> Slot:
        return self.scope.slots.setdefault(name, Slot((*self.scope.key, name)))

    def variable(self, key: tuple[Any, ...], hint: str) -> ir.Var:
        """The variable of a key, of the type known so far."""
        found = self.variables.get(key)
        if found is None:
            found = ir.Var(self.unique(hint), strong(self.types[key]))
            self.variables[key] = found
        return found

    def write_slot(self, slot: Slot, operand: Operand, node: ast.AST) -> None:
        kind = self.type_of(operand, node)
        known = self.types.get(slot.key)
        joined = kind if known is None else join(known, kind)
        if joined is None:
            self.source.type_error(
                node,
                f"{slot.key[-1]} is {known} on one path and {kind} on another, and no integer type holds both",
                "Cast one of them.",
            )
        if joined != known:
            self.types[slot.key] = joined
            self.grew = True
            if known is not None:
                self.changed = True
        var = self.variable(slot.key, str(slot.key[-1]))
        if isinstance(operand, Literal) and var.dtype is not strong(joined):
            value = self.constant(
                operand.value if var.dtype.is_float or var.dtype is bool_ else int(operand.value), var.dtype
            )
        else:
            value = self.to(operand, var.dtype, node)
        self.emit(ir.SetVar(var, value, self.location))

    def read_slot(self, slot: Slot, node: ast.AST) -> Operand:
        if slot.key not in self.types:
            # only where a statement that would have given the type was passed over
            self.source.type_error(
                node, f"the type of {slot.key[-1]} is not known here", "Cast it where it is assigned."
            )
        kind = self.types[slot.key]
        value = self.read(self.variable(slot.key, str(slot.key[-1])))
        return self.typed(value, kind) if self.weak_reads else Typed(value)

    def temporary(self, dtype: DType, hint: str) -> ir.Var:
        key = ("", hint, len(self.variables), self.unique("t"))
        self.types[key] = dtype
        return self.variable(key, f"{hint}.t")

    # --- control flow
    def do_If(self, node: ast.If) -> None:
        self.branch(node, node.body, node.orelse)

    def branch(self, node: ast.If, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        test, condition = self.test(node.test, "if")
        self.at(node)
        if isinstance(test, Literal) and isinstance(test.value, bool):
            self.body(body if test.value else orelse)
            return
        location = self.location
        before = set(self.scope.assigned or ())
        then = self.block(body)
        after_then, self.scope.assigned = self.scope.assigned, set(before)
        otherwise = self.block(orelse)
        self.scope.assigned = meet(after_then, self.scope.assigned)
        self.emit(ir.If(condition, then, otherwise, location))

    def test(self, node: ast.expr, where: str) -> tuple[Operand, ir.Value]:
        """A condition; while types are still being found, something in place of one that does not fit them yet."""
        blocks = len(self.blocks)
        try:
            operand = self.expression(node)
            if isinstance(operand, Literal) and isinstance(operand.value, bool) and where == "if":
                return operand, ir.Value("", bool_)
            return operand, self.condition(operand, node, where)
        except (KernelSyntaxError, KernelTypeError):
            if not self.tentative:
                raise
            self.failures += 1
            del self.blocks[blocks:]
            return Object(None), self.constant(False, bool_)

    def do_Return(self, node: ast.Return) -> None:
        raise NotImplementedError

    def flag(self) -> ir.Var:
        """The variable that says that the inlined body returned."""
        key = (*self.scope.key, "<returned>")
        self.types[key] = bool_
        return self.variable(key, "returned")


def meet(*states: set[str] | None) -> set[str] | None:
    """What is assigned where several paths join."""
    reachable = [s for s in states if s is not None]
    return set.intersection(*reachable) if reachable else None


def _is_store(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
